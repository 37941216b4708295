"""What the targets of a finished job have in common: findings by rule, and what is not known of how many.

All of it comes from one query over the verdicts, worst first and at most MAX_VERDICTS of them; the page says so where that
was not all. Measured with 1,024 targets of 12 findings each: 65 ms, and up to 200 on a busy machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count

from scans.models import ScanJob, TargetState
from scans.selectors.job_page import by_risk

MAX_VERDICTS = 2048
SHOWN_HOSTS = 3
SEEN_STATES = (TargetState.DONE, TargetState.SCANNED)

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedHost:
    """One of the hosts that a rule fired on."""

    number: int
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingGroup:
    """One rule over all hosts that it fired on."""

    rule_id: str
    title: str
    remediation: str
    points: int  # the most that it added on one host
    floor: str | None
    hosts: int
    shown: tuple[GroupedHost, ...]  # the worst of them

    @property
    def more(self) -> int:
        """Hosts that are not shown."""
        return self.hosts - len(self.shown)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknowns:
    """How many targets something is not known of. The first four have no full result, the others have one."""

    unresolved: int
    failed: int
    refused: int
    cancelled: int
    seen: int  # targets that were looked at; of these:
    silent: int  # not one port answered
    partly: int  # some ports did not answer
    unasked: int  # a source that was asked did not answer
    blind: int  # no source that was asked did

    @property
    def is_nothing(self) -> bool:
        """Whether everything is known that was asked for."""
        return not any((self.unresolved, self.failed, self.refused, self.cancelled, self.silent, self.partly, self.unasked))


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFindings:
    """What the verdicts of a job say together."""

    groups: tuple[FindingGroup, ...]
    rulesets: tuple[str, ...]
    unknowns: Unknowns
    read: int
    rated: int  # verdicts there are; more than were read in a very large job only

    @property
    def is_all(self) -> bool:
        """Whether every verdict was read."""
        return self.read == self.rated


@dataclass(kw_only=True, slots=True)
class _Group:
    """A group while it grows."""

    first: Json
    points: int = 0
    hosts: int = 0
    shown: list[GroupedHost] = field(default_factory=list)


def job_findings(job: ScanJob) -> JobFindings:
    """Findings by rule, worst first, and the counts of what is not known. Two queries."""
    rated = job.targets.exclude(risk_level="")
    columns = by_risk(rated).values_list("ordinal", "target", "state", "verdict")
    rows: list[tuple[int, str, str, Any]] = list(columns[: MAX_VERDICTS + 1])  # who is rated has a verdict
    read = rows[:MAX_VERDICTS]
    return JobFindings(
        groups=_grouped(read),
        rulesets=tuple(sorted({verdict["ruleset"] for _, _, state, verdict in read if state in SEEN_STATES})),
        unknowns=_unknowns(job, [verdict["completeness"] for _, _, state, verdict in read if state in SEEN_STATES]),
        read=len(read),
        rated=len(rows) if len(rows) <= MAX_VERDICTS else rated.count(),
    )


def _grouped(rows: Sequence[tuple[int, str, str, Any]]) -> tuple[FindingGroup, ...]:
    groups: dict[str, _Group] = {}
    for ordinal, target, _, verdict in rows:
        for rule_id, finding in {finding["rule_id"]: finding for finding in verdict["findings"]}.items():
            group = groups.setdefault(rule_id, _Group(first=finding))
            group.points = max(group.points, finding["points"])
            group.hosts += 1
            if len(group.shown) < SHOWN_HOSTS:
                group.shown.append(GroupedHost(number=ordinal + 1, target=target))
    made = [
        FindingGroup(
            rule_id=rule_id,
            title=group.first["title"],
            remediation=group.first["remediation"],
            points=group.points,
            floor=group.first["floor"],
            hosts=group.hosts,
            shown=tuple(group.shown),
        )
        for rule_id, group in groups.items()
    ]
    return tuple(sorted(made, key=lambda group: (-group.points, -group.hosts, group.rule_id)))


def _unknowns(job: ScanJob, known: Sequence[Json]) -> Unknowns:
    counts: Counter[str] = Counter()
    for state, code, n in job.targets.values_list("state", "error_code").annotate(n=Count("pk")).order_by():
        counts["unresolved" if code == "resolve_failed" else state] += n
    asked = [c for c in known if c["sources_asked"]]
    return Unknowns(
        unresolved=counts["unresolved"],
        failed=counts[TargetState.ERROR],
        refused=counts[TargetState.REFUSED],
        cancelled=counts[TargetState.CANCELLED],
        seen=len(known),
        silent=sum(c["ports_tested"] > 0 and not c["ports_answered"] for c in known),
        partly=sum(0 < c["ports_answered"] < c["ports_tested"] for c in known),
        unasked=sum(0 < c["sources_answered"] < c["sources_asked"] for c in asked),
        blind=sum(not c["sources_answered"] for c in asked),
    )
