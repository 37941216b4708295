"""Claims: which rows a worker takes, and for how long they are its own.

Rows are claimed across jobs, in small claims bounded by the probes they need: of the owner with the fewest in flight, of the
job with the fewest, and of those the one served longest ago. Attempts are counted at the claim, so a worker's death
counts. A row that was held by a worker that died is a suspect: a slice holds fresh rows, or a few suspects, or one row that
was held twice by the dying; never a mixture. Otherwise one target that kills its worker would, claim after claim, use up
the attempts of all the others there.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from itertools import count
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.utils import timezone

from scans.conf import risk_pack
from scans.core.packing import unpack_probes
from scans.core.pipeline import Item
from scans.core.ports import count_ports, expand
from scans.core.summary import MAX_TOGETHER
from scans.core.unscanned import failure
from scans.models import OPEN_JOB_STATES, JobState, ScanJob, TargetResult, TargetState, clock
from scans.services.endurance import AWAY, persistently
from scans.services.results import Claimed, save_report, target_of
from scans.services.specs import target_from_spec

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)
MAX_ATTEMPTS = 8  # the last six alone: docs/decisions/0006
CLAIM_PROBES = 4096  # about two seconds of work
MAX_ROWS = 256
NEWCOMER_ROWS = 32  # of a job that nobody has begun; more would be a large job that passes others
ROWS_BY_ATTEMPTS = {0: MAX_ROWS, 1: 8}  # rows with more attempts go alone
LOOK_SECONDS = 0.25  # how often a slice that has enough to do looks for jobs that nobody has begun
SUMMARY_CALLS = 4  # to the model, at once
SUMMARY_ROWS = SUMMARY_CALLS * MAX_TOGETHER
_JOBS_TRIED = 5


def claimable(now: datetime) -> Q:
    """Rows that wait for a worker, or whose worker has gone."""
    return _is_free(now) & Q(attempts__lt=MAX_ATTEMPTS)


def poison(now: datetime) -> Q:
    """Rows that no worker may try again."""
    return _is_free(now) & Q(attempts__gte=MAX_ATTEMPTS)


def awaiting_summary(now: datetime) -> Q:
    """Scanned rows that no summary worker holds."""
    return Q(state=TargetState.SCANNED, attempts__lt=MAX_ATTEMPTS) & (
        Q(lease=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + 2 * LEASE)
    )


class SuspectsAreNextError(Exception):
    """A slice takes no more: it has suspects, or they are next, and they want one of their own."""


class Claims:
    """The rows of one slice: claimed when the pipeline asks for more, given back when it never gets to them.

    Each claim of a row has a key of its own: a slice that lost a lease may come by the same row once more.
    """

    def __init__(self, lease: UUID) -> None:
        self.lease = lease
        self._unstarted: list[TargetResult] = []
        self._newcomers = 0  # the first so many of them
        self._look_at = self._until = 0.0  # monotonic
        self._keys = count()
        self._has_suspects = False
        self.held: dict[Hashable, Claimed] = {}

    def items(self, *, seconds: float) -> Iterator[Item | None]:
        """Items for the pipeline for so long; None when there is nothing to claim right now."""
        self._until = time.monotonic() + seconds
        while time.monotonic() < self._until:
            try:
                self._unstarted = self._unstarted or self._claim()
            except SuspectsAreNextError:
                return
            if not self._unstarted:
                yield None
                continue
            row = self._unstarted.pop(0)
            self._newcomers = max(0, self._newcomers - 1)
            self._has_suspects = row.attempts > 0
            key = next(self._keys)
            try:
                item = _item(key, row)
            except (KeyError, TypeError, ValueError) as error:
                self._end_unreadable(row, error)
                continue
            self.held[key] = self._claimed(row)
            yield item

    def has_newcomers(self) -> bool:
        """Whether the next row is of a job that nobody had begun. Looks for such now and then: they come first."""
        now = time.monotonic()
        are_suspects = self._has_suspects or any(row.attempts for row in self._unstarted[:1])
        if self._newcomers or are_suspects or not self._look_at <= now < self._until:
            return self._newcomers > 0
        with suppress(SuspectsAreNextError):  # they have time
            found = self._claim(is_new=True)
            self._newcomers, self._unstarted = len(found), [*found, *self._unstarted]
        self._look_at = time.monotonic() + LOOK_SECONDS  # from here: a claim may take that long, and others have a turn
        return self._newcomers > 0

    def lost(self) -> list[Hashable]:
        """Keys whose rows are not ours any more: cancelled, deleted, or taken over. May be called from another thread."""
        held = list(self.held.items())
        ours = TargetResult.objects.filter(state=TargetState.LEASED, lease=self.lease)
        still_ours = set(ours.values_list("pk", flat=True)) if held else set()
        return [key for key, claimed in held if claimed.pk not in still_ours]

    def hand_back_unstarted(self) -> None:
        """Rows the pipeline never pulled."""
        rows, self._unstarted = [row.pk for row in self._unstarted], []
        if rows:
            persistently(partial(_release_rows, TargetResult.objects.filter(pk__in=rows), self.lease, is_counted=False))

    def _claim(self, *, is_new: bool = False) -> list[TargetResult]:
        """More rows, or none; a database that is away has none right now. Raises SuspectsAreNextError."""
        if self._has_suspects:  # they stay among themselves
            raise SuspectsAreNextError
        try:
            return claim_targets(self.lease, may_be_suspects=not (self.held or is_new), is_new=is_new)
        except AWAY as error:
            log.warning("nothing could be claimed: %s", error)
            connection.close_if_unusable_or_obsolete()
            return []

    def _end_unreadable(self, row: TargetResult, error: Exception) -> None:
        """No attempt could read it, and it must not cost its neighbours one."""
        log.error("target %s cannot be read as it is stored: %r", row.pk, error)
        text = "This target cannot be read as it is stored, perhaps by another version: submit it again."
        report = failure(target_of(row), "unreadable_target", text, started_at=timezone.now(), pack=risk_pack())
        persistently(partial(save_report, self._claimed(row), report, awaits_summary=False))

    def _claimed(self, row: TargetResult) -> Claimed:
        return Claimed(pk=row.pk, job_id=row.job_id, lease=self.lease, ai=row.job.ai)


def claim_targets(lease: UUID, *, may_be_suspects: bool = True, is_new: bool = False) -> list[TargetResult]:
    """Take some rows of one job, or none; with `is_new` a few of one that nobody has begun. They are ours until LEASE has
    passed without a renewal.

    Raises SuspectsAreNextError, unless suspects may be taken.
    """
    now = clock.now()
    jobs = ScanJob.objects.filter(state=JobState.QUEUED) if is_new else ScanJob.objects.filter(state__in=OPEN_JOB_STATES)
    if is_new and not jobs.exists():
        return []
    of_jobs, of_owners = _in_flight(now)
    is_waiting = Exists(TargetResult.objects.filter(claimable(now), job=OuterRef("pk")))
    fewest = [*_number("owner", of_owners), *_number("pk", of_jobs)]
    for job in jobs.filter(is_waiting).order_by(*fewest, F("claimed_at").asc(nulls_first=True), "created_at")[:_JOBS_TRIED]:
        with transaction.atomic():
            waiting = job.targets.filter(claimable(now)).exclude(lease=lease)  # an own lease that ran out: others may
            rows = _pick(_unlocked(waiting), ports=count_ports(job.ports), most=NEWCOMER_ROWS if is_new else MAX_ROWS)
            if rows and rows[0].attempts and not may_be_suspects:
                raise SuspectsAreNextError
            if rows:
                _take(rows, lease, now=now)
                ScanJob.objects.filter(pk=job.pk).update(claimed_at=now)
                ScanJob.objects.filter(pk=job.pk, state=JobState.QUEUED).update(
                    state=JobState.RUNNING, started_at=now, version=F("version") + 1
                )
                return rows
    return []


def claim_summaries(lease: UUID) -> list[TargetResult]:
    """Take some scanned rows that wait for the model's words, each with its attempts before this one."""
    now = clock.now()
    with transaction.atomic():
        rows = list(_unlocked(TargetResult.objects.filter(awaiting_summary(now))).order_by("scanned_at")[:SUMMARY_ROWS])
        if rows:
            TargetResult.objects.filter(pk__in=[row.pk for row in rows]).update(
                lease=lease, lease_until=now + LEASE, attempts=F("attempts") + 1
            )
    return rows


def hand_back_summaries(lease: UUID, rows: Sequence[int], *, is_counted: bool) -> None:
    """Give scanned rows back, for the next claim. Without `is_counted` as if they had not been taken."""
    if not rows:
        return
    held = TargetResult.objects.filter(pk__in=rows, lease=lease, state=TargetState.SCANNED)
    held.update(lease=None, lease_until=None, attempts=F("attempts") if is_counted else F("attempts") - 1)


def release(lease: UUID, *, is_counted: bool) -> int:
    """Give back whatever is still held under a lease that nobody will work on any more. Returns how many rows."""
    return _release_rows(TargetResult.objects.all(), lease, is_counted=is_counted)


def _release_rows(rows: QuerySet[TargetResult], lease: UUID, *, is_counted: bool) -> int:
    """Those of the rows that are still held under the lease."""
    attempts = F("attempts") if is_counted else F("attempts") - 1
    return rows.filter(state=TargetState.LEASED, lease=lease).update(
        state=TargetState.PENDING, lease=None, lease_until=None, attempts=attempts
    )


def renew(lease: UUID) -> int:
    """Prolong the lease on every row held by it, in one UPDATE. Returns how many there are."""
    states = [TargetState.LEASED, TargetState.SCANNED]
    return TargetResult.objects.filter(lease=lease, state__in=states).update(lease_until=clock.now() + LEASE)


def _is_free(now: datetime) -> Q:
    """Never leased, or no longer. A lease that would last longer than one can was given before the clock was set back."""
    has_ended = Q(lease_until__lt=now) | Q(lease_until__gt=now + 2 * LEASE)
    return Q(state=TargetState.PENDING) | Q(has_ended, state=TargetState.LEASED)


def has_claimable() -> bool:
    """Whether any row waits for a worker."""
    return TargetResult.objects.filter(claimable(clock.now())).exists()


def has_awaiting_summary() -> bool:
    """Whether any row waits for a summary worker."""
    return TargetResult.objects.filter(awaiting_summary(clock.now())).exists()


def _in_flight(now: datetime) -> tuple[Counter[int], Counter[int | None]]:
    """How many rows are under way, by job and by the jobs' owner. Jobs of nobody count as one owner's.

    Counted from the rows that are held, which are few: to count those of each open job would be to read all its rows.
    """
    of_jobs, of_owners = Counter[int](), Counter[int | None]()
    held = TargetResult.objects.filter(state=TargetState.LEASED, lease_until__gte=now)
    for job, owner, n in held.order_by().values_list("job", "job__owner").annotate(n=Count("pk")):
        of_jobs[job] += n
        of_owners[owner] += n
    return of_jobs, of_owners


def _number(field: str, numbers: Mapping[Any, int]) -> Iterator[Case]:
    """The number that belongs to the value of the field, or 0; nothing where all are 0, for SQL reads a mere number in an
    ORDER BY as that of a column."""
    if numbers:
        whens = (When(Q((field, value)), then=Value(n)) for value, n in numbers.items())
        yield Case(*whens, default=Value(0), output_field=IntegerField())


def _unlocked(rows: QuerySet[TargetResult]) -> QuerySet[TargetResult]:
    """Skip what another worker is claiming right now; on SQLite the IMMEDIATE transaction has kept it out already."""
    if transaction.get_connection().features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows


def _pick(rows: QuerySet[TargetResult], *, ports: int, most: int) -> list[TargetResult]:
    """As many rows as fit the budget, all with as many attempts as the first.

    Most are fresh, and found without reading and sorting all that wait. SQLite has those of one job and state in the order
    of their keys; Postgres, asked for that order, might read the table from its beginning.
    """
    most = max(1, min(most, CLAIM_PROBES // ports))
    as_stored = "pk" if connection.vendor == "sqlite" else "ordinal"
    if fresh := list(rows.filter(state=TargetState.PENDING, lease_until=None, attempts=0).order_by(as_stored)[:most]):
        return fresh
    candidates = list(rows.order_by("attempts", "ordinal")[:most])
    if not candidates:
        return []
    attempts = candidates[0].attempts
    return [row for row in candidates if row.attempts == attempts][: ROWS_BY_ATTEMPTS.get(attempts, 1)]


def _take(rows: list[TargetResult], lease: UUID, *, now: datetime) -> None:
    TargetResult.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=TargetState.LEASED, lease=lease, lease_until=now + LEASE, attempts=F("attempts") + 1
    )


def _item(key: int, row: TargetResult) -> Item:
    partial = row.partial or {"addresses": {}, "notes": []}
    return Item(
        key=key,
        target=target_from_spec(row.spec),
        ports=expand(row.job.ports),
        group=row.job_id,
        known={ip_address(address): unpack_probes(probes) for address, probes in partial["addresses"].items()},
        notes=tuple(partial["notes"]),
    )
