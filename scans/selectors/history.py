"""Jobs over time: the lists of GET /scans and of the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from scans.core.types import Level
from scans.models import OPEN_STATES, JobTag, ScanJob, TargetAddress, TargetResult
from scans.selectors.access import visible_jobs
from scans.selectors.jobs import job_facts

WORST_FIRST = (Level.CRITICAL, Level.HIGH, Level.MEDIUM, Level.LOW, Level.UNKNOWN)


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
