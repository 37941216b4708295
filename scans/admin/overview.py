"""The few numbers staff look for first: is work waiting, is anybody at it, do the sources answer, does somebody guess
passwords. Seven cheap queries, however long the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone

from scans.core.types import SourceState
from scans.models import (
    OPEN_STATES,
    AuditEvent,
    JobState,
    ScanJob,
    SourceHealth,
    TargetResult,
    TargetState,
    WorkerHeartbeat,
    clock,
)
from scans.selectors import WORKER_SILENCE

SAMPLE = 100  # of the newest results, to see how sources fare: each costs a look into its JSON
EVENTS = 1000  # of the newest of the audit trail, which has no index on time
FAILURES = {SourceState.FAILED, SourceState.RATE_LIMITED, SourceState.UNAUTHORIZED}


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTargets:
    """Targets without a final result."""

    waiting: int
    leased: int
    scanned: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """Everything the index shows."""

    jobs_by_state: Mapping[str, int]
    targets: OpenTargets
    oldest_queued: datetime | None
    supervisors: int  # that beat lately
    slices: int
    sources: Mapping[str, Mapping[str, int]]  # by source, how often each state, in the sample
    sampled: int
    blocked: Sequence[SourceHealth]  # budgets that a source has put on hold
    failed_logins: int
    is_more: bool  # than were looked at

    @property
    def open_jobs(self) -> int:
        """Queued or running."""
        return self.jobs_by_state[JobState.QUEUED] + self.jobs_by_state[JobState.RUNNING]

    @property
    def failing(self) -> int:
        """Answers in the sample that cost a report something."""
        return sum(n for states in self.sources.values() for state, n in states.items() if state in FAILURES)


def overview() -> Overview:
    """As of now."""
    now = timezone.now()
    a_day_ago = now - timedelta(days=1)
    states = dict(ScanJob.objects.order_by().values_list("state").annotate(n=Count("pk")))
    alive = WorkerHeartbeat.objects.filter(seen_at__gte=clock.ago(WORKER_SILENCE)).values_list("kind", flat=True)
    beats = Counter(alive)
    sources, sampled = _sources(since=a_day_ago)
    failed_logins, is_more = _failed_logins(since=a_day_ago)
    return Overview(
        jobs_by_state={state.value: states.get(state.value, 0) for state in JobState},
        targets=_open_targets(),
        oldest_queued=ScanJob.objects.filter(state=JobState.QUEUED)
        .order_by("created_at")
        .values_list("created_at", flat=True)
        .first(),
        supervisors=beats[WorkerHeartbeat.Kind.SUPERVISOR],
        slices=beats[WorkerHeartbeat.Kind.SLICE],
        sources=sources,
        sampled=sampled,
        blocked=list(SourceHealth.objects.filter(blocked_until__gt=clock.ago(timedelta(0))).order_by("source")),
        failed_logins=failed_logins,
        is_more=is_more,
    )


def _open_targets() -> OpenTargets:
    rows = TargetResult.objects.filter(state__in=OPEN_STATES).order_by().values_list("state").annotate(n=Count("pk"))
    n = Counter(dict(rows))
    return OpenTargets(waiting=n[TargetState.PENDING], leased=n[TargetState.LEASED], scanned=n[TargetState.SCANNED])


def _failed_logins(*, since: datetime) -> tuple[int, bool]:
    """How many of the newest events are failed logins of that time; and whether older ones of it were not looked at."""
    newest = list(AuditEvent.objects.order_by("-id").values_list("at", "action")[:EVENTS])
    lately = [action for at, action in newest if at >= since]
    return lately.count(AuditEvent.Action.LOGIN_FAILED), len(lately) == EVENTS


def _sources(*, since: datetime) -> tuple[dict[str, dict[str, int]], int]:
    """How the sources answered for the first address of the newest results; and how many results that is."""
    newest = TargetResult.objects.order_by("-id").values_list("scanned_at", "evidence__addresses__0__sources")[:SAMPLE]
    answered = [sources for scanned_at, sources in newest if scanned_at and scanned_at >= since and sources]
    found: dict[str, dict[str, int]] = {}  # no Counter: to a template it has every name as a key, items included
    for source in (source for sources in answered for source in sources):
        states = found.setdefault(source["source"], {})
        states[source["state"]] = states.get(source["state"], 0) + 1
    return found, len(answered)
