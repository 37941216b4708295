"""What the core needs from outside, as Protocols, each with a version in memory.

The worker passes versions that live in the database (`scans/adapters.py`); the bare scanner uses these.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Protocol

from scans.core.options import Options
from scans.core.types import IPAddress, SourceResult

BURST = 3.0  # requests that may follow one another at once


class Cache(Protocol):
    """Answers of sources, kept until they expire."""

    def get_many(self, source: str, addresses: Iterable[IPAddress]) -> Mapping[IPAddress, SourceResult]:
        """The unexpired answers, each marked as cached."""

    def put_many(self, results: Mapping[IPAddress, SourceResult], *, lifetime_seconds: Mapping[IPAddress, int]) -> None:
        """Keep answers of one source, each for its own time."""


class Budget(Protocol):
    """One limiter per source, shared by everyone who asks it."""

    def draw(self, source: str, *, per_minute: float) -> float:
        """Take one request's worth. Returns 0.0 when granted, otherwise the seconds until it is worth asking again.

        Never more than BURST at once: a bucket as large as a minute's worth would grant twice that in its first minute.
        """

    def observe(self, source: str, *, remaining: int, resets_in_seconds: float) -> None:
        """What the source itself said is left of its quota."""


class Pace(Protocol):
    """How fast new connections to global addresses may be made: in all, and to each network of them (a /24 or a /48).

    Each attempt counts, because the network sees each.
    """

    def take(self, wanted: int, address: IPAddress, *, ahead: int, now: float) -> int:
        """As many as may be made there now, up to the wanted. `ahead`: how many will still be wanted, these included."""

    def put_back(self, unused: int, address: IPAddress) -> None:
        """Return what was taken for connections that were never begun."""

    def wait_seconds(self, *, now: float) -> float:
        """How long until one may be made in all; 0.0 if one may."""

    def rest_seconds(self, wanted: int, address: IPAddress, *, now: float) -> float:
        """How long to leave an address alone that got nothing; 0.0 if it is not its network that has none left."""


class MemoryCache:
    """A cache that lives as long as the process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, IPAddress], tuple[datetime, SourceResult]] = {}

    def get_many(self, source: str, addresses: Iterable[IPAddress]) -> Mapping[IPAddress, SourceResult]:
        """See Cache."""
        now = datetime.now(UTC)
        found = {a: self._kept[source, a] for a in addresses if (source, a) in self._kept}
        return {a: as_cached(result) for a, (expires, result) in found.items() if expires > now}

    def put_many(self, results: Mapping[IPAddress, SourceResult], *, lifetime_seconds: Mapping[IPAddress, int]) -> None:
        """See Cache."""
        now = datetime.now(UTC)
        for address, result in results.items():
            expires = now + timedelta(seconds=lifetime_seconds[address])
            self._kept[result.source, address] = (expires, result)


class MemoryBudget:
    """A token bucket per source that lives as long as the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[float, float]] = {}  # source: tokens, monotonic time of the count
        self._blocked_until: dict[str, float] = {}

    def draw(self, source: str, *, per_minute: float) -> float:
        """See Budget."""
        with self._lock:
            now = time.monotonic()
            if (wait := self._blocked_until.get(source, 0.0) - now) > 0:
                return wait
            tokens, counted_at = self._tokens.get(source, (BURST, now))
            tokens = min(BURST, tokens + (now - counted_at) * per_minute / 60)
            granted = tokens >= 1
            self._tokens[source] = (tokens - granted, now)
            return 0.0 if granted else (1 - tokens) * 60 / per_minute

    def observe(self, source: str, *, remaining: int, resets_in_seconds: float) -> None:
        """See Budget."""
        if remaining <= 0:
            with self._lock:
                self._blocked_until[source] = time.monotonic() + resets_in_seconds


def as_cached(result: SourceResult) -> SourceResult:
    """The same answer, marked as one that was kept."""
    return replace(result, is_cached=True)


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
    pulse: Pulse = field(default_factory=Pulse)
