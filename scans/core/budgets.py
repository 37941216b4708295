"""What may be asked of a source, and when: the arithmetic of quotas and of the circuit breaker, on plain values.

Whoever keeps the values, in memory or in a database that all processes share, loads them, calls one of these functions
and stores what comes back. Times are seconds of one clock, whichever the keeper chooses.

    limits ── short (a minute at most) ─► a token bucket: no more than BURST at once, then evenly
           └─ long (an hour, a day) ────► a count in windows that begin at multiples of the limit's length
    health ── a quota that the source says is used up ─► not asked until it says so
           └─ failures in a row ─────────────────────► not asked for a while (circuit breaker)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scans.core.types import SourceState

BURST = 3.0  # requests that may follow one another at once: a bucket of a minute's worth would grant twice that in its first
SHORT_SECONDS = 60.0
UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 7 * 86400: "week"}
AHEAD_SECONDS = 5.0  # a count further ahead was written while the clock was wrong, and is forgotten
BREAKING_FAILURES = 5
BROKEN_SECONDS = 300.0
FIRST_PARK_SECONDS = 60.0  # after a 429 that names no end; each further one in a row doubles it
LONGEST_PARK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in so many seconds."""

    requests: float
    seconds: float

    @property
    def is_short(self) -> bool:
        """Whether it is kept by a bucket and not by a count."""
        return self.seconds <= SHORT_SECONDS

    @property
    def at_most(self) -> float:
        """How many requests can be left at any time."""
        return min(BURST, self.requests) if self.is_short else self.requests

    @property
    def words(self) -> str:
        """As people say it: 12 in a minute."""
        unit = f"a {UNITS[int(self.seconds)]}" if self.seconds in UNITS else f"{self.seconds:g} s"
        return f"{self.requests:,g} in {unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What a source said is left of its quota."""

    remaining: int
    resets_in_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A source may not be asked now."""

    seconds: float  # until it is worth asking again
    reason: str  # in words
    state: SourceState = SourceState.RATE_LIMITED


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """What is left under one limit: of a short one tokens, of a long one requests in the window that began at counted_at."""

    tokens: float
    counted_at: float

    @classmethod
    def full(cls, limit: Limit, *, now: float) -> Bucket:
        """One that nobody has drawn from."""
        return cls(tokens=limit.at_most, counted_at=now if limit.is_short else _window(limit, now))


def bucket_name(source: str, limit: Limit) -> str:
    """Under which a bucket is kept. A source may change its limits with a release: another limit's counts are of no use."""
    return f"{source}:{limit.requests:g}/{limit.seconds:g}s"


def draw(buckets: Mapping[Limit, Bucket], *, now: float) -> tuple[Mapping[Limit, Bucket], Refusal | None]:
    """Take one request's worth under every limit, or under none of them and say how long to wait."""
    now_left = {limit: grown(bucket, limit, now=now) for limit, bucket in buckets.items()}
    waits = [_wait(bucket, limit, now=now) for limit, bucket in now_left.items() if bucket.tokens < 1]
    if waits:
        seconds = max(waits)
        return now_left, Refusal(seconds=seconds, reason=f"its quota is used up for another {max(1, round(seconds))} s")
    return {limit: replace(bucket, tokens=bucket.tokens - 1) for limit, bucket in now_left.items()}, None


def believed(buckets: Mapping[Limit, Bucket], quota: Quota) -> Mapping[Limit, Bucket]:
    """Never believe to have more than the source says is left; what it says is of its shortest limit."""
    if not buckets:
        return buckets
    shortest = min(buckets, key=lambda limit: limit.seconds)
    tokens = min(buckets[shortest].tokens, float(quota.remaining))
    return {**buckets, shortest: replace(buckets[shortest], tokens=tokens)}


def grown(bucket: Bucket, limit: Limit, *, now: float) -> Bucket:
    """What is left by now. Never going back: time that is counted twice grows tokens twice."""
    if not limit.is_short:
        begins = _window(limit, now)
        is_past = bucket.counted_at < begins or bucket.counted_at > begins + limit.seconds
        return Bucket(tokens=limit.requests, counted_at=begins) if is_past else bucket
    counted_at = min(bucket.counted_at, now + AHEAD_SECONDS)
    now = max(now, counted_at)
    tokens = bucket.tokens + (now - counted_at) * limit.requests / limit.seconds
    return Bucket(tokens=min(limit.at_most, tokens), counted_at=now)


def _wait(bucket: Bucket, limit: Limit, *, now: float) -> float:
    if limit.is_short:
        return (1 - bucket.tokens) * limit.seconds / limit.requests
    return bucket.counted_at + limit.seconds - now


def _window(limit: Limit, now: float) -> float:
    return now - now % limit.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How a source is doing."""

    failures: int = 0  # in a row
    parks: int = 0  # refusals for its quota in a row
    blocked_until: float = 0.0
    why_blocked: str = ""

    def refusal(self, *, now: float) -> Refusal | None:
        """Why it is not asked now, if it is not."""
        seconds = self.blocked_until - now
        if seconds <= 0:
            return None
        state = SourceState.RATE_LIMITED if self.parks else SourceState.FAILED
        return Refusal(seconds=seconds, reason=f"{self.why_blocked} for another {max(1, round(seconds))} s", state=state)


ANSWERS = frozenset({SourceState.OK, SourceState.EMPTY, SourceState.NOT_APPLICABLE})


def after(health: Health, states: Sequence[SourceState], quota: Quota | None, *, now: float) -> Health:
    """The health of a source after one request, whose answers had these states."""
    is_used_up = quota is not None and quota.remaining <= 0
    if SourceState.RATE_LIMITED in states or is_used_up:
        parks = health.parks + 1
        doubled = min(LONGEST_PARK_SECONDS, FIRST_PARK_SECONDS * 2 ** min(parks - 1, 10))
        seconds = quota.resets_in_seconds if quota else doubled
        until = max(health.blocked_until, now + seconds)
        return Health(parks=parks, blocked_until=until, why_blocked="its quota is used up")
    if not states or not ANSWERS.isdisjoint(states):
        return Health()
    failures = health.failures + 1
    if failures < BREAKING_FAILURES:
        return replace(health, failures=failures, parks=0)
    why = f"it failed {failures} times in a row and is left alone"
    return Health(failures=failures, blocked_until=now + BROKEN_SECONDS, why_blocked=why)
