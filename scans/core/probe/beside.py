"""Those who make connections beside the probes, and have their part of the same rate: the conversations with open ports.

    probes ───── take() ────────► PolitePace ──► half of it is kept for those who wait beside them
    conversation ─ take_beside() ─►     └──► what was kept; or what there is, while the probes are not short of it

Who is short comes for each token as soon as there is one, and the quicker would have them all. So while probes are short,
and for a moment after, those beside them take only what was kept: half for each, whoever is quicker, and all for one alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

GIVE_WAY_SECONDS = 0.1  # after probes were short; by then they have asked again, if they are still at it
ASK_AGAIN_SECONDS = 0.01  # for those who wait


class KeptPart:
    """Of one rate, the part that is kept for those who wait beside the probes."""

    def __init__(self, put_back: Callable[[int], None]) -> None:
        self.waiting = 0
        self._put_back = put_back
        self._kept = 0
        self._half = 0  # a token that could not be halved: the next makes a whole one
        self._give_way_until = -math.inf

    def keep(self, taken: int, *, wanted: int, now: float) -> int:
        """How much is kept of what was just taken for probes that wanted so many."""
        self._give_way_until = now + GIVE_WAY_SECONDS if taken < wanted else -math.inf
        if self.waiting <= self._kept:
            return 0
        kept, self._half = divmod(taken + self._half, 2)
        kept = min(kept, self.waiting - self._kept)
        self._kept += kept
        return kept

    def one(self, take_one: Callable[[], int], *, now: float) -> bool:
        """Whether there is one for somebody beside the probes; it is taken."""
        if self._kept:
            self._kept -= 1
            return True
        return now >= self._give_way_until and take_one() == 1

    def leave(self) -> None:
        """One less waits."""
        self.waiting -= 1
        if self._kept > self.waiting:
            self._put_back(self._kept - self.waiting)
            self._kept = self.waiting
