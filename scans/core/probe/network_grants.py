"""The rate of each network that many processes share: as in grants.py, with what is different where there are many of them.

- The first few connections to a network need no grant: most targets are alone in theirs, and then nobody has to be asked.
  They are paid for together with the first grant.
- A grant is as large as what the host that asks will still want, and those of its network that rest, where that is less than
  a stretch of the rate. The next is drawn while half of it is left, if they want more than that.
- It does not lapse while its process is at work: the other rate may leave the network no turn for long. It is small.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from scans.core.probe.grants import ASK_AGAIN_SECONDS, Grant
from scans.core.probe.politeness import NetworkKey, Turns

FREE_SECONDS = 0.05  # connections without a grant: as many as the network's whole rate makes in so long


@dataclass(kw_only=True, slots=True, eq=False)
class _Network:
    """What one network may have from this process."""

    turns: Turns
    ready: int  # may be made at once
    grants: deque[Grant] = field(default_factory=deque)
    has_paid: bool = False  # for the first few
    asked: int = 0  # more than is left
    enough: int = 0  # with more left than that nothing is asked for

    @property
    def left(self) -> int:
        """Connections that may be made, now or soon."""
        return self.ready + sum(grant.left for grant in self.grants)


class GrantedNetworks:
    """The grants of this process, as Networks. The bell rings when a network wants one."""

    def __init__(self, bell: threading.Event, *, per_second: float) -> None:
        self.free = int(per_second * FREE_SECONDS)
        self._bell = bell
        self._per_second = per_second
        self._lock = threading.Lock()
        self._known: dict[NetworkKey, _Network] = {}
        self._wanting: set[NetworkKey] = set()

    def take(self, network: NetworkKey, wanted: int, *, ahead: int, now: float) -> int:
        """See Networks."""
        with self._lock:
            known = self._known.get(network)
            if known is None:
                known = self._known[network] = _Network(turns=Turns(per_second=self._per_second), ready=self.free)
            taken = min(wanted, known.ready)
            known.ready -= taken
            while known.grants and taken < wanted:
                step = min(wanted - taken, known.grants[0].due(now))
                known.grants[0].spent += step
                taken += step
                if known.grants[0].left:
                    break
                known.grants.popleft()
            wish = ahead - taken + known.turns.booked(now=now)
            if (left := known.left) <= known.enough and left < wish:
                known.asked = max(known.asked, wish - left)
                if network not in self._wanting:
                    self._wanting.add(network)
                    self._bell.set()
            return taken

    def put_back(self, network: NetworkKey, unused: int) -> None:
        """See Networks."""
        with self._lock:
            if network in self._known:  # else all of it was withdrawn
                self._known[network].ready += unused

    def rest_seconds(self, network: NetworkKey, wanted: int, *, now: float) -> float:
        """See Networks."""
        with self._lock:
            known = self._known[network]
            if known.ready or (known.grants and known.grants[0].due(now) > 0):
                return 0.0
            earliest = known.grants[0].next_at if known.grants else now + ASK_AGAIN_SECONDS
            return known.turns.book(wanted, earliest=earliest, now=now)

    def wanting(self) -> Mapping[NetworkKey, int]:
        """The networks that want a grant, and how large a one."""
        with self._lock:
            return {network: self._known[network].asked for network in self._wanting}

    def unpaid(self, network: NetworkKey) -> int:
        """How many connections beside its grant a network has to pay for."""
        return 0 if self._known[network].has_paid else self.free

    def put(self, network: NetworkKey, grant: Grant) -> None:
        """Add a grant, with which all is paid."""
        with self._lock:
            known = self._known[network]
            known.grants.append(grant)
            known.has_paid, known.asked, known.enough = True, 0, grant.count // 2
            self._wanting.discard(network)

    def withdraw(self) -> Mapping[NetworkKey, int]:
        """Take away everything. Returns how many connections were paid for and not made, by network."""
        with self._lock:
            known, self._known, self._wanting = self._known, {}, set()
        left = {key: one.left for key, one in known.items() if one.has_paid}
        return {network: count for network, count in left.items() if count}
