"""Jobs and their results: find them, end them, repeat them, take them out, purge them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.options import ModelAdmin as StockAdmin
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html_join

from scans.admin.base import PurgeableAdmin, ReadOnlyAdmin, ValueFilter
from scans.admin.export import export_response
from scans.admin.purge import purge_view
from scans.admin.search import job_query, result_query
from scans.models import ScanJob, TargetAddress, TargetResult
from scans.selectors import WORST_FIRST
from scans.services.access import origin
from scans.services.admission import AdmissionRefusedError
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from scans.services.problems import InvalidSubmissionError
from scans.services.rerun import NothingToRerunError, rerun_job
from scans.templatetags.services import service_line

PARTS = ("spec", "partial", "evidence", "verdict", "summary")  # JSON that may be large, and that no list shows
JOB_PARTS = ("ports", "submitted", "rejected", "warnings")
MAX_JOBS = 100  # for an action that takes a while for each; a purge of more is `manage.py purge`
MAX_NAMED = 50
FEW_OWNED = 10_000  # results of one owner; so many are sorted in 50 ms


class LevelFilter(ValueFilter):
    """Results of one level."""

    title = "risk level"
    parameter_name = "risk_level"
    values = tuple(level.value for level in WORST_FIRST)


class RiskFilter(LevelFilter):
    """Jobs of which at least one target has this level."""

    title = "risk of a target"
    parameter_name = "risk"

    def narrowed(self, queryset: QuerySet[ScanJob], value: str | None) -> QuerySet[ScanJob]:
        """By an index of the results."""
        return queryset.filter(Exists(TargetResult.objects.filter(job=OuterRef("pk"), risk_level=value)))


@admin.register(ScanJob)
class ScanJobAdmin(PurgeableAdmin):
    """Jobs; deleting one purges its results."""

    list_display = ("token", "label", "owner", "state", "outcome", "mode", "total_targets", "created_at")
    list_filter = ("state", "outcome", "mode", RiskFilter, ("owner", admin.RelatedFieldListFilter))
    list_select_related = ("owner",)
    search_fields = ("token",)  # switches the box on; search.py decides what is looked for
    search_help_text = "A whole token or address, or how a label, a target or a name begins"
    actions = ("cancel", "rerun", "rerun_failed", "export_ndjson", "export_csv")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScanJob]:
        """Without the JSON; the page of one job reads it then."""
        return super().get_queryset(request).defer(*JOB_PARTS)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ScanJob], search_term: str
    ) -> tuple[QuerySet[ScanJob], bool]:
        """See search.py. No row comes twice."""
        text = search_term.strip()
        return queryset.filter(job_query(text)) if text else queryset, False

    # --- Actions -------------------------------------------------------------------------------------------------

    def has_act_permission(self, request: HttpRequest) -> bool:
        """To end and to repeat jobs takes the right to change them, though no field of one can be edited."""
        return StockAdmin.has_change_permission(self, request)

    @admin.action(description="Cancel the selected jobs", permissions=["act"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[ScanJob]) -> None:
        """End them now."""
        self._each(request, chosen, lambda job: cancel_job(job, by=origin(request)), "were cancelled")

    @admin.action(description="Scan all targets of the selected jobs again", permissions=["act"])
    def rerun(self, request: HttpRequest, chosen: QuerySet[ScanJob]) -> None:
        """As new jobs of whoever asks."""
        self._each(request, chosen, lambda job: _rerun(job, request, only_failed=False), "are scanned again")

    @admin.action(description="Scan again what has no full result in the selected jobs", permissions=["act"])
    def rerun_failed(self, request: HttpRequest, chosen: QuerySet[ScanJob]) -> None:
        """Likewise."""
        self._each(request, chosen, lambda job: _rerun(job, request, only_failed=True), "are scanned again")

    @admin.action(description="Export the results of the selected jobs as NDJSON", permissions=["view"])
    def export_ndjson(self, request: HttpRequest, chosen: QuerySet[ScanJob]) -> HttpResponseBase:
        """One object a line."""
        return export_response(chosen, "ndjson")

    @admin.action(description="Export the results of the selected jobs as CSV", permissions=["view"])
    def export_csv(self, request: HttpRequest, chosen: QuerySet[ScanJob]) -> HttpResponseBase:
        """One line a target."""
        return export_response(chosen, "csv")

    def _each(self, request: HttpRequest, chosen: QuerySet[ScanJob], act: Callable[[ScanJob], bool], done: str) -> None:
        """Do it to every job and say to how many; none if there are too many for one request.

        Where no more is taken in right now, the jobs behind are left: what was done before stays done, and is said.
        """
        jobs = list(chosen.defer(None)[: MAX_JOBS + 1])
        if len(jobs) > MAX_JOBS:
            self.message_user(request, f"Nothing was done: choose at most {MAX_JOBS} jobs.", messages.ERROR)
            return
        n = 0
        try:
            for job in jobs:
                n += act(job)
        except AdmissionRefusedError as refused:
            self.message_user(request, refused.detail, messages.ERROR)
        self.message_user(request, f"{n} of {len(jobs)} jobs {done}.", messages.SUCCESS if n else messages.WARNING)

    # --- Purge ---------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The purge by age before the rest, which takes any word for a row's number."""
        view = self.admin_site.admin_view(partial(purge_view, self))
        return [path("purge/", view, name="scans_scanjob_purge"), *super().get_urls()]

    def get_deleted_objects(
        self, objs: Iterable[ScanJob], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count what goes with the jobs instead of listing a thousand targets a job.

        Who may purge a job may purge its results, although these cannot be deleted on their own.
        """
        jobs = ScanJob.objects.filter(pk__in=[job.pk for job in objs])
        counts = {
            "scan jobs": jobs.count(),
            "target results": TargetResult.objects.filter(job__in=jobs).count(),
            "target addresses": TargetAddress.objects.filter(result__job__in=jobs).count(),
        }
        named = [f"Scan job: {token}" for token in islice(jobs.values_list("token", flat=True), MAX_NAMED)]
        if counts["scan jobs"] > MAX_NAMED:
            named.append(f"and {counts['scan jobs'] - MAX_NAMED} more")
        missing = set() if self.has_delete_permission(request) else {"scan job"}
        return named, counts, missing, []

    def delete_model(self, request: HttpRequest, obj: ScanJob) -> None:
        """By the service, which leaves a trace and tells the audit trail."""
        delete_job(obj, by=origin(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScanJob]) -> None:
        """Each in a transaction of its own, so that nobody waits for all of them."""
        for job in queryset.only("token", "owner_id", "total_targets").iterator():
            delete_job(job, by=origin(request))


def _rerun(job: ScanJob, request: HttpRequest, *, only_failed: bool) -> bool:
    """Whether a new job came of it. A limit that was lowered since may refuse what was accepted then."""
    try:
        rerun_job(job, only_failed=only_failed, owner=request.user.pk, by=origin(request))
    except (NothingToRerunError, InvalidSubmissionError):
        return False
    return True


class OwnerFilter(admin.RelatedFieldListFilter):
    """Results by the owner of their job, newest first.

    SQLite would sort all of an owner's: of 330,000 it reads every row, 0.9 s. So the newest results are asked one by one
    whose they are, from the owner's newest on, unless there are few.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[TargetResult]) -> QuerySet[TargetResult]:
        """The same rows as the stock filter's; "no owner" is one of the choices."""
        asked: dict[str, Any] = {name.removeprefix("job__"): value for name, value in self.used_parameters.items()}
        if not asked:
            return queryset
        try:
            jobs = ScanJob.objects.filter(build_q_object_from_lookup_parameters(asked))
            owned = TargetResult.objects.filter(job__in=jobs.values("pk")).order_by()
            is_few = owned[: FEW_OWNED + 1].count() <= FEW_OWNED
        except (ValueError, ValidationError) as error:  # not a number
            raise IncorrectLookupParameters(error) from error
        if is_few:
            return queryset.filter(job__in=jobs.values("pk"))
        return queryset.filter(Exists(jobs.filter(pk=OuterRef("job"))), pk__lte=_newest(owned))


def _newest(results: QuerySet[TargetResult]) -> int:
    """The key of the newest. For a maximum Postgres reads the whole table; for the first of all SQLite sorts them."""
    if connection.vendor == "postgresql":
        return results.order_by("-pk").values_list("pk", flat=True)[0]
    return int(results.aggregate(newest=Max("pk"))["newest"])


@admin.register(TargetResult)
class TargetResultAdmin(ReadOnlyAdmin):
    """Results, one a target."""

    list_display = ("target", "ip_address", "risk_level", "risk_score", "state", "job", "finished_at")
    list_filter = ("state", LevelFilter, "job__mode", ("job__owner", OwnerFilter))
    list_select_related = ("job",)
    ordering = ("-id",)
    readonly_fields = ("services",)
    search_fields = ("target",)  # switches the box on; search.py decides what is looked for
    search_help_text = "A whole token or address, or how a target or a name begins"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TargetResult]:
        """Without the JSON; the page of one result reads it then."""
        return super().get_queryset(request).defer(*PARTS, *(f"job__{name}" for name in JOB_PARTS))

    def get_fields(self, request: HttpRequest, obj: TargetResult | None = None) -> list[Any]:
        """The services in words before the JSON that they are read from."""
        names = [name for name in super().get_fields(request, obj) if name != "services"]
        at = names.index("evidence")
        return [*names[:at], "services", *names[at:]]

    def services(self, row: TargetResult) -> str:
        """What stands behind the open ports of its addresses, a line each."""
        addresses = row.evidence["addresses"] if row.evidence else []
        lines = [
            (address["address"], service_line(service)) for address in addresses for service in address.get("services", ())
        ]
        return format_html_join("", "<div>{}: {}</div>", lines) or "not asked"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TargetResult], search_term: str
    ) -> tuple[QuerySet[TargetResult], bool]:
        """See search.py. No row comes twice."""
        text = search_term.strip()
        return queryset.filter(result_query(text)) if text else queryset, False
