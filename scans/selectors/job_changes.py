"""What is different in a finished job from the scans before it. A change is asserted only of what both saw.

job ─► pairs: each target that has a result, with the earlier result it is compared with
          └─► read_scans: of both what is compared (host_page) ─► changes_between ─► the weightiest first

Five queries, six if a name has several addresses, however many targets it has and however many scans there were; three where
it was asked before, and two where no target has an earlier result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from scans.core.ports import count_ports
from scans.core.risk.levels import rank
from scans.core.types import Level, PortState
from scans.models import ScanJob, TargetAddress, TargetResult, TargetState
from scans.selectors.access import job_by_token, visible_jobs
from scans.selectors.host_changes import Change, ChangeKind
from scans.selectors.host_page import MAX_COMPARED_PORTS, HostScan, changes_between, comparing_cost, read_scans
from scans.selectors.job_page import by_risk

MAX_TARGETS = 256  # of a job, the worst: some 60 ms of processor time, and much more on Postgres before its first ANALYZE
MAX_LISTED = 20
# How many newest earlier rows of a host, whoever had it scanned, are looked through for one that the reader may see. With
# 100 a job of 1,000 targets that others scan all day took 2 s on SQLite and 4 s on Postgres, to find that there is none.
LOOKED_AT = 20
WITH_RESULT = (TargetState.DONE, TargetState.SCANNED)
WITHOUT_RESULT = tuple(state for state in TargetState if state not in WITH_RESULT)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedTarget:
    """A target in which something is different from its earlier scan."""

    now: HostScan
    then: HostScan
    changes: tuple[Change, ...]

    @property
    def level_step(self) -> int:
        """How far its level rose, below zero if it fell; 0 also where one of the two scans observed nothing."""
        if Level.UNKNOWN in (self.then.level, self.now.level):
            return 0
        return rank(Level(self.now.level)) - rank(Level(self.then.level))

    def ports_that(self, kind: ChangeKind) -> int:
        """How many ports changed so, at all of its addresses."""
        return sum(count_ports(change.ports) for change in self.changes if change.kind == kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobChanges:
    """What changed in a job. The counts of targets add up to all it has."""

    base: ScanJob | None  # the job that it repeats, if the reader may see it
    listed: tuple[ChangedTarget, ...]  # the weightiest
    changed: int
    same: int
    first: int  # no earlier result of theirs is known to this reader
    without_result: int
    too_large: int  # too many ports differ to compare them on a page
    unread: int  # behind MAX_TARGETS, and less at risk
    risen: int
    fallen: int
    opened: int  # ports, of all targets
    closed: int
    covered: int  # open, where the earlier scan did not look

    @property
    def more(self) -> int:
        """Changed targets that are not listed."""
        return self.changed - len(self.listed)


def repeated_job(job: ScanJob, user: User | AnonymousUser) -> ScanJob | None:
    """The job whose targets this one scans again, if it is still there and this user may see it."""
    return job_by_token(job.rerun_of, user) if job.rerun_of else None


def job_changes(job: ScanJob, user: User | AnonymousUser, *, base: ScanJob | None) -> JobChanges | None:
    """What is different from `base`, the job that it repeats, or else from earlier scans that this user may see.

    None where no target has an earlier result.
    """
    pairs = tuple(_pairs(job, user, base))
    earlier = tuple((then, now) for now, then in pairs if then is not None)
    if not earlier:
        return None
    found = _changes(job.token, earlier)
    with_result = job.targets.filter(state__in=WITH_RESULT).aggregate(n=Count("pk"))["n"]
    return replace(
        found,
        base=base,
        first=found.first + len(pairs) - len(earlier),
        without_result=job.total_targets - with_result,
        unread=with_result - len(pairs),
    )


@lru_cache(maxsize=20)  # some kB each; a megabyte where hosts answer on thousands of scattered ports
def _changes(_token: str, pairs: tuple[tuple[int, int], ...]) -> JobChanges:
    """What changed between these results, which never change again: kept for who looks again, sorts or filters.

    What concerns the job as a whole is for the caller to fill in.
    """
    scans = {scan.pk: scan for scan in _read({pk for pair in pairs for pk in pair})}
    both = [(scans[then], scans[now]) for then, now in pairs if then in scans and now in scans]
    both = [(then, now) for then, now in both if then.scanned_at <= now.scanned_at]  # jobs may overlap
    compared = _compared(both)
    found = [target for target in compared if target is not None and target.changes]
    return JobChanges(
        base=None,
        listed=tuple(_slim(target) for target in sorted(found, key=_weight)[:MAX_LISTED]),
        changed=len(found),
        same=sum(target is not None and not target.changes for target in compared),
        first=len(pairs) - len(both),
        without_result=0,
        too_large=compared.count(None),
        unread=0,
        risen=sum(target.level_step > 0 for target in found),
        fallen=sum(target.level_step < 0 for target in found),
        opened=sum(target.ports_that(ChangeKind.APPEARED) for target in found),
        closed=sum(target.ports_that(ChangeKind.DISAPPEARED) for target in found),
        covered=sum(target.ports_that(ChangeKind.COVERED) for target in found),
    )


def _slim(target: ChangedTarget) -> ChangedTarget:
    """Without what was compared, which may be a hundred times what is shown."""
    return replace(target, now=replace(target.now, addresses=()), then=replace(target.then, addresses=()))


def _pairs(job: ScanJob, user: User | AnonymousUser, base: ScanJob | None) -> QuerySet[TargetResult, tuple[int, int | None]]:
    """The worst targets that have a result, in the order submitted, each with its earlier result: that of the repeated job,
    or else the newest that this user may see. Of a job whose first scan of a target failed that is an even earlier one."""
    earlier: Subquery | Coalesce = Subquery(_newest(user).values("pk")[:1])
    if base is not None:
        repeated = TargetResult.objects.filter(job=base, key=OuterRef("key"), state__in=WITH_RESULT).order_by()
        earlier = Coalesce(Subquery(repeated.values("pk")[:1]), earlier)
    worst = by_risk(job.targets.filter(state__in=WITH_RESULT)).values_list("pk", flat=True)[:MAX_TARGETS]
    return TargetResult.objects.filter(pk__in=list(worst)).order_by("ordinal").values_list("pk", earlier)


def _newest(user: User | AnonymousUser) -> QuerySet[TargetResult]:
    """The earlier results of the same target, newest first: a walk down the index `target_host` that ends at the first, and
    no further down than LOOKED_AT rows. Its row is read no further than `state`; what comes behind may be megabytes away.
    """
    earlier = TargetResult.objects.filter(host=OuterRef("host"), job__lt=OuterRef("job"))
    far = TargetResult.objects.filter(host=OuterRef(OuterRef("host")), job__lt=OuterRef(OuterRef("job")))
    end = Subquery(far.order_by("-job_id").values("job_id")[LOOKED_AT : LOOKED_AT + 1])
    earlier = earlier.filter(job_id__gt=Coalesce(end, 0), key=OuterRef("key"))
    earlier = earlier.exclude(state__in=WITHOUT_RESULT)  # by `state__in` SQLite walks all rows that have these states
    return earlier.filter(Exists(visible_jobs(user).filter(pk=OuterRef("job_id")))).order_by("-job_id")


def _read(keys: set[int]) -> Iterator[HostScan]:
    """What is compared of these rows. Few have several addresses, and to look for eight in all of them takes eight times as
    long: a second for a thousand targets."""
    addresses = TargetAddress.objects.filter(result__in=keys).order_by().values_list("result_id")
    several = {pk for (pk,) in addresses.annotate(n=Count("pk")).filter(n__gt=1)}
    yield from read_scans(keys - several, addresses=1, told=False)
    yield from read_scans(several, told=False)


def _compared(pairs: Sequence[tuple[HostScan, HostScan]]) -> list[ChangedTarget | None]:
    """Each with its changes; None where so many ports differ that a page would take seconds."""
    budget = MAX_COMPARED_PORTS
    compared: list[ChangedTarget | None] = []
    for then, now in pairs:
        cost = comparing_cost(then, now)
        if cost > budget:
            compared.append(None)
            continue
        budget -= cost
        changes = tuple(change for change in changes_between(then, now) if _is_worth_a_line(change))
        compared.append(ChangedTarget(now=now, then=then, changes=changes))
    return compared


def _is_worth_a_line(change: Change) -> bool:
    """A port that was closed and is silent now is told on the host's page only."""
    return change.kind != ChangeKind.INCONCLUSIVE or PortState.OPEN in (change.then, change.now)


def _weight(target: ChangedTarget) -> tuple[int, int, int]:
    """What got worse first: levels that rose, ports that opened, and then all else; among equals, as submitted."""
    opened = target.ports_that(ChangeKind.APPEARED) + target.ports_that(ChangeKind.COVERED)
    return -target.level_step, -opened, -len(target.changes)
