"""What the core needs from outside, as Protocols, each with a version in memory.

The worker passes versions that live in the database (`scans/adapters.py`); the bare scanner uses these.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Protocol

from scans.core import budgets
from scans.core.budgets import Bucket, Health, Limit, Quota, Refusal
from scans.core.options import Options
from scans.core.types import IPAddress, SourceResult, SourceState, Told

STALE_SECONDS = 7 * 24 * 3600  # how long after its time an answer may still stand in for one that did not come

Answered = Mapping[tuple[str, IPAddress], SourceResult]  # by source and address


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An answer for the cache."""

    address: IPAddress
    result: SourceResult
    lifetime_seconds: int


class Cache(Protocol):
    """Answers of sources, kept until they expire."""

    def get_many(self, sources: Sequence[str], addresses: Iterable[IPAddress]) -> Answered:
        """The unexpired answers, each marked as cached, and those over by STALE_SECONDS at most, with the state `stale`."""

    def put_many(self, kept: Sequence[Kept]) -> None:
        """Keep answers, each for its own time."""


class Budget(Protocol):
    """The limits and the health of every source, shared by everyone who asks it."""

    def draw(self, source: str, limits: Sequence[Limit]) -> Refusal | None:
        """Take one request's worth. None when granted, otherwise for how long not, and why."""

    def observe(self, source: str, limits: Sequence[Limit], results: Sequence[SourceResult], quota: Quota | None) -> None:
        """What became of one request, and what the source itself said is left of its quota."""


class Pace(Protocol):
    """How fast new connections to global addresses may be made: in all, and to each network of them (a /24 or a /48).

    Each attempt counts, because the network sees each. Two threads share it: that of the probes, and that of conversations
    with open ports, which stand beside the probes. While both are short, each has half.
    """

    def take(self, wanted: int, address: IPAddress, *, ahead: int, now: float) -> int:
        """As many as may be made there now, up to the wanted. `ahead`: how many will still be wanted, these included."""

    def put_back(self, unused: int, address: IPAddress) -> None:
        """Return what was taken for connections that were never begun."""

    def wait_seconds(self, *, now: float) -> float:
        """How long until one may be made in all; 0.0 if one may."""

    def rest_seconds(self, wanted: int, address: IPAddress, *, now: float) -> float:
        """How long to leave an address alone that got nothing; 0.0 if it is not its network that has none left."""

    def take_beside(self, who: Hashable, address: IPAddress, *, now: float) -> float:
        """Take one connection for somebody beside the probes. Returns 0.0 when granted, otherwise the seconds until it is
        worth asking again; until then, or until `leave`, part of what the probes take is kept for them."""

    def leave(self, who: Hashable) -> None:
        """They do not wait any more."""


class MemoryCache:
    """A cache that lives as long as the process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, IPAddress], tuple[datetime, SourceResult]] = {}

    def get_many(self, sources: Sequence[str], addresses: Iterable[IPAddress]) -> Answered:
        """See Cache."""
        now = datetime.now(UTC)
        keys = [(source, address) for address in addresses for source in sources]
        found = [(key, *self._kept[key]) for key in keys if key in self._kept]
        return {
            key: (as_cached if expires > now else as_stale)(result)
            for key, expires, result in found
            if expires + timedelta(seconds=STALE_SECONDS) > now
        }

    def put_many(self, kept: Sequence[Kept]) -> None:
        """See Cache."""
        now = datetime.now(UTC)
        for one in kept:
            self._kept[one.result.source, one.address] = (now + timedelta(seconds=one.lifetime_seconds), one.result)


class MemoryBudget:
    """Limits and health that live as long as the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, Mapping[Limit, Bucket]] = {}
        self._health: dict[str, Health] = {}

    def draw(self, source: str, limits: Sequence[Limit]) -> Refusal | None:
        """See Budget."""
        with self._lock:
            now = time.time()
            if refusal := self._health.get(source, Health()).refusal(now=now):
                return refusal
            kept = self._buckets.get(source, {})
            buckets = {limit: kept.get(limit) or Bucket.full(limit, now=now) for limit in limits}
            self._buckets[source], refusal = budgets.draw(buckets, now=now)
            return refusal

    def observe(self, source: str, limits: Sequence[Limit], results: Sequence[SourceResult], quota: Quota | None) -> None:
        """See Budget."""
        with self._lock:
            states = [result.state for result in results]
            self._health[source] = budgets.after(self._health.get(source, Health()), states, quota, now=time.time())
            if quota and source in self._buckets:
                self._buckets[source] = budgets.believed(self._buckets[source], quota)


def as_cached(result: SourceResult) -> SourceResult:
    """The same answer, marked as one that was kept."""
    return replace(result, is_cached=True, elapsed_ms=None, contacted=())


def as_stale(result: SourceResult) -> SourceResult:
    """The same answer, marked as one whose time is over."""
    return replace(as_cached(result), state=SourceState.STALE)


class Pulse:
    """Moves with every turn of the pipeline; a watchdog reads it from another thread."""

    def __init__(self) -> None:
        self.turns = 0


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything a scan needs beside its items."""

    options: Options
    cache: Cache = field(default_factory=MemoryCache)
    budget: Budget = field(default_factory=MemoryBudget)
    pace: Pace | None = None  # shared with other processes; None: the rate of the options, for this one alone
    stop: threading.Event = field(default_factory=threading.Event)  # set: launch nothing more, hand back what is unfinished
    drops: SimpleQueue[Hashable] = field(default_factory=SimpleQueue)  # keys of items that nobody wants any more
    told_in_vain: SimpleQueue[tuple[Hashable, tuple[Told, ...]]] = field(default_factory=SimpleQueue)  # of items dropped
    pulse: Pulse = field(default_factory=Pulse)
