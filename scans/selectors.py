"""Every read that spans rows: a job's progress, its document on the wire, history. Reads change nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone

from scans.core import wire
from scans.core.types import Level
from scans.models import (
    OPEN_STATES,
    ClientKey,
    DeletedJob,
    JobState,
    JobTag,
    ScanJob,
    Scope,
    TargetAddress,
    TargetResult,
    TargetState,
    WorkerHeartbeat,
)

SCHEMA_VERSION = 1
WORKER_SILENCE = timedelta(seconds=15)  # a supervisor beats every two seconds
STUCK_AFTER = timedelta(seconds=20)
STREAMED_ROWS = 50  # at a time; a row with a thousand ports is some 100 kB
WORST_FIRST = (Level.CRITICAL, Level.HIGH, Level.MEDIUM, Level.LOW, Level.UNKNOWN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A job's targets by state; the counts add up to the total."""

    total: int
    waiting: int
    working: int
    summarising: int
    done: int
    error: int
    refused: int
    cancelled: int

    @property
    def finished(self) -> int:
        """Targets that have their one result."""
        return self.done + self.error + self.refused + self.cancelled

    @property
    def percent(self) -> int:
        """Rounded down: 100 means all."""
        return self.finished * 100 // self.total if self.total else 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentJob:
    """A job in a short list: its targets by level, worst first."""

    job: ScanJob
    levels: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilters:
    """What a list of jobs is narrowed to; None asks for no such thing. Times are half-open, so that periods tile."""

    state: str | None = None
    outcome: str | None = None
    mode: str | None = None
    risk: str | None = None  # at least one target has this level
    label: str | None = None  # how it begins
    tag: str | None = None
    owner: str | None = None  # a user's name
    address: str | None = None  # an address that a target was scanned at, or refused for
    text: str | None = None  # how the text of a target begins
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPosition:
    """Where a page of jobs ends: the next one begins behind it."""

    created_at: datetime
    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFilters:
    """What a list of results is narrowed to."""

    risk: str | None = None
    outcome: str | None = None


def visible_jobs(user: User | AnonymousUser) -> QuerySet[ScanJob]:
    """The jobs that somebody may know of, and the one place that decides it: whoever lists, counts or reads asks here."""
    if settings.IS_LOCAL or sees_all_jobs(user):
        return ScanJob.objects.all()
    return ScanJob.objects.filter(owner=user.pk) if user.pk else ScanJob.objects.none()


def sees_all_jobs(user: User | AnonymousUser) -> bool:
    """Staff do, unless they ask with an API key of theirs that was not made for it."""
    key = key_of(user)
    return user.is_active and user.is_staff and (key is None or Scope.ADMIN in key.scopes)


def key_of(user: User | AnonymousUser) -> ClientKey | None:
    """The API key that authenticated this user's request; scans/api/auth.py hangs it on the user."""
    return getattr(user, "client_key", None)


def job_by_token(token: str, user: User | AnonymousUser) -> ScanJob | None:
    """The job, or None: for a stranger's as for a token that never was.

    Text of another form is not even looked up (Postgres refuses NUL).
    """
    if not is_token(token):
        return None
    return visible_jobs(user).filter(token=token).first()


def is_token(text: str) -> bool:
    """Whether the text has a token's form."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def job_progress(job: ScanJob) -> Progress:
    """How far a job has come."""
    counts = dict(job.targets.values_list("state").annotate(n=Count("pk")).order_by())
    return Progress(
        total=job.total_targets,
        waiting=counts.get(TargetState.PENDING, 0),
        working=counts.get(TargetState.LEASED, 0),
        summarising=counts.get(TargetState.SCANNED, 0),
        done=counts.get(TargetState.DONE, 0),
        error=counts.get(TargetState.ERROR, 0),
        refused=counts.get(TargetState.REFUSED, 0),
        cancelled=counts.get(TargetState.CANCELLED, 0),
    )


def eta_seconds(job: ScanJob, done: int) -> int | None:
    """What is left at the pace so far; None before there is one, 0 at the end."""
    if job.is_finished:
        return 0
    if not job.started_at or not done:
        return None
    elapsed = (timezone.now() - job.started_at).total_seconds()
    return round(elapsed / done * (job.total_targets - done))


def was_deleted(token: str, user: User | AnonymousUser) -> bool:
    """Whether there was such a job that this user may know of; to all others it never was."""
    if not is_token(token):
        return False
    gone = DeletedJob.objects.filter(token=token)
    if settings.IS_LOCAL or sees_all_jobs(user):
        return gone.exists()
    return user.pk is not None and gone.filter(owner=user.pk).exists()


def job_version(job: ScanJob) -> int | None:
    """The version as it stands in the database; None if the job has been deleted."""
    return ScanJob.objects.filter(pk=job.pk).values_list("version", flat=True).first()


def job_status(job: ScanJob) -> str:
    """The original's four words: a cancelled job is a failed one to a client that knows no other."""
    return "failed" if job.state == JobState.CANCELLED else job.state


def job_document(job: ScanJob) -> dict[str, Any]:
    """What GET /scan/<token> answers: the original's fields, and ours beside them."""
    results = [wire_result(row) for row in finished_targets(job)]
    # Counted here, so that the numbers fit the list whatever happens meanwhile.
    return job_head(job, done=len(results)) | {"results": results}


def job_head(job: ScanJob, *, done: int) -> dict[str, Any]:
    """A job's document without its results."""
    return job_facts(job, done=done) | {
        "schema_version": SCHEMA_VERSION,
        "eta_seconds": eta_seconds(job, done),
        "ports": job.ports,
        "rejected": job.rejected,
        "warnings": job.warnings,
    }


def job_facts(job: ScanJob, *, done: int) -> dict[str, Any]:
    """What a list of jobs says of each, and the job's own document repeats."""
    total = job.total_targets
    return {
        "token": job.token,
        "total_targets": total,
        "completed_targets": done,
        "status": job_status(job),
        "mode": job.mode,
        "started_at": timestamp(job.created_at),
        "finished_at": timestamp(job.finished_at) if job.finished_at else None,
        "state": job.state,
        "outcome": job.outcome or None,
        "progress": {"done": done, "total": total, "percent": done * 100 // total},
        "label": job.label,
        "tags": sorted(tag.name for tag in job.tags.all()),
        "owner": job.owner.get_username() if job.owner else None,
    }


def listed_jobs(
    user: User | AnonymousUser, filters: JobFilters, *, after: JobPosition | None, limit: int
) -> tuple[list[dict[str, Any]], JobPosition | None]:
    """A page of the jobs that this user may see, newest first, and where it ends; None on the last page. Four queries."""
    jobs = _filtered_jobs(visible_jobs(user), filters)
    if after:
        is_behind = Q(created_at__lt=after.created_at) | Q(id__lt=after.id)
        jobs = jobs.filter(is_behind, created_at__lte=after.created_at)
    found = list(jobs.select_related("owner").prefetch_related("tags").order_by("-created_at", "-id")[: limit + 1])
    page = found[:limit]
    rows = TargetResult.objects.filter(job__in=page).order_by()
    done = dict(rows.exclude(state__in=OPEN_STATES).values_list("job_id").annotate(n=Count("pk")))
    levels: dict[int, Counter[str]] = {job.pk: Counter() for job in page}
    for job_id, level, n in rows.exclude(risk_level="").values_list("job_id", "risk_level").annotate(n=Count("pk")):
        levels[job_id][level] = n
    listed = [job_facts(job, done=done.get(job.pk, 0)) | {"levels": worst_first(levels[job.pk])} for job in page]
    has_more = len(found) > limit
    return listed, JobPosition(created_at=page[-1].created_at, id=page[-1].pk) if has_more else None


def _filtered_jobs(jobs: QuerySet[ScanJob], filters: JobFilters) -> QuerySet[ScanJob]:
    columns = {
        "state": filters.state,
        "outcome": filters.outcome,
        "mode": filters.mode,
        "label__startswith": filters.label,
        "owner__username": filters.owner,
        "created_at__gte": filters.created_after,
        "created_at__lt": filters.created_before,
    }
    jobs = jobs.filter(**{name: value for name, value in columns.items() if value is not None})
    targets = TargetResult.objects.filter(job=OuterRef("pk"))
    if filters.risk is not None:
        jobs = jobs.filter(Exists(targets.filter(risk_level=filters.risk)))
    if filters.text is not None:
        jobs = jobs.filter(Exists(targets.filter(target__startswith=filters.text)))
    if filters.tag is not None:
        jobs = jobs.filter(pk__in=JobTag.objects.filter(name=filters.tag).values("job"))
    if filters.address is not None:
        jobs = jobs.filter(pk__in=TargetAddress.objects.filter(address=filters.address).values("result__job"))
    return jobs


def listed_results(
    job: ScanJob, filters: ResultFilters, *, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A page of the finished targets behind this ordinal, and the ordinal at which it ends; None on the last page."""
    columns = {"risk_level": filters.risk, "state": filters.outcome}
    rows = finished_targets(job).filter(**{name: value for name, value in columns.items() if value is not None})
    found = list(rows.filter(ordinal__gt=after)[: limit + 1])
    page = [numbered_result(row) for row in found[:limit]]
    return page, page[-1]["ordinal"] if len(found) > limit else None


def streamed_results(job: ScanJob) -> Iterator[dict[str, Any]]:
    """The finished targets one after another: a few in memory at a time, and no cursor left open for a slow client."""
    last = -1
    while rows := list(finished_targets(job).filter(ordinal__gt=last)[:STREAMED_ROWS]):
        yield from (numbered_result(row) for row in rows)
        last = rows[-1].ordinal


def numbered_result(row: TargetResult) -> dict[str, Any]:
    """A result that stands without its neighbours: with its place in the submission."""
    return {"ordinal": row.ordinal, **wire_result(row)}


def finished_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """The targets that have their result, in the order submitted."""
    return job.targets.exclude(state__in=OPEN_STATES).order_by("ordinal").defer("partial", "spec")


def job_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """All targets in the order submitted, with the columns that lists show."""
    return job.targets.order_by("ordinal").defer("evidence", "partial", "spec")


def target_by_number(job: ScanJob, number: int) -> TargetResult | None:
    """The target with this number, counted from 1 as people see it."""
    return job.targets.filter(ordinal=number - 1).first() if number >= 1 else None


def recent_jobs(user: User | AnonymousUser, limit: int = 10) -> QuerySet[ScanJob]:
    """The newest jobs that this user may see."""
    return visible_jobs(user).order_by("-created_at", "-id")[:limit]


def recent_jobs_with_levels(user: User | AnonymousUser, limit: int = 10) -> list[RecentJob]:
    """The newest jobs that this user may see, each with how many targets have which level, worst first; two queries."""
    jobs = list(recent_jobs(user, limit))
    counts: dict[int, Counter[str]] = {job.pk: Counter() for job in jobs}
    rated = TargetResult.objects.filter(job__in=jobs).exclude(risk_level="")
    for job_id, level, n in rated.values_list("job_id", "risk_level").annotate(n=Count("pk")).order_by():
        counts[job_id][level] = n
    return [RecentJob(job=job, levels=worst_first(counts[job.pk])) for job in jobs]


def worst_first(levels: Mapping[str, int]) -> dict[str, int]:
    """Counts by level in the order in which people read them; a level that nobody has is left out."""
    return {str(level): levels[level] for level in WORST_FIRST if levels.get(level)}


def listed_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """All targets as a job's page lists them. A row brings single values and none of its JSON, however many its ports."""
    first = "evidence__addresses__0"
    return (
        job_targets(job)
        .defer("evidence", "verdict", "summary", "partial", "spec")
        .annotate(
            worst_finding=KT("verdict__findings__0__title"),
            answered=KT("verdict__completeness__ports_answered"),
            tested=KT("verdict__completeness__ports_tested"),
            error=KT("evidence__error__detail"),
            ports=KT(f"{first}__port_states__open"),
            second_address=KT("evidence__addresses__1__address"),
            organisation=KT(f"{first}__sources__0__facts__organisation"),
            isp=KT(f"{first}__sources__0__facts__isp"),
            country=KT(f"{first}__sources__0__facts__country"),
        )
    )


def wire_result(row: TargetResult) -> dict[str, Any]:
    """One entry of results[]; only for a target that has its result."""
    return wire.wire_result(*row.parts)


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def needs_reaping(job: ScanJob) -> bool:
    """Whether a job looks stuck: no worker beats, and a lease has run out or nobody has begun."""
    if job.state == JobState.COMPLETE or has_live_supervisor():
        return False
    return job.created_at < timezone.now() - STUCK_AFTER


def has_live_supervisor() -> bool:
    """Whether any supervisor of workers beat lately."""
    since = timezone.now() - WORKER_SILENCE
    return WorkerHeartbeat.objects.filter(kind=WorkerHeartbeat.Kind.SUPERVISOR, seen_at__gte=since).exists()


def unready_reasons() -> list[str]:
    """Why this installation cannot do its work right now; empty when it can."""
    executor = MigrationExecutor(connection)
    reasons = []
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        reasons.append("The database lacks migrations: run manage.py migrate.")
    elif not has_live_supervisor():
        reasons.append("No worker is running: start one with manage.py worker, or everything with manage.py up.")
    return reasons
