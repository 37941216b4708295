"""Door for staff: review and purge. Nothing can be added or edited by hand, since every row is written by a service.

At least one of `actions_on_top` and `actions_on_bottom` stays on in every list: without both the stock change list
has an inline style, which the Content-Security-Policy refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_q.models import Failure, OrmQ, Schedule, Success

from scans.models import RateBucket, ScanJob, SourceReply, TargetAddress, TargetResult, WorkerHeartbeat

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

PARTS = ("spec", "partial", "evidence", "verdict", "summary")  # JSON that may be large, and that no list shows

admin.site.site_header = "IP Intelligence Scanner, administration"
admin.site.site_title = "IP Intelligence Scanner"
admin.site.index_title = "Review and purge"


class ReadOnlyAdmin(ModelAdmin):
    """Everything can be looked at, nothing changed."""

    show_full_result_count = False  # counting all rows of a large table takes longer than showing a page of them
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Never, unless a subclass purges."""
        return False


class PurgeableAdmin(ReadOnlyAdmin):
    """May also be deleted, with the stock confirmation, by staff who hold the permission."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """As Django decides."""
        return ModelAdmin.has_delete_permission(self, request, obj)


@admin.register(ScanJob)
class ScanJobAdmin(PurgeableAdmin):
    """Jobs; deleting one purges its results."""

    list_display = ("token", "state", "outcome", "mode", "total_targets", "created_at")
    list_filter = ("state", "outcome", "mode")
    search_fields = ("=token", "^targets__target", "^targets__host")
    search_help_text = "A whole token, or how a target begins"

    def get_deleted_objects(
        self, objs: Iterable[ScanJob], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what goes with the jobs instead of listing a thousand targets a job.

        Who may purge a job may purge its results, although these cannot be deleted on their own.
        """
        jobs = list(objs)
        counts = {
            "scan jobs": len(jobs),
            "target results": TargetResult.objects.filter(job__in=jobs).count(),
            "target addresses": TargetAddress.objects.filter(result__job__in=jobs).count(),
        }
        missing = set() if self.has_delete_permission(request) else {"scan job"}
        return [f"Scan job: {job}" for job in jobs], counts, missing, []


@admin.register(TargetResult)
class TargetResultAdmin(ReadOnlyAdmin):
    """Results, one a target."""

    list_display = ("target", "ip_address", "risk_level", "risk_score", "state", "job", "finished_at")
    list_filter = ("state", "risk_level")
    list_select_related = ("job",)
    ordering = ("-id",)
    search_fields = ("^target", "=host", "=ip_address", "=job__token")
    search_help_text = "How a target begins, or a whole name, address or token"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TargetResult]:
        """Without the JSON; the page of one result reads it then."""
        return super().get_queryset(request).defer(*PARTS)


@admin.register(SourceReply)
class SourceReplyAdmin(PurgeableAdmin):
    """What sources said, until it expires; deleted, it is asked again."""

    list_display = ("source", "address", "state", "observed_at", "expires_at")
    list_filter = ("source", "state")
    ordering = ("-id",)
    search_fields = ("=address",)


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(ReadOnlyAdmin):
    """Who is alive."""

    list_display = ("kind", "host", "pid", "started_at", "seen_at", "is_stopping")
    list_filter = ("kind",)
    ordering = ("-seen_at",)


@admin.register(RateBucket)
class RateBucketAdmin(ReadOnlyAdmin):
    """What is left of each source's budget."""

    list_display = ("name", "tokens", "counted_at", "blocked_until")
    ordering = ("name",)


for model in (Failure, OrmQ, Schedule, Success):  # the queue's own admin offers to edit, retry and run tasks
    admin.site.unregister(model)


@admin.register(OrmQ)
class QueuedAdmin(ReadOnlyAdmin):
    """Wake-ups on their way. The payload stays out: to show it would be to unpickle it."""

    list_display = ("id", "key", "lock")
    fields = ("key", "lock")
    ordering = ("-id",)


@admin.register(Success, Failure)
class TaskAdmin(ReadOnlyAdmin):
    """Wake-ups that ended, by how they ended."""

    list_display = ("name", "func", "cluster", "started", "stopped")
    fields = ("name", "func", "cluster", "started", "stopped", "success", "attempt_count", "result")
    ordering = ("-stopped",)
    search_fields = ("=name", "^func")
