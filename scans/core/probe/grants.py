"""A rate that many processes share: grants are drawn by one thread and spent by the probe thread.

    probe thread ── take() ──► GrantedRate ◄── put() ── the thread that may wait for the budget
                     └─ too few left: `is_wanted`, and the bell rings, for the other thread to hear

A grant is a stretch of the rate's one time line: so many connections, the first at `starts_at`, the others after it at the
rate. Stretches of different processes follow one another, so all together keep to the rate however many they are. The
probe thread never waits here: without a grant it is told to come again.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

ASK_AGAIN_SECONDS = 0.01  # while a grant is being drawn
LAPSE_SECONDS = 1.0  # past its end, what is left of a grant may not be spent any more: hoards would become bursts


@dataclass(kw_only=True, slots=True, eq=False)
class Grant:
    """One stretch, and how much of it is spent."""

    count: int
    starts_at: float  # monotonic
    per_second: float
    spent: int = 0

    @property
    def left(self) -> int:
        """Connections not made yet."""
        return self.count - self.spent

    def due(self, now: float) -> int:
        """Connections not made yet whose time has come."""
        if now < self.starts_at:
            return 0
        return min(self.count, int((now - self.starts_at) * self.per_second) + 1) - self.spent

    @property
    def next_at(self) -> float:
        """When the first connection that is not made yet may be."""
        return self.starts_at + self.spent / self.per_second

    def has_lapsed(self, now: float) -> bool:
        """Whether its time is long past."""
        return now > self.starts_at + self.count / self.per_second + LAPSE_SECONDS


class GrantedRate:
    """The grants of this process, as a Rate. `is_wanted` while more of them are needed, which also rings the bell."""

    def __init__(self, bell: threading.Event) -> None:
        self.is_wanted = False
        self._bell = bell
        self._lock = threading.Lock()
        self._grants: deque[Grant] = deque()
        self._enough = 0  # with so many left no more are wanted
        self._returned = 0  # taken, and then not used
        self._is_dry = False  # the last to ask got less than it wanted

    def put(self, grant: Grant, *, enough: int) -> None:
        """Add a grant. More are wanted once `enough` or fewer connections are left."""
        with self._lock:
            self._grants.append(grant)
            self._enough = enough
            if self._left() > enough:
                self.is_wanted = False

    def take(self, wanted: int, *, now: float) -> int:
        """As many connections as are due, up to the wanted."""
        with self._lock:
            taken = min(wanted, self._returned)
            self._returned -= taken
            for grant in self._grants:
                step = min(wanted - taken, grant.due(now))
                grant.spent += step
                taken += step
            while self._grants and not self._grants[0].left:
                self._grants.popleft()
            if wanted:
                self._is_dry = taken < wanted
                if self._left() <= self._enough and not self.is_wanted:
                    self.is_wanted = True
                    self._bell.set()
            return taken

    def put_back(self, unused: int) -> None:
        """Return what was taken for connections that were never begun."""
        with self._lock:
            self._returned += unused

    def wait_seconds(self, *, now: float) -> float:
        """How long until one is due; 0.0 also if nobody has asked in vain, because only asking says that any are needed."""
        with self._lock:
            if self._returned or not self._is_dry:
                return 0.0
            following = [0.0 if grant.due(now) > 0 else grant.next_at - now for grant in self._grants]
            return max(0.0, min(following)) if following else ASK_AGAIN_SECONDS

    def withdraw(self, *, now: float | None = None) -> int:
        """Take away what has lapsed by now, or everything. Returns how many connections that was."""
        with self._lock:
            gone = [grant for grant in self._grants if now is None or grant.has_lapsed(now)]
            unused = sum(grant.left for grant in gone)
            if now is None:
                unused, self._returned = unused + self._returned, 0
            if gone:
                self._grants = deque(grant for grant in self._grants if grant not in gone)
                self._is_dry = False  # nobody came for it: whoever needs one will ask
                self.is_wanted = False
            return unused

    def _left(self) -> int:
        return sum(grant.left for grant in self._grants)
