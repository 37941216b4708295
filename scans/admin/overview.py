"""The few numbers staff look for first: is work waiting, is anybody at it, do the sources answer. Seven cheap queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone

from scans.models import OPEN_STATES, JobState, ScanJob, TargetResult, WorkerHeartbeat
from scans.selectors import WORKER_SILENCE

SAMPLE = 100  # of the newest results, to see how sources fare: each costs a look into its JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """Everything the index shows."""

    jobs_by_state: Mapping[str, int]
    open_targets: int
    oldest_queued: datetime | None
    supervisors: int  # that beat lately
    slices: int
    sources: Mapping[str, Mapping[str, int]]  # by source, how often each state, in the sample
    sampled: int


def overview() -> Overview:
    """As of now."""
    now = timezone.now()
    states = dict(ScanJob.objects.order_by().values_list("state").annotate(n=Count("pk")))
    alive = WorkerHeartbeat.objects.filter(seen_at__gte=now - WORKER_SILENCE).values_list("kind", flat=True)
    beats = Counter(alive)
    sources, sampled = _sources(since=now - timedelta(days=1))
    return Overview(
        jobs_by_state={state.value: states.get(state.value, 0) for state in JobState},
        open_targets=TargetResult.objects.filter(state__in=OPEN_STATES).count(),
        oldest_queued=ScanJob.objects.filter(state=JobState.QUEUED)
        .order_by("created_at")
        .values_list("created_at", flat=True)
        .first(),
        supervisors=beats[WorkerHeartbeat.Kind.SUPERVISOR],
        slices=beats[WorkerHeartbeat.Kind.SLICE],
        sources=sources,
        sampled=sampled,
    )


def _sources(*, since: datetime) -> tuple[dict[str, dict[str, int]], int]:
    """How the sources answered for the first address of the newest results; and how many results that is."""
    newest = TargetResult.objects.order_by("-id").values_list("scanned_at", "evidence__addresses__0__sources")[:SAMPLE]
    answered = [sources for scanned_at, sources in newest if scanned_at and scanned_at >= since and sources]
    found: dict[str, dict[str, int]] = {}  # no Counter: to a template it has every name as a key, items included
    for source in (source for sources in answered for source in sources):
        states = found.setdefault(source["source"], {})
        states[source["state"]] = states.get(source["state"], 0) + 1
    return found, len(answered)
