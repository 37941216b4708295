"""Counting by day what ended, once each, for the dashboard.

    save_report, cancel, submit (refusals) ─► a target's counts ─┐ in the transaction of the write that they belong to:
    finish_job, cancel ─────────────────────► a job's counts ────┘ a worker killed at any moment loses and doubles nothing
    fold, every two seconds by each supervisor: fresh rows become part of the folded ones

- A target counts when its verdict is stored: the model's words, for which it may still wait, change no number.
- Levels, ports, countries and sources count only where somebody looked; a refused or cancelled target was not rated.
- Of a host that is known to answer everywhere only ports with an identified service count. A target that answers on more
  than MAX_PORTS ports likely answers on all of them: of its ports only those of the catalogue count, so that one such host
  does not fill the table.
- Deleting and purging leave the counts as they are: they say what was scanned on a day, and hold no address and no name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from scans.core.ports import catalogue, telling_ports
from scans.core.types import SourceState
from scans.models import EVERYBODY, NOBODY, CountKind, DailyCount, ScanJob, TargetResult, TargetState
from scans.models.counts import MAX_VALUE_CHARS
from scans.selectors.countries import clean_code

MAX_PORTS = 100
WAIT_STEPS = (1, 2, 5, 15, 60, 300)  # seconds; "more" is above them
FOLD_ROWS = 4000  # of some ten that a result brings; 0.1 s on SQLite, during which others wait
INSERT_ROWS = 500
REBUILD_ROWS = 500
RATED = (TargetState.DONE, TargetState.ERROR)

Key = tuple[str, str]  # kind and value


@dataclass(kw_only=True, slots=True)
class Tally:
    """How often, and how many milliseconds in all, by kind and value."""

    n: Counter[Key] = field(default_factory=Counter)
    milliseconds: Counter[Key] = field(default_factory=Counter)

    def add(self, kind: CountKind, value: str, n: int = 1, *, milliseconds: int = 0) -> None:
        """Count something."""
        key = (kind.value, value[:MAX_VALUE_CHARS])
        self.n[key] += n
        self.milliseconds[key] += milliseconds

    def __iadd__(self, other: Tally) -> Tally:
        self.n.update(other.n)
        self.milliseconds.update(other.milliseconds)
        return self

    def rows(self, *, day: date, owner: int, is_folded: bool) -> list[DailyCount]:
        """As rows, in an order that every writer keeps: two folds could otherwise wait for each other."""
        return [
            DailyCount(
                day=day, owner=owner, kind=kind, value=value, n=n, milliseconds=self.milliseconds[kind, value],
                is_folded=is_folded,
            )
            for (kind, value), n in sorted(self.n.items())
        ]  # fmt: skip


# --- What counts ---------------------------------------------------------------------------------------------------


def result_tally(state: str, evidence: Mapping[str, Any], verdict: Mapping[str, Any]) -> Tally:
    """What one final result adds. One that only waits for the model's words is final here."""
    tally = Tally()
    ended = TargetState.DONE if state == TargetState.SCANNED else TargetState(state)
    tally.add(CountKind.TARGET, ended.value)
    if ended in RATED:
        tally.add(CountKind.LEVEL, verdict["level"])
    if ended is TargetState.DONE:
        addresses = evidence["addresses"]
        for port in _counted_ports(addresses):
            tally.add(CountKind.PORT, str(port))
        tally.add(CountKind.COUNTRY, _country(addresses))
        for source in (source for address in addresses for source in address["sources"]):
            _count_source(tally, source)
    return tally


def job_tally(job: ScanJob) -> Tally:
    """What the end of one job adds."""
    tally = Tally()
    tally.add(CountKind.JOB, job.outcome)
    if job.started_at:
        waited_ms = max(0, (job.started_at - job.created_at) // timedelta(milliseconds=1))
        step = next((str(step) for step in WAIT_STEPS if waited_ms <= 1000 * step), "more")
        tally.add(CountKind.WAIT, step, milliseconds=waited_ms)
    return tally


def _counted_ports(addresses: list[Mapping[str, Any]]) -> set[int]:
    ports = {port for address in addresses for port in telling_ports(address)}
    return ports if len(ports) <= MAX_PORTS else ports & catalogue().keys()


def _country(addresses: list[Mapping[str, Any]]) -> str:
    """The first that a source names for the first address, which is the identity that the result is shown with."""
    said = (source["facts"].get("country_code") for address in addresses[:1] for source in address["sources"])
    return next((code for code in map(clean_code, said) if code), "")


def _count_source(tally: Tally, source: Mapping[str, Any]) -> None:
    if source["state"] == SourceState.NOT_APPLICABLE:  # such an address is never asked about
        return
    tally.add(CountKind.SOURCE, f"{source['source']}:{source['state']}")
    elapsed_ms = source.get("elapsed_ms")  # results from before it was measured have none
    if elapsed_ms is not None and not source["is_cached"]:
        tally.add(CountKind.TIMED, source["source"], milliseconds=elapsed_ms)


# --- Counting, inside the transaction of the write -------------------------------------------------------------------


def count_results(ended: Iterable[tuple[int, Tally]], *, at: datetime) -> None:
    """Targets have their verdict, or end without one: of each its job and what it adds."""
    ended = list(ended)
    owners = dict(ScanJob.objects.filter(pk__in={job_id for job_id, _ in ended}).values_list("pk", "owner_id"))
    tallies: defaultdict[int | None, Tally] = defaultdict(Tally)
    for job_id, tally in ended:
        tallies[owners.get(job_id)] += tally
    for owner, tally in tallies.items():
        _insert(tally, owner=owner, at=at)


def count_unscanned(job: ScanJob, state: TargetState, n: int, *, at: datetime) -> None:
    """So many targets of a job ended refused or cancelled, without anybody having looked at them."""
    if n:
        tally = Tally()
        tally.add(CountKind.TARGET, state.value, n)
        _insert(tally, owner=job.owner_id, at=at)


def count_job(job_id: int, *, at: datetime) -> None:
    """A job ended; its row says so already."""
    job = ScanJob.objects.only("owner_id", "outcome", "created_at", "started_at").get(pk=job_id)
    _insert(job_tally(job), owner=job.owner_id, at=at)


def _insert(tally: Tally, *, owner: int | None, at: datetime) -> None:
    DailyCount.objects.bulk_create(tally.rows(day=_day(at), owner=owner or NOBODY, is_folded=False))


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


# --- Folding -------------------------------------------------------------------------------------------------------


def fold(limit: int = FOLD_ROWS) -> int:
    """Make some fresh rows part of the folded ones, for their owner and for everybody. Returns how many they were.

    Any number may run at once: on Postgres each takes rows that no other has, on SQLite one at a time.
    """
    fresh = DailyCount.objects.filter(is_folded=False).order_by("id")
    if not fresh[:1].exists():  # a read, which locks nobody out
        return 0
    with transaction.atomic():
        taken = list(_unlocked(fresh)[:limit])
        sums: dict[tuple[int, date], Tally] = defaultdict(Tally)
        for row in taken:
            for owner in (EVERYBODY, row.owner):
                sums[owner, row.day].add(CountKind(row.kind), row.value, row.n, milliseconds=row.milliseconds)
        for (owner, day), tally in sorted(sums.items()):
            _add_folded(tally.rows(day=day, owner=owner, is_folded=True))
        DailyCount.objects.filter(pk__in=[row.pk for row in taken]).delete()
    return len(taken)


def _unlocked(rows: QuerySet[DailyCount]) -> QuerySet[DailyCount]:
    if connection.features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows


_COLUMNS = ("day", "owner", "kind", "value", "n", "milliseconds", "is_folded")


def _add_folded(rows: list[DailyCount]) -> None:
    """Insert, or add to what is there; bulk_create() could only replace it."""
    one = f"({', '.join(['%s'] * len(_COLUMNS))})"
    for start in range(0, len(rows), INSERT_ROWS):
        some = rows[start : start + INSERT_ROWS]
        statement = (  # of names and placeholders only
            f"INSERT INTO scans_dailycount ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * len(some))} "  # noqa: S608 - see above
            "ON CONFLICT (owner, kind, day, value) WHERE is_folded DO UPDATE SET "
            "n = scans_dailycount.n + excluded.n, milliseconds = scans_dailycount.milliseconds + excluded.milliseconds"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [getattr(row, name) for row in some for name in _COLUMNS])


# --- Counting again ------------------------------------------------------------------------------------------------


def rebuild(*, until: date | None = None) -> int:
    """Count the days before `until` again, from the rows that are left; returns how many days. The default is today.

    For rows that were written before there were counts. May be repeated, interrupted, and run while all else runs: each day
    is replaced in one short transaction. A day without any row keeps its counts, since it was purged; one that was purged in
    part loses what was. Days from `until` on are still being counted, so they are left alone.
    """
    end = datetime.combine(until or _day(timezone.now()), time.min, tzinfo=UTC)
    days: dict[date, dict[int, Tally]] = defaultdict(lambda: defaultdict(Tally))
    for at, owner, tally in _all_tallies(end):
        days[_day(at)][owner or NOBODY] += tally
    for day, by_owner in sorted(days.items()):
        _replace_day(day, by_owner)
    return len(days)


def _all_tallies(end: datetime) -> Iterator[tuple[datetime, int | None, Tally]]:
    was_looked_at = ~Q(state__in=[TargetState.PENDING, TargetState.LEASED])
    results = TargetResult.objects.filter(was_looked_at, scanned_at__lt=end).select_related("job").only(
        "state", "evidence", "verdict", "scanned_at", "job__owner_id"
    )  # fmt: skip
    for row in _by_key(results):
        yield row.scanned_at, row.job.owner_id, result_tally(row.state, row.evidence, row.verdict)
    jobs = ScanJob.objects.filter(finished_at__lt=end).only("owner_id", "outcome", "created_at", "started_at", "finished_at")
    for job in _by_key(jobs):
        yield job.finished_at, job.owner_id, job_tally(job)


def _by_key(rows: QuerySet[Any]) -> Iterator[Any]:
    """All rows, a chunk at a time, without a cursor that stays open."""
    last = 0
    while chunk := list(rows.filter(pk__gt=last).order_by("pk")[:REBUILD_ROWS]):
        yield from chunk
        last = chunk[-1].pk


def _replace_day(day: date, by_owner: Mapping[int, Tally]) -> None:
    everybody = Tally()
    for tally in by_owner.values():
        everybody += tally
    rows = [row for owner, tally in by_owner.items() for row in tally.rows(day=day, owner=owner, is_folded=True)]
    rows += everybody.rows(day=day, owner=EVERYBODY, is_folded=True)
    with transaction.atomic():
        if connection.vendor == "postgresql":  # or a fold could put a row in between; SQLite lets in one writer anyway
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE scans_dailycount IN SHARE ROW EXCLUSIVE MODE")
        DailyCount.objects.filter(day=day).exclude(kind=CountKind.RESTART).delete()  # of those no row is left to count again
        DailyCount.objects.bulk_create(rows, batch_size=INSERT_ROWS)
