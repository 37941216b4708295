"""Cancelling: every open target gets its one result at once, `cancelled`, whoever is working on it.

The workers notice within about a second that the rows are not theirs any more and stop probing; what they still write
meets the fence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.db.models import F

from ipscanner.version import version
from scans.conf import risk_pack
from scans.core import wire
from scans.core.types import Outcome, SummaryState
from scans.core.unscanned import failure
from scans.models import OPEN_JOB_STATES, OPEN_STATES, JobOutcome, JobState, ScanJob, TargetResult, TargetState, clock
from scans.services import aggregates, audit
from scans.services.audit import Action, Origin
from scans.services.results import report_columns, target_of
from scans.services.rows import update_rows

CANCELLED_TEXT = "Cancelled before it was scanned."


def cancel_job(job: ScanJob, *, by: Origin) -> bool:
    """End a job now. False if it had ended already."""
    now = clock.now()
    with transaction.atomic():
        # Rows before the job, the order in which workers lock them: the other way round could deadlock on Postgres.
        rows = list(job.targets.select_for_update().filter(state__in=OPEN_STATES).order_by("pk"))
        end = {"finished_at": now, "scanner_version": version(), "version": F("version") + 1}
        ended = ScanJob.objects.filter(pk=job.pk, state__in=OPEN_JOB_STATES).update(
            state=JobState.CANCELLED, outcome=JobOutcome.CANCELLED, **end
        )
        if not ended:
            return False
        changed = [_ended(row, now=now) for row in rows]
        update_rows(TargetResult, {row.pk: {name: getattr(row, name) for name in _COLUMNS} for row in changed})
        unscanned = sum(row.state == TargetState.CANCELLED for row in changed)
        aggregates.count_unscanned(job, TargetState.CANCELLED, unscanned, at=now)
        aggregates.count_job(job.pk, at=now)
        audit.record(Action.CANCEL, **by, job_token=job.token, targets=len(rows))
    return True


_COLUMNS = (
    "state", "finished_at", "evidence", "verdict", "summary", "ip_address", "risk_level", "risk_score", "open_ports",
    "error_code", "scanned_at", "partial", "lease", "lease_until",
)  # fmt: skip


def _ended(row: TargetResult, *, now: datetime) -> TargetResult:
    if row.state == TargetState.SCANNED:  # its verdict stands; only the model's words will not come
        *_, summary = row.parts
        words = replace(wire.summary_from_dict(summary), state=SummaryState.SKIPPED, reason="the job was cancelled")
        row.state, row.summary, row.lease, row.lease_until = TargetState.DONE, wire.summary_dict(words), None, None
    else:
        report = failure(
            target_of(row), "cancelled", CANCELLED_TEXT, started_at=now, outcome=Outcome.CANCELLED, pack=risk_pack()
        )
        for name, value in report_columns(report, now=now).items():
            setattr(row, name, value)
        row.state = TargetState.CANCELLED
    row.finished_at = now
    return row
