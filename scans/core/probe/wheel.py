"""Timers for tens of thousands of probes a second: a dictionary of short ticks, no heap and no cancelling.

An item whose time no longer matters is left where it is; whoever takes the due items looks whether each still is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

TICKS_PER_SECOND = 200

T = TypeVar("T")


class TimerWheel(Generic[T]):
    """Items that come due, up to one tick late and never early."""

    def __init__(self, *, now: float) -> None:
        self._buckets: dict[int, list[T]] = {}
        self._done = int(now * TICKS_PER_SECOND)  # the last tick whose items were handed out
        self._tick, self._bucket = self._done, list[T]()  # the last that something was added to; at first none is

    def add(self, item: T, *, at: float) -> None:
        """Hand the item out once that time has passed. It may be in the wheel several times."""
        tick = int(at * TICKS_PER_SECOND) + 1
        if tick != self._tick or tick <= self._done:  # thousands in a row have the same tick
            self._tick = max(tick, self._done + 1)
            self._bucket = self._buckets.setdefault(self._tick, [])
        self._bucket.append(item)

    def due(self, *, now: float) -> list[T]:
        """Take out everything whose time has passed, the earliest first."""
        last = int(now * TICKS_PER_SECOND)
        ticks: Iterable[int] = range(self._done + 1, last + 1)
        if last - self._done > len(self._buckets):  # after a long pause most ticks are empty
            ticks = sorted(tick for tick in self._buckets if tick <= last)
        self._done = max(self._done, last)
        return [item for tick in ticks for item in self._buckets.pop(tick, ())]

    def next_at(self) -> float | None:
        """When `due` is next worth asking; None while the wheel is empty."""
        return min(self._buckets) / TICKS_PER_SECOND if self._buckets else None
