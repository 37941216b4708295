"""The probe rate that all workers of all hosts share, as one row of RateBucket.

The row's `tokens` is a point in time, in seconds since the epoch: until then everything is granted. To draw N connections is
to move it on by N / rate, in one conditional UPDATE; the stretch that was added is the grant. So grants follow
one another on one time line, whoever came first is served first, and nobody can be served twice. Where the point lies in the
past nothing is owed: it counts as BURST_SECONDS ago, no earlier, and so the unused past is worth no more than that.

    now ──────► │ grant of A │ grant of B │ grant of A │ ◄─ the row

A worker draws ahead, while half of its last grant is left, and only if its probes ask for more. Nobody has to know how many
workers there are: the length of the line tells. Is it long, everybody asks for less; is it short, everybody for a little
more; which makes the shares equal in the end (additive increase, multiplicative decrease: Chiu and Jain, 1989).
A worker that is killed loses its grant, and a slow database makes the probes wait: none is sent without one.
"""

from __future__ import annotations

import logging
import random
import threading
import time

from django.db import DatabaseError, connection, transaction
from django.db.models import Case, F, FloatField, Func, Q, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from scans.core.probe.grants import Grant, GrantedPace
from scans.models import RateBucket

log = logging.getLogger(__name__)

NAME = "probes"
BURST_SECONDS = 0.1  # of the rate, at once, after a pause
HORIZON_SECONDS = 1.0  # how long the line may be for one more to join it
CLOCK_SECONDS = 5.0  # a line longer than it could have become was written by a clock that was ahead

FIRST_SECONDS = 0.1  # the grants: as many connections as the whole rate makes in so long
LEAST_SECONDS = 0.002
MOST_SECONDS = 1 / 3  # a worker alone draws three times a second, however high the rate
MORE_SECONDS = 1 / 60  # added after a short line
LESS = 0.7  # what is left after a long one
LONG_LINE_SECONDS = 0.4
AWAY_SECONDS = 1.0  # until the next attempt after a failure of the database
TRY_AGAIN_SECONDS = (0.05, 0.15)  # at random, after a refusal: the refused must not come back in step


class ProbeGrants:
    """The grants of one slice. The thread that calls `serve` is the only one that touches the database."""

    def __init__(self, *, per_second: float) -> None:
        self.pace = GrantedPace() if per_second else None  # None: no limit, nothing to draw
        self._per_second = per_second
        self._size_seconds = FIRST_SECONDS
        self._try_at = 0.0

    def serve(self, ended: threading.Event, seconds: float) -> bool:
        """Draw whatever the probes want for so long. Returns early, and True, when `ended` is set and `wake` called."""
        pace, until = self.pace, time.monotonic() + seconds
        if pace is None:
            return ended.wait(seconds)
        while not ended.is_set() and (now := time.monotonic()) < until:
            if now < self._try_at:
                ended.wait(min(self._try_at, until) - now)
            elif pace.wanted.wait(until - now) and not ended.is_set():
                self._draw(pace)
        if not ended.is_set():
            self._hand_back(pace.withdraw(now=time.monotonic()))
        return ended.is_set()

    def wake(self) -> None:
        """Have `serve` look at its event at once. For another thread."""
        if self.pace is not None:
            self.pace.wanted.set()

    def end(self) -> None:
        """Give back what was not spent."""
        if self.pace is not None:
            self._hand_back(self.pace.withdraw())

    def _draw(self, pace: GrantedPace) -> None:
        count = max(1, int(self._per_second * self._size_seconds))
        try:
            wait = draw(count, per_second=self._per_second)
        except DatabaseError as error:  # it may be back in a moment, and until then the probes wait
            log.warning("no grant for the probes could be drawn: %s", error)
            connection.close_if_unusable_or_obsolete()
            self._try_at = time.monotonic() + AWAY_SECONDS
            return
        now = time.monotonic()
        if wait is None:
            self._try_at = now + random.uniform(*TRY_AGAIN_SECONDS)  # noqa: S311 - no secret
        else:
            pace.put(Grant(count=count, starts_at=now + wait, per_second=self._per_second), enough=count // 2)
        # Half of the last grant is in the line already; with the other half everybody sees the same line, large or small.
        is_long = wait is None or wait + self._size_seconds / 2 > LONG_LINE_SECONDS
        size = self._size_seconds * LESS if is_long else self._size_seconds + MORE_SECONDS
        self._size_seconds = min(MOST_SECONDS, max(LEAST_SECONDS, size))

    def _hand_back(self, unused: int) -> None:
        if unused:
            hand_back(unused, per_second=self._per_second)


def draw(count: int, *, per_second: float) -> float | None:
    """Draw so many connections. Returns the seconds until the first may be made, below zero for a burst; None: not now."""
    with transaction.atomic():
        wait = _drawn(count / per_second)
        if wait is None and not RateBucket.objects.filter(name=NAME).exists():
            full = RateBucket(name=NAME, tokens=0.0, counted_at=timezone.now())
            RateBucket.objects.bulk_create([full], ignore_conflicts=True)
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


class _Now(Func):
    """The time in seconds, by the one clock that all who draw have in common: the database's, or this machine's."""

    function = "EXTRACT"
    template = "EXTRACT(EPOCH FROM clock_timestamp())::double precision"
    output_field = FloatField()

    def as_sqlite(self, *_args: object, **_kwargs: object) -> tuple[str, tuple[float]]:  # type: ignore[override] # the stubs know no float
        """Read when the statement is put together, which is when the lock of the transaction is held."""
        return "%s", (time.time(),)


__all__ = ["BURST_SECONDS", "NAME", "ProbeGrants", "draw", "hand_back"]
