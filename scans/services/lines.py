"""Rates that all workers of all hosts share, each as one row of RateBucket: the probe rate, and one for each network.

The row's `tokens` is a point in time, in seconds since the epoch: until then everything is granted. To draw N connections is
to move it on by N / rate; the stretch that was added is the grant. So grants follow one another on one time line, whoever
came first is served first, and nobody can be served twice. Where the point lies in the past nothing is owed: it counts as
BURST_SECONDS ago, no earlier, and so the unused past is worth no more than that.

    now ──────► │ grant of A │ grant of B │ grant of A │ ◄─ the row

The probe rate is drawn by one conditional UPDATE, networks many at once: their rows are locked in one order, so that nobody
waits in a circle, and written in one UPDATE.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from django.db import connection, transaction
from django.db.models import Case, F, FloatField, Func, Q, QuerySet, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from scans.models import RateBucket, clock

NAME = "probes"
NETWORK_PREFIX = "network:"
BURST_SECONDS = 0.1  # of the rate, at once, after a pause
HORIZON_SECONDS = 1.0  # how long the line may be for one more to join it
CLOCK_SECONDS = 5.0  # a line longer than it could have become was written by a clock that was ahead
MOST_SECONDS = 1 / 3  # the longest grant: a worker alone draws three times a second, however high the rate
KEPT_SECONDS = 60.0  # the row of a network, after the last grant from it


def draw(count: int, *, per_second: float) -> float | None:
    """Draw so many connections. Returns the seconds until the first may be made, below zero for a burst; None: not now."""
    with transaction.atomic():
        wait = _drawn(count / per_second)
        if wait is None and not RateBucket.objects.filter(name=NAME).exists():
            _create([NAME])
            wait = _drawn(count / per_second)
    return wait


def hand_back(count: int, *, per_second: float) -> None:
    """Return connections that were drawn and not made: whoever draws next begins so much earlier."""
    RateBucket.objects.filter(name=NAME).update(tokens=F("tokens") - count / per_second)


def _drawn(seconds: float) -> float | None:
    """Lengthen the line, if it is short enough. The update locks the row, so what is read after it is our own."""
    now = _Now()
    row = RateBucket.objects.filter(name=NAME)
    is_impossible = Q(tokens__gt=now + Value(HORIZON_SECONDS + CLOCK_SECONDS + max(seconds, MOST_SECONDS)))
    begins = Case(When(is_impossible, then=now), default=Greatest(F("tokens"), now - Value(BURST_SECONDS)))
    may_join = Q(tokens__lt=now + Value(HORIZON_SECONDS)) | is_impossible
    if not row.filter(may_join).update(tokens=begins + Value(seconds), counted_at=timezone.now()):
        return None
    (left,) = row.values_list(F("tokens") - _Now(), flat=True)
    return float(left) - seconds


# --- Networks ------------------------------------------------------------------------------------------------------


def draw_networks(wanted: Mapping[str, float]) -> dict[str, float | None]:
    """Lengthen the lines of some networks (`192.0.2.0/24`), each by its seconds. Returns for each what `draw` returns."""
    seconds = {NETWORK_PREFIX + network: some for network, some in wanted.items()}
    waits = _drawn_locked(seconds)
    if missing := seconds.keys() - waits.keys():
        _create(missing)  # in a transaction of its own: one that holds locks waits for nobody's insert
        waits |= _drawn_locked({name: seconds[name] for name in missing})
    return {network: waits.get(NETWORK_PREFIX + network) for network in wanted}


def hand_back_networks(unused: Mapping[str, float]) -> None:
    """Return so many seconds of each network's line."""
    seconds = {NETWORK_PREFIX + network: some for network, some in unused.items()}
    with transaction.atomic():
        rows = list(_locked(seconds))
        for row in rows:
            row.tokens -= seconds[row.name]
        RateBucket.objects.bulk_update(rows, ["tokens"])


def forget_networks() -> int:
    """Drop the rows of networks that nobody has drawn on for long. Returns how many."""
    stale = RateBucket.objects.filter(name__startswith=NETWORK_PREFIX, tokens__lt=_Now() - Value(KEPT_SECONDS))
    if not stale.exists():  # a read, which locks nobody out
        return 0
    with transaction.atomic():
        rows = stale.select_for_update(skip_locked=True) if connection.features.has_select_for_update_skip_locked else stale
        return RateBucket.objects.filter(pk__in=list(rows.values_list("pk", flat=True))).delete()[0]


def _drawn_locked(seconds: Mapping[str, float]) -> dict[str, float | None]:
    """As _drawn, for those names that have a row."""
    waits: dict[str, float | None] = {}
    with transaction.atomic():
        rows = list(_locked(seconds))
        moment = clock.now()  # once the locks are held: whoever held them before was earlier
        now, moved = moment.timestamp(), []
        for row in rows:
            longest = HORIZON_SECONDS + CLOCK_SECONDS + max(seconds[row.name], MOST_SECONDS)
            begins = now if row.tokens > now + longest else max(row.tokens, now - BURST_SECONDS)
            waits[row.name] = begins - now if begins < now + HORIZON_SECONDS else None
            if waits[row.name] is not None:
                row.tokens, row.counted_at = begins + seconds[row.name], moment
                moved.append(row)
        RateBucket.objects.bulk_update(moved, ["tokens", "counted_at"])
    return waits


def _locked(names: Iterable[str]) -> QuerySet[RateBucket]:
    """In one order; SQLite's IMMEDIATE transactions lock by themselves."""
    return RateBucket.objects.select_for_update().filter(name__in=list(names)).order_by("name")


def _create(names: Iterable[str]) -> None:
    full = [RateBucket(name=name, tokens=0.0, counted_at=timezone.now()) for name in sorted(names)]
    RateBucket.objects.bulk_create(full, ignore_conflicts=True)


class _Now(Func):
    """The time in seconds, by the one clock that all who draw have in common: the database's, or this machine's."""

    function = "EXTRACT"
    template = "EXTRACT(EPOCH FROM clock_timestamp())::double precision"
    output_field = FloatField()

    def as_sqlite(self, *_args: object, **_kwargs: object) -> tuple[str, tuple[float]]:  # type: ignore[override] # the stubs know no float
        """Read when the statement is put together, which is when the lock of the transaction is held."""
        return "%s", (time.time(),)
