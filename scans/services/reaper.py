"""The reaper: whatever died, whenever, the work goes on. Idempotent, any number may run at once.

It runs every two seconds in the supervisor and lazily when somebody looks at a job that seems stuck.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import uuid4

from scans.conf import risk_pack
from scans.core.unscanned import failure
from scans.models import OPEN_JOB_STATES, OPEN_STATES, ScanJob, TargetResult, TargetState, clock
from scans.services import claims, heartbeats, summaries
from scans.services.results import Claimed, finish_job, save_report, target_of
from scans.services.wakeups import wake_if_idle

log = logging.getLogger(__name__)

BATCH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Reaped:
    """What one round did."""

    dead_slices: int
    given_up: int
    finished_jobs: int
    late_summaries: int
    woken: int


def reap() -> Reaped:
    """One round, in this order: end dead leases, give up on poison, end late summaries, close jobs, wake workers."""
    return Reaped(
        dead_slices=heartbeats.expire_dead(),
        given_up=_give_up_on_poison(),
        late_summaries=summaries.end_late_summaries(),
        finished_jobs=_finish_jobs(),
        woken=_wake_workers(),
    )


def _give_up_on_poison() -> int:
    """Targets whose workers died MAX_ATTEMPTS times get an explicit error as their one result."""
    now = clock.now()
    given_up = 0
    for row in TargetResult.objects.filter(claims.poison(now))[:BATCH]:
        lease = uuid4()
        mine = TargetResult.objects.filter(claims.poison(now), pk=row.pk)
        if not mine.update(state=TargetState.LEASED, lease=lease, lease_until=now + claims.LEASE):
            continue
        error = f"Gave up after {row.attempts} attempts: each time the worker died or made no progress."
        report = failure(target_of(row), "gave_up", error, started_at=now, pack=risk_pack())
        given_up += save_report(Claimed(pk=row.pk, job_id=row.job_id, lease=lease), report, awaits_summary=False)
    return given_up


def _finish_jobs() -> int:
    """Jobs that lost their finisher. In normal running there are none: the last write of a job closes it."""
    jobs = ScanJob.objects.filter(state__in=OPEN_JOB_STATES).exclude(targets__state__in=OPEN_STATES)
    return sum(finish_job(job.pk, now=clock.now()) for job in jobs[:BATCH])


def _wake_workers() -> int:
    woken = 0
    if claims.has_claimable():
        woken += wake_if_idle("scan")
    if claims.has_awaiting_summary():
        woken += wake_if_idle("ai")
    return woken
