"""Who works: every supervisor and slice that beats or has fallen silent, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count

from scans.models import TargetResult, TargetState, WorkerHeartbeat, clock
from scans.selectors.readiness import WORKER_SILENCE

MAX_WORKERS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One heartbeat, as people read it."""

    kind: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    silent_seconds: float
    is_silent: bool
    is_stopping: bool
    targets: int  # that it holds a lease on


def workers() -> list[Worker]:
    """Everybody, supervisors first; whoever was silent for ten minutes has been forgotten. Two queries."""
    now = clock.now()
    beats = list(WorkerHeartbeat.objects.order_by("-kind", "host", "pid")[:MAX_WORKERS])
    held = _held([beat.pk for beat in beats])
    return [
        Worker(
            kind=beat.kind,
            host=beat.host.split(" ")[0],  # what follows tells containers of one name apart
            pid=beat.pid,
            started_at=beat.started_at,
            seen_at=beat.seen_at,
            silent_seconds=max(0.0, (now - beat.seen_at).total_seconds()),
            is_silent=beat.seen_at < now - WORKER_SILENCE,
            is_stopping=beat.is_stopping,
            targets=held.get(beat.pk, 0),
        )
        for beat in beats
    ]


def _held(leases: list[UUID]) -> dict[UUID, int]:
    """By lease, how many targets; the states keep it to those in work, which have an index."""
    rows = TargetResult.objects.filter(state__in=[TargetState.LEASED, TargetState.SCANNED], lease__in=leases)
    return dict(rows.order_by().values_list("lease").annotate(n=Count("pk")))
