"""A rate of new connections, as a token bucket."""

from __future__ import annotations

import math

BURST_SECONDS = 0.1  # how much of the rate may be spent at once


class TokenBucket:
    """Tokens for connections: a Rate that nobody else shares."""

    def __init__(self, *, per_second: float) -> None:
        self._per_second = per_second or math.inf
        self._most = max(1.0, per_second * BURST_SECONDS) if per_second else math.inf
        self._tokens = self._most
        self._counted_at = -math.inf

    def take(self, wanted: int, *, now: float) -> int:
        """As many as there are, up to the wanted."""
        self._refill(now)
        granted = int(min(wanted, self._tokens))
        self._tokens -= granted
        return granted

    def put_back(self, unused: int) -> None:
        """Return tokens whose connection was never begun."""
        self._tokens = min(self._most, self._tokens + unused)

    def wait_seconds(self, *, now: float) -> float:
        """How long until there is one; 0.0 if there is."""
        self._refill(now)
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._per_second

    def is_full(self, *, now: float) -> bool:
        """Whether nobody took any for so long that it is as good as new."""
        self._refill(now)
        return self._tokens >= self._most

    def _refill(self, now: float) -> None:
        now = max(now, self._counted_at)  # of two threads one may have looked at the clock before the other
        if self._tokens < self._most:  # infinity times no time would be no number
            self._tokens = min(self._most, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
