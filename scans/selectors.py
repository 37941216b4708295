"""Every read that spans rows: a job's progress, its document on the wire, history. Reads change nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, QuerySet
from django.db.models.fields.json import KT
from django.utils import timezone

from scans.core import wire
from scans.core.types import Level
from scans.models import OPEN_STATES, JobState, ScanJob, TargetResult, TargetState, WorkerHeartbeat

SCHEMA_VERSION = 1
WORKER_SILENCE = timedelta(seconds=15)  # a supervisor beats every two seconds
STUCK_AFTER = timedelta(seconds=20)
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

    @property
    def finished(self) -> int:
        """Targets that have their one result."""
        return self.done + self.error + self.refused

    @property
    def percent(self) -> int:
        """Rounded down: 100 means all."""
        return self.finished * 100 // self.total if self.total else 100


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentJob:
    """A job in a short list: its targets by level, worst first."""

    job: ScanJob
    levels: Mapping[str, int]


def job_by_token(token: str) -> ScanJob | None:
    """The job, or None for a token that never was. Text of another form is not even looked up (Postgres refuses NUL)."""
    if not re.fullmatch(r"[0-9a-f]{32}", token):
        return None
    return ScanJob.objects.filter(token=token).first()


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
    )


def eta_seconds(job: ScanJob, done: int) -> int | None:
    """What is left at the pace so far; None before there is one, 0 at the end."""
    if job.is_finished:
        return 0
    if not job.started_at or not done:
        return None
    elapsed = (timezone.now() - job.started_at).total_seconds()
    return round(elapsed / done * (job.total_targets - done))


def job_document(job: ScanJob) -> dict[str, Any]:
    """What GET /scan/<token> answers: the original's fields, and ours beside them."""
    results = [wire_result(row) for row in finished_targets(job)]
    done, total = (
        len(results),
        job.total_targets,
    )  # counted here, so that the numbers fit the list whatever happens meanwhile
    return {
        "token": job.token,
        "total_targets": total,
        "completed_targets": done,
        "status": job.state,
        "mode": job.mode,
        "started_at": timestamp(job.created_at),
        "finished_at": timestamp(job.finished_at) if job.finished_at else None,
        "results": results,
        "schema_version": SCHEMA_VERSION,
        "state": job.state,
        "outcome": job.outcome or None,
        "progress": {"done": done, "total": total, "percent": done * 100 // total},
        "eta_seconds": eta_seconds(job, done),
        "ports": job.ports,
        "warnings": job.warnings,
    }


def finished_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """The targets that have their result, in the order submitted."""
    return job.targets.exclude(state__in=OPEN_STATES).order_by("ordinal")


def job_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """All targets in the order submitted, with the columns that lists show."""
    return job.targets.order_by("ordinal").defer("evidence", "partial", "spec")


def target_by_number(job: ScanJob, number: int) -> TargetResult | None:
    """The target with this number, counted from 1 as people see it."""
    return job.targets.filter(ordinal=number - 1).first() if number >= 1 else None


def recent_jobs(limit: int = 10) -> QuerySet[ScanJob]:
    """The newest jobs."""
    return ScanJob.objects.order_by("-created_at", "-id")[:limit]


def recent_jobs_with_levels(limit: int = 10) -> list[RecentJob]:
    """The newest jobs, each with how many targets have which level, worst first; two queries."""
    jobs = list(recent_jobs(limit))
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
