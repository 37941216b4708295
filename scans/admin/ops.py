"""What sources said, who is alive, what is left of the budgets, and the queue."""

from __future__ import annotations

from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

from scans.admin.base import PurgeableAdmin, ReadOnlyAdmin, ValueFilter
from scans.core.types import SourceState
from scans.core.vulnerabilities import ALL_SOURCES
from scans.models import ModelAnswer, RateBucket, SourceHealth, SourceReply, WorkerHeartbeat


class SourceFilter(ValueFilter):
    """Replies of one source."""

    title = parameter_name = "source"
    values = tuple(source.name for source in ALL_SOURCES)


class SourceStateFilter(ValueFilter):
    """Replies of one kind: only those that are kept."""

    title = parameter_name = "state"
    values = (SourceState.OK.value, SourceState.EMPTY.value)


@admin.register(SourceReply)
class SourceReplyAdmin(PurgeableAdmin):
    """What sources said, until it expires; deleted, it is asked again."""

    list_display = ("source", "address", "state", "observed_at", "expires_at")
    list_filter = (SourceFilter, SourceStateFilter)
    ordering = ("-id",)
    search_fields = ("=address",)


@admin.register(ModelAnswer)
class ModelAnswerAdmin(PurgeableAdmin):
    """Answers of the model that may be used again; deleted, the question is asked again."""

    list_display = ("digest", "model", "finish_reason", "created_at")
    ordering = ("-id",)
    search_fields = ("=digest",)


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(ReadOnlyAdmin):
    """Who is alive."""

    list_display = ("kind", "host", "pid", "started_at", "seen_at", "is_stopping")
    list_filter = ("kind",)
    ordering = ("-seen_at",)


@admin.register(RateBucket)
class RateBucketAdmin(ReadOnlyAdmin):
    """What is left of each source's budget."""

    list_display = ("name", "tokens", "counted_at")
    ordering = ("name",)


@admin.register(SourceHealth)
class SourceHealthAdmin(ReadOnlyAdmin):
    """How sources are doing."""

    list_display = ("source", "answered_at", "missed_at", "last_miss", "failures", "blocked_until", "why_blocked")
    ordering = ("source",)


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
