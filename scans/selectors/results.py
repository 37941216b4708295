"""The targets of one job and what came of them, in the order submitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from scans.conf import risk_pack
from scans.core import risk, wire
from scans.core.types import Level
from scans.models import OPEN_STATES, RescoredVerdict, ScanJob, TargetResult
from scans.selectors.rescored import rescored_verdicts
from scans.selectors.terms import Wanted, results_with
from scans.selectors.waivers import WaiversInForce, marked_findings, waivers_in_force

STREAMED_ROWS = 50  # at a time; a row with a thousand ports is some 100 kB


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFilters:
    """What a list of results is narrowed to."""

    risk: str | None = None
    outcome: str | None = None
    wanted: Wanted = field(default_factory=dict)  # what a target is to have, by kind of term


def listed_results(
    job: ScanJob, filters: ResultFilters, *, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A page of the finished targets behind this ordinal, and the ordinal at which it ends; None on the last page."""
    columns = {"risk_level": filters.risk, "state": filters.outcome}
    rows = finished_targets(job).filter(**{name: value for name, value in columns.items() if value is not None})
    rows = results_with(rows, job, filters.wanted)
    found = list(rows.filter(ordinal__gt=after)[: limit + 1])
    page = numbered_results(job, found[:limit], waivers_in_force())
    return page, page[-1]["ordinal"] if len(found) > limit else None


def streamed_results(job: ScanJob) -> Iterator[dict[str, Any]]:
    """The finished targets one after another: a few in memory at a time, and no cursor left open for a slow client."""
    last, waivers = -1, waivers_in_force()
    while rows := list(finished_targets(job).filter(ordinal__gt=last)[:STREAMED_ROWS]):
        yield from numbered_results(job, rows, waivers)
        last = rows[-1].ordinal


def numbered_results(job: ScanJob, rows: Sequence[TargetResult], waivers: WaiversInForce) -> list[dict[str, Any]]:
    """Results that stand without their neighbours: each with its place in the submission."""
    results = wire_results(job, rows, waivers)
    return [{"ordinal": row.ordinal, **result} for row, result in zip(rows, results, strict=True)]


def finished_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """The targets that have their result, in the order submitted."""
    return job.targets.exclude(state__in=OPEN_STATES).order_by("ordinal").defer("partial", "spec")


def job_targets(job: ScanJob) -> QuerySet[TargetResult]:
    """All targets in the order submitted, with the columns that lists show."""
    return job.targets.order_by("ordinal").defer("evidence", "partial", "spec")


def target_by_number(job: ScanJob, number: int) -> TargetResult | None:
    """The target with this number, counted from 1 as people see it."""
    return job.targets.filter(ordinal=number - 1).first() if number >= 1 else None


def wire_results(job: ScanJob, rows: Sequence[TargetResult], waivers: WaiversInForce) -> list[dict[str, Any]]:
    """Entries of results[], with their verdicts by other rules; only for targets that have their result."""
    others = rescored_verdicts(job, rows)
    return [wire_result(row, waivers, others.get(row.pk, ())) for row in rows]


def wire_result(row: TargetResult, waivers: WaiversInForce, others: Sequence[RescoredVerdict] = ()) -> dict[str, Any]:
    """One of them, its findings marked with the waivers. `others`: its verdicts by other rules."""
    result = wire.wire_result(*row.parts, rescored=[(other.rescored_at, other.verdict) for other in others])
    return result | {"findings": marked_findings(result["findings"], row.evidence or {}, waivers)}


def host_result(row: TargetResult) -> dict[str, Any]:
    """A result for its own page: marked with the waivers in force, and what wants acting on first, also in an old row."""
    result = wire_result(row, waivers_in_force())
    places = risk.urgency(risk_pack())

    def weight(finding: dict[str, Any]) -> tuple[int, int, int, str]:
        floor = Level(finding["floor"]) if finding["floor"] else None
        return risk.actionability(finding["rule_id"], floor=floor, points=finding["points"], places=places)

    return result | {"findings": sorted(result["findings"], key=weight)}


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
