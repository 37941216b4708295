"""Who draws the grants of a slice from the rates that all workers share (lines.py), and how large they are.

    probe thread ── spends ──► PolitePace ─┬─ GrantedRate ◄──── RateDrawer ────┐ ◄─ serve(), in the one thread of the slice
                                           └─ GrantedNetworks ◄─ NetworkDrawer ┘    that may wait for the database

A worker draws only if its probes ask for more: from the rate ahead, while half of its last grant is left; from networks for
many at once. Nobody has to know how many workers there are: the length of the line tells. Is it long, everybody asks for
less; is it short, everybody for a little more; which makes the shares equal in the end (additive increase, multiplicative
decrease: Chiu and Jain, 1989). A worker that is killed loses its grants, and a slow database makes the probes wait: none is
sent without a grant of the rate, and only the first few to a network without one of the network's (docs/decisions/0007).
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time

from django.db import DatabaseError, connection

from scans.core.probe.grants import Grant, GrantedRate
from scans.core.probe.network_grants import GrantedNetworks
from scans.core.probe.pacing import TokenBucket
from scans.core.probe.politeness import NetworkKey, PolitePace, network_text
from scans.services import lines
from scans.services.lines import MOST_SECONDS

log = logging.getLogger(__name__)

FIRST_SECONDS = 0.1  # the grants: as many connections as the whole rate makes in so long
LEAST_SECONDS = 0.002
MORE_SECONDS = 1 / 60  # added after a short line
LESS = 0.7  # what is left after a long one
LONG_LINE_SECONDS = 0.4
AWAY_SECONDS = 1.0  # until the next attempt after a failure of the database
TRY_AGAIN_SECONDS = (0.05, 0.15)  # at random, after a refusal: the refused must not come back in step

FIRST_NETWORK_SECONDS = 0.2
TOGETHER_SECONDS = 0.2  # between two draws for networks: those that want one meanwhile share the next
MOST_NETWORKS = 200  # in one draw; the others have theirs in the next


class ProbeGrants:
    """The grants of one slice. The thread that calls `serve` is the only one that touches the database. 0: no limit."""

    def __init__(self, *, per_second: float, network_per_second: float) -> None:
        self._bell = threading.Event()
        rate = RateDrawer(self._bell, per_second=per_second) if per_second else None
        networks = NetworkDrawer(self._bell, per_second=network_per_second) if network_per_second else None
        self._drawers = [drawer for drawer in (rate, networks) if drawer]
        free = TokenBucket(per_second=0)
        pace = PolitePace(rate.grants if rate else free, networks.grants if networks else None)
        self.pace = pace if self._drawers else None  # None: no limit, nothing to draw

    def serve(self, ended: threading.Event, seconds: float) -> bool:
        """Draw whatever the probes want for so long. Returns early, and True, when `ended` is set and `wake` called."""
        until = time.monotonic() + seconds
        while True:
            self._bell.clear()  # first: whatever rings from here on is heard below
            if ended.is_set():
                return True
            now = time.monotonic()
            if now >= until:
                break
            due_at = min((drawer.due_at() for drawer in self._drawers), default=until)
            if due_at > now:
                self._bell.wait(min(due_at, until) - now)
            else:
                self._draw(now)
        for drawer in self._drawers:
            drawer.tidy()
        return ended.is_set()

    def wake(self) -> None:
        """Have `serve` look at its event at once. For another thread."""
        self._bell.set()

    def end(self) -> None:
        """Give back what was not spent."""
        for drawer in self._drawers:
            drawer.end()

    def _draw(self, now: float) -> None:
        for drawer in self._drawers:
            if drawer.due_at() > now:
                continue
            try:
                drawer.draw()
            except DatabaseError as error:  # it may be back in a moment, and until then the probes wait
                log.warning("no grant for the probes could be drawn: %s", error)
                connection.close_if_unusable_or_obsolete()
                drawer.not_before = time.monotonic() + AWAY_SECONDS


class RateDrawer:
    """Draws from the rate of all probes."""

    def __init__(self, bell: threading.Event, *, per_second: float) -> None:
        self.grants = GrantedRate(bell)
        self.not_before = 0.0
        self._per_second = per_second
        self._share = Share(first_seconds=FIRST_SECONDS)

    def due_at(self) -> float:
        """When to draw; infinity if nothing is wanted."""
        return self.not_before if self.grants.is_wanted else math.inf

    def draw(self) -> None:
        """Draw once."""
        seconds = self._share.seconds
        count = max(1, int(self._per_second * seconds))
        wait = lines.draw(count, per_second=self._per_second)
        now = time.monotonic()
        if wait is None:
            self.not_before = now + _a_moment()
        else:
            self.grants.put(Grant(count=count, starts_at=now + wait, per_second=self._per_second), enough=count // 2)
        # Half of the last grant is in the line already; with the other half everybody sees the same line, large or small.
        self._share.adapt(None if wait is None else wait + seconds / 2)

    def tidy(self) -> None:
        """Give back what has lapsed."""
        self._hand_back(self.grants.withdraw(now=time.monotonic()))

    def end(self) -> None:
        """Give back everything."""
        self._hand_back(self.grants.withdraw())

    def _hand_back(self, unused: int) -> None:
        if unused:
            lines.hand_back(unused, per_second=self._per_second)


class NetworkDrawer:
    """Draws from the rates of networks: for all at once that want a grant, and no more often than TOGETHER_SECONDS."""

    def __init__(self, bell: threading.Event, *, per_second: float) -> None:
        self.grants = GrantedNetworks(bell, per_second=per_second)
        self.not_before = 0.0
        self._per_second = per_second
        self._shares: dict[NetworkKey, Share] = {}
        self._refused: dict[NetworkKey, float] = {}  # until when not to try again

    def due_at(self) -> float:
        """When to draw; infinity if nothing is wanted."""
        wanting = self.grants.wanting()
        return max(self.not_before, min(self._refused.get(network, 0.0) for network in wanting)) if wanting else math.inf

    def draw(self) -> None:
        """Draw once for each network that wants a grant now."""
        now = time.monotonic()
        self.not_before = now + TOGETHER_SECONDS
        wanting = [one for one in self.grants.wanting().items() if self._refused.get(one[0], 0.0) <= now]
        counts = {network: self._count(network, asked) for network, asked in wanting[:MOST_NETWORKS]}
        unpaid = {network: self.grants.unpaid(network) / self._per_second for network in counts}
        seconds = {network_text(network): count / self._per_second + unpaid[network] for network, count in counts.items()}
        waits = lines.draw_networks(seconds)
        now = time.monotonic()
        for network, count in counts.items():
            wait = waits[network_text(network)]
            if wait is None:
                self._refused[network] = now + _a_moment()
            else:
                starts_at = now + wait + unpaid[network]
                self.grants.put(network, Grant(count=count, starts_at=starts_at, per_second=self._per_second))
            self._shares[network].adapt(None if wait is None else wait + count / self._per_second / 2)

    def tidy(self) -> None:
        """Nothing lapses."""

    def end(self) -> None:
        """Give back everything."""
        if unused := self.grants.withdraw():
            lines.hand_back_networks({network_text(n): count / self._per_second for n, count in unused.items()})

    def _count(self, network: NetworkKey, asked: int) -> int:
        share = self._shares.setdefault(network, Share(first_seconds=FIRST_NETWORK_SECONDS))
        wanted = max(asked, self.grants.free)  # where one host wants a few, others of its network soon will
        return max(1, min(wanted, int(self._per_second * share.seconds)))


class Share:
    """How much to ask for: the seconds of a line that one grant may take up."""

    def __init__(self, *, first_seconds: float) -> None:
        self.seconds = first_seconds

    def adapt(self, line_seconds: float | None) -> None:
        """Learn how long the line is with us in it; None: too long to join."""
        is_long = line_seconds is None or line_seconds > LONG_LINE_SECONDS
        seconds = self.seconds * LESS if is_long else self.seconds + MORE_SECONDS
        self.seconds = min(MOST_SECONDS, max(LEAST_SECONDS, seconds))


def _a_moment() -> float:
    return random.uniform(*TRY_AGAIN_SECONDS)  # noqa: S311 - no secret
