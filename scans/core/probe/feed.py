"""Plans that are pulled from an iterator, a few ahead of the probes: a list of ten million pairs is never held.

A few hosts always have something to send; the next is pulled once they are fewer. What never is pulled is never probed, and
never reported. The order of the plans is the order in which hosts begin, whether they are paced or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from scans.core.probe.plans import HostPlan

READY_HOSTS = 128  # with something to send: so many that a small host does not wait for the giants before it
MOST_PORTS = 1 << 20  # of hosts under way, finished ports included: their results are held, some 150 bytes each
ASK_AGAIN_SECONDS = 0.2  # after "nothing now"


class Feed:
    """One iterator of plans. A None among them means "nothing now"."""

    def __init__(self, plans: Iterable[HostPlan | None]) -> None:
        self.has_ended = False
        self._plans = iter(plans)
        self._asks_at = -math.inf

    def may_ask(self, *, now: float) -> bool:
        """Whether there may be a plan: not after the end, and not so soon after "nothing now"."""
        return not self.has_ended and now >= self._asks_at

    def take(self, *, now: float) -> HostPlan | None:
        """The next plan. None: there is none now, or none at all any more."""
        try:
            plan = next(self._plans)
        except StopIteration:
            self.has_ended = True
            return None
        if plan is None:
            self._asks_at = now + ASK_AGAIN_SECONDS
        return plan
