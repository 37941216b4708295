"""How many probes may be in flight, to one host or in all."""

from __future__ import annotations

SHORTAGE_SECONDS = 1.0  # how long a shortage is remembered


class Window:
    """Starts small and opens with what comes back, up to a limit; never closes because of silence or loss.

    A firewalled host would stall in a window that only answers open, and loss says nothing about how much a scanned host can
    take: at 4 % a window like TCP's would stay near 6. Only a shortage on this machine closes it.
    """

    __slots__ = ("_ceiling", "_most", "_short_until", "_size", "in_flight")

    def __init__(self, *, first: int, most: int) -> None:
        self.in_flight = 0
        self._size = first
        self._most = self._ceiling = most
        self._short_until = 0.0

    @property
    def room(self) -> int:
        """How many more may leave."""
        return self._size - self.in_flight

    @property
    def is_half_empty(self) -> bool:
        """Whether there is no need to be sparing."""
        return self._size > 2 * self.in_flight

    def grow(self) -> None:
        """One stays away: let one more leave."""
        if self._size < self._ceiling:
            self._size += 1

    def land(self, count: int, growth: int) -> None:
        """So many are not in flight any more, and as many more may leave as `growth` says."""
        self.in_flight -= count
        self._size = min(self._size + growth, self._ceiling)

    def shrink(self, *, now: float) -> None:
        """The machine has no room for more than are in flight: keep to that for a while."""
        self._size = self._ceiling = max(1, self.in_flight)
        self._short_until = now + SHORTAGE_SECONDS

    def recover(self, *, now: float) -> None:
        """Forget a shortage that is past."""
        if self._ceiling < self._most and now >= self._short_until:
            self._ceiling = self._most
