"""Whose turn it is to send.

Four queues take turns: hosts that have not begun and hosts under way, each paced and not paced. So a new host waits behind
few bursts however much the others have left, and a rate that is used up does not hold up those to which it does not apply.
Those under way have more turns, so that they get done instead of all being half done: many want to ask only one port again,
and what that teaches should come in time.
"""

from __future__ import annotations

from collections import deque

from scans.core.probe.host import Host

TURNS_UNDER_WAY = 4  # for one of a new host


class Rotation:
    """Hosts that have something to send and room for it in their window."""

    def __init__(self) -> None:
        self._paced: tuple[deque[Host], deque[Host]] = (deque(), deque())
        self._free: tuple[deque[Host], deque[Host]] = (deque(), deque())
        begun = (self._free[1], self._paced[1]) * TURNS_UNDER_WAY
        self._order = deque((self._free[0], self._paced[0], *begun))

    def add(self, host: Host) -> None:
        """Let the host have a turn, behind those already waiting. Adding it again changes nothing."""
        if not host.is_queued:
            host.is_queued = True
            (self._paced if host.is_paced else self._free)[host.has_begun].append(host)

    def take(self, *, may_pace: bool) -> Host | None:
        """The next host, which then is out of the rotation; paced ones only if there are tokens for them."""
        for _ in range(len(self._order)):
            queue = self._order[0]
            self._order.rotate(-1)
            if queue and (may_pace or not queue[0].is_paced):
                host = queue.popleft()
                host.is_queued = False
                return host
        return None

    def __len__(self) -> int:
        return sum(map(len, (*self._paced, *self._free)))

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not any(self._order)

    @property
    def has_free(self) -> bool:
        """Whether a host waits that is not paced."""
        return any(self._free)

    @property
    def has_paced(self) -> bool:
        """Whether a host waits for its turn and for tokens."""
        return any(self._paced)
