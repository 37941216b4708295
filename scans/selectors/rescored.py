"""What results would be by other rules: the verdicts that `manage.py rescore` made, newest rules first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scans.models import RescoredVerdict, ScanJob, TargetResult

MAX_SHOWN = 5  # rulesets of one result; the admin has them all

Verdicts = Mapping[int, Sequence[RescoredVerdict]]  # by the primary key of their result
Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingChange:
    """A rule whose finding is another by other rules. None: it did not fire."""

    rule_id: str
    title: str
    then: str | None
    now: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherVerdict:
    """The verdict by other rules, as a host's page shows it beside the original one."""

    ruleset: str
    rescored_at: datetime
    level: str
    score: int
    changes: tuple[FindingChange, ...]


def rescored_verdicts(job: ScanJob, rows: Sequence[TargetResult]) -> Verdicts:
    """Those of these results of the job. One query, however many results; none without results."""
    if not rows:
        return {}
    ordinals = [row.ordinal for row in rows]
    found = RescoredVerdict.objects.filter(result__job=job, result__ordinal__range=(min(ordinals), max(ordinals)))
    by_result: dict[int, list[RescoredVerdict]] = {}
    for verdict in found.select_related("rescore").defer("rescore__rules").order_by("-rescore_id"):
        shown = by_result.setdefault(verdict.result_id, [])
        if len(shown) < MAX_SHOWN:
            shown.append(verdict)
    return by_result


def other_verdicts(own: Json | None, verdicts: Sequence[RescoredVerdict]) -> list[OtherVerdict]:
    """Each with the findings that are others than those of the result's own verdict, which is there if any other is."""
    before = own["findings"] if own else ()
    return [
        OtherVerdict(
            ruleset=verdict.rescore.ruleset,
            rescored_at=verdict.rescored_at,
            level=verdict.risk_level,
            score=verdict.risk_score,
            changes=tuple(_changes(before, verdict.verdict["findings"])),
        )
        for verdict in verdicts
    ]


def _changes(then: Sequence[Json], now: Sequence[Json]) -> list[FindingChange]:
    before, after = ({finding["rule_id"]: finding for finding in findings} for findings in (then, now))
    return [
        FindingChange(
            rule_id=rule_id,
            title=(after.get(rule_id) or before[rule_id])["title"],
            then=_weight(before.get(rule_id)),
            now=_weight(after.get(rule_id)),
        )
        for rule_id in sorted(before.keys() | after.keys())
        if _weight(before.get(rule_id)) != _weight(after.get(rule_id))
    ]


def _weight(finding: Json | None) -> str | None:
    """What a finding counts for, in words."""
    if finding is None:
        return None
    points = f"{finding['points']} point{'' if finding['points'] == 1 else 's'}"
    return f"{points}, level at least {finding['floor']}" if finding["floor"] else points
