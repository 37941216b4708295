"""Writing what a scan found: one fenced write per target, many in one transaction, and the job's end.

The fence: a write names the lease it was claimed under. A worker presumed dead writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from ipscanner.version import version
from scans.core import wire
from scans.core.packing import pack_probes
from scans.core.pipeline import Interrupted
from scans.core.types import Outcome, Report, Summary, Target, TargetKind
from scans.models import (
    OPEN_JOB_STATES,
    OPEN_STATES,
    AiChoice,
    JobOutcome,
    JobState,
    ScanJob,
    TargetAddress,
    TargetResult,
    TargetState,
    clock,
)
from scans.services.aggregates import count_job, count_results, result_tally
from scans.services.egress import record_told
from scans.services.rows import Update
from scans.services.specs import target_from_spec
from scans.services.terms import term_rows, write_terms

FINAL_STATE = {Outcome.DONE: TargetState.DONE, Outcome.ERROR: TargetState.ERROR, Outcome.REFUSED: TargetState.REFUSED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A row that a worker holds, and the lease it holds it by."""

    pk: int
    job_id: int
    lease: UUID
    ai: str = AiChoice.OFF  # the job's wish; kept here because the job may be gone by the time of the write


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A report on its way to its row."""

    claimed: Claimed
    report: Report
    awaits_summary: bool = False  # the verdict is there, the model's words are still to come


def report_columns(report: Report, *, now: datetime) -> dict[str, Any]:
    """The columns of a TargetResult that a report fills, state aside."""
    ports_open = {probe.port for address in report.addresses for probe in address.probes if probe.state == "open"}
    return {
        "evidence": wire.evidence_dict(report),
        "verdict": wire.verdict_dict(report.verdict),
        "summary": wire.summary_dict(report.summary),
        "ip_address": str(report.addresses[0].address) if report.addresses else None,
        "risk_level": report.verdict.level,
        "risk_score": report.verdict.score,
        "open_ports": len(ports_open),
        "error_code": report.error_code or "",
        "scanned_at": now,
        "partial": None,
        "lease": None,
        "lease_until": None,
    }


def save_report(claimed: Claimed, report: Report, *, awaits_summary: bool) -> bool:
    """Store one report. False if the lease was lost: then nothing is written."""
    return bool(save_reports([Finished(claimed=claimed, report=report, awaits_summary=awaits_summary)]))


def save_reports(finished: Sequence[Finished]) -> set[int]:
    """Store reports in one transaction: all or, if it fails, none. Returns the rows that were still ours.

    Of a row whose lease was lost nothing is written. What can be prepared is, before the transaction: on SQLite all other
    writers wait for its end.
    """
    now = clock.now()
    columns = {one.claimed.pk: _columns_at_end(one, now=now) for one in finished}
    tallies = {pk: result_tally(row["state"], row["evidence"], row["verdict"]) for pk, row in columns.items()}
    updates = [  # those that await a summary fill other columns
        Update(TargetResult, {one.claimed.pk: columns[one.claimed.pk] for one in finished if one.awaits_summary is awaits})
        for awaits in (False, True)
    ]
    addresses = {one.claimed.pk: address_rows(one.claimed.pk, one.report) for one in finished}
    job_of = {one.claimed.pk: one.claimed.job_id for one in finished}
    terms = {pk: term_rows(pk, job_of[pk], row["evidence"], row["verdict"]) for pk, row in columns.items()}
    with transaction.atomic():
        held = _still_held(finished)
        for update in updates:
            update.write(held)
        TargetAddress.objects.bulk_create(row for pk in sorted(held) for row in addresses[pk])
        write_terms([row for pk in sorted(held) for row in terms[pk]])
        record_told(((job_of[one.claimed.pk], one.report.told) for one in finished if one.claimed.pk in held), at=now)
        jobs = {pk: job_of[pk] for pk in held}
        count_results(((job_id, tallies[pk]) for pk, job_id in jobs.items()), at=now)
        for job_id in sorted(set(jobs.values())):  # in an order that all keep: no two wait for each other
            _touch_and_finish(job_id, now=now)
    return held


def _columns_at_end(one: Finished, *, now: datetime) -> dict[str, Any]:
    columns = report_columns(one.report, now=now)
    if one.awaits_summary:
        return columns | {"state": TargetState.SCANNED, "attempts": 0}
    return columns | {"state": FINAL_STATE[one.report.outcome], "finished_at": now}


def _still_held(finished: Sequence[Finished]) -> set[int]:
    """The fence: the rows that are still leased to who held them. They stay locked until the end of the transaction."""
    leases = {one.claimed.pk: one.claimed.lease for one in finished}
    rows = TargetResult.objects.filter(pk__in=leases, state=TargetState.LEASED).order_by("pk").select_for_update()
    return {pk for pk, lease in rows.values_list("pk", "lease") if lease == leases[pk]}


def save_summary(claimed: Claimed, summary: Summary) -> bool:
    """Store the words of a scanned target, which ends it. False if the lease was lost."""
    now = clock.now()
    with transaction.atomic():
        columns = {"summary": wire.summary_dict(summary), "state": TargetState.DONE, "finished_at": now}
        if not _held(claimed, TargetState.SCANNED).update(**columns, lease=None, lease_until=None):
            return False
        _touch_and_finish(claimed.job_id, now=now)
    return True


def hand_back(claimed: Claimed, interrupted: Interrupted | None = None, *, is_counted: bool = False) -> bool:
    """Give a row back with what is known so far. Progress resets its attempts.

    Without progress the attempt counts only if the row had a whole slice for it: otherwise it could go round for ever.
    """
    columns: dict[str, Any] = {"state": TargetState.PENDING, "lease": None, "lease_until": None}
    if not is_counted:
        columns["attempts"] = F("attempts") - 1
    if interrupted and interrupted.has_progress:
        columns["attempts"] = 0
        known = {str(address): pack_probes(probes) for address, probes in interrupted.known.items()}
        columns["partial"] = {"addresses": known, "notes": list(interrupted.notes)}
    with transaction.atomic():
        is_ours = bool(_held(claimed, TargetState.LEASED).update(**columns))
        if is_ours and interrupted:
            record_told([(claimed.job_id, interrupted.told)], at=clock.now())
    return is_ours


def target_of(row: TargetResult) -> Target:
    """The row's target, for a result without a scan: readable even if its stored form is not, as of another version."""
    try:
        return target_from_spec(row.spec)
    except (KeyError, TypeError, ValueError):
        return Target(kind=TargetKind.NAME, text=row.target, host=row.host)


def address_rows(result_id: int, report: Report) -> list[TargetAddress]:
    """The searchable addresses of a report."""
    return [
        TargetAddress(result_id=result_id, address=str(a.address), is_global=a.is_global, observed_at=report.finished_at)
        for a in report.addresses
    ]


def finish_job(job_id: int, *, now: datetime) -> bool:
    """Close a job whose targets are all final. Exactly one caller ever gets True."""
    open_targets = TargetResult.objects.filter(job=OuterRef("pk"), state__in=OPEN_STATES)
    without_result = TargetResult.objects.filter(job_id=job_id, state__in=[TargetState.ERROR, TargetState.REFUSED])
    outcome = JobOutcome.PARTIAL if without_result.exists() else JobOutcome.COMPLETE
    running = ScanJob.objects.filter(~Exists(open_targets), pk=job_id, state__in=OPEN_JOB_STATES)
    end = {"finished_at": now, "scanner_version": version(), "version": F("version") + 1}
    with transaction.atomic():
        if not running.update(state=JobState.COMPLETE, outcome=outcome, **end):
            return False
        count_job(job_id, at=now)
    return True


def _held(claimed: Claimed, state: TargetState) -> QuerySet[TargetResult]:
    return TargetResult.objects.filter(pk=claimed.pk, state=state, lease=claimed.lease)


def _touch_and_finish(job_id: int, *, now: datetime) -> None:
    """Raise the job's version and close it if this was its last target.

    The first UPDATE locks the job's row: of two workers that finish its last two targets at the same moment, the second
    waits here and then sees the first one's row as final. Without it, on Postgres, neither would close the job.
    """
    ScanJob.objects.filter(pk=job_id).update(version=F("version") + 1)
    finish_job(job_id, now=now)
