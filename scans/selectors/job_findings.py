"""What the targets of a finished job have in common: findings by rule, and what is not known of how many.

All of it but the waivers comes from one query over the verdicts, worst first and at most MAX_VERDICTS of them; the page says
so where that was not all. With 1,000 targets of 14 findings each that is 4 MB of JSON and takes a tenth of a second or two.
So what was made of them is kept for who looks again, sorts or filters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.models import Count

from scans.conf import risk_pack
from scans.core import risk
from scans.core.risk.levels import rank
from scans.core.types import Level
from scans.models import ScanJob, TargetAddress, TargetState
from scans.selectors.job_page import by_risk
from scans.selectors.waivers import WaiversInForce, waivers_in_force, waivers_mark

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
    floor: Level | None  # the highest to which it raised one
    hosts: int
    waived: int  # of these hosts, where it is an accepted risk
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


class _Row(NamedTuple):
    """What is read of one target."""

    pk: int
    ordinal: int
    target: str
    host: str
    state: str
    verdict: Any


@dataclass(kw_only=True, slots=True)
class _Group:
    """A group while it grows."""

    first: Json
    points: int = 0
    floor: Level | None = None
    hosts: int = 0
    waived: int = 0
    shown: list[GroupedHost] = field(default_factory=list)

    def add(self, finding: Json, row: _Row) -> None:
        """One more host. Ten thousand times a page: what was seen already is compared as it was stored."""
        self.hosts += 1
        if finding["points"] > self.points:
            self.points = finding["points"]
        if finding["floor"] != self.floor:
            self.floor = max(self.floor, Level(finding["floor"]) if finding["floor"] else None, key=rank)
        if self.hosts <= SHOWN_HOSTS:
            self.shown.append(GroupedHost(number=row.ordinal + 1, target=row.target))


def job_findings(job: ScanJob) -> JobFindings:
    """Findings by rule, what wants acting on most first, and the counts of what is not known.

    One query where it was asked before, else four, and one more if a waiver is in force.
    """
    return _job_findings(job.pk, f"{job.token} {job.version} {waivers_mark()} {risk_pack().version}")


@lru_cache(maxsize=200)  # some kB each
def _job_findings(pk: int, _state: str) -> JobFindings:
    """The state tells what was kept from what is true now: every write that a reader could see raises a job's version."""
    job = ScanJob(pk=pk)
    rated = job.targets.exclude(risk_level="")
    columns = by_risk(rated).values_list("pk", "ordinal", "target", "host", "state", "verdict")
    rows = [_Row._make(row) for row in columns[: MAX_VERDICTS + 1]]  # who is rated has a verdict
    read = rows[:MAX_VERDICTS]
    seen = [row.verdict for row in read if row.state in SEEN_STATES]
    waivers = waivers_in_force()
    return JobFindings(
        groups=_grouped(read, waivers, _addresses(job) if waivers else {}),
        rulesets=tuple(sorted({verdict["ruleset"] for verdict in seen})),
        unknowns=_unknowns(job, [verdict["completeness"] for verdict in seen]),
        read=len(read),
        rated=len(rows) if len(rows) <= MAX_VERDICTS else rated.count(),
    )


def _addresses(job: ScanJob) -> Mapping[int, list[str]]:
    """The addresses of each target, which its evidence has as well, but among much else."""
    found: dict[int, list[str]] = {}
    for result, address in TargetAddress.objects.filter(result__job=job).values_list("result_id", "address"):
        found.setdefault(result, []).append(address)
    return found


def _grouped(rows: Sequence[_Row], waivers: WaiversInForce, addresses: Mapping[int, list[str]]) -> tuple[FindingGroup, ...]:
    groups: dict[str, _Group] = {}
    for row in rows:
        for rule_id, finding in {finding["rule_id"]: finding for finding in row.verdict["findings"]}.items():
            if (group := groups.get(rule_id)) is None:
                group = groups[rule_id] = _Group(first=finding)
            group.add(finding, row)
            if waivers and waivers.of(finding, host=row.host, addresses=addresses.get(row.pk, ())):
                group.waived += 1
    made = [
        FindingGroup(
            rule_id=rule_id,
            title=group.first["title"],
            remediation=group.first["remediation"],
            points=group.points,
            floor=group.floor,
            hosts=group.hosts,
            waived=group.waived,
            shown=tuple(group.shown),
        )
        for rule_id, group in groups.items()
    ]
    return tuple(sorted(made, key=_order(risk.urgency(risk_pack()))))


def _order(places: Mapping[str, int]) -> Callable[[FindingGroup], tuple[Any, ...]]:
    """As on a host's page; among equals, what more hosts have comes first."""

    def weight(group: FindingGroup) -> tuple[Any, ...]:
        *weightiest, rule_id = risk.actionability(group.rule_id, floor=group.floor, points=group.points, places=places)
        return *weightiest, -group.hosts, rule_id

    return weight


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
