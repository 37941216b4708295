"""A network that is only a script: no sockets, no time but its own. A million probes take seconds, days of waiting none.

The script is a function of (address, port, now) and returns when the answer comes and which errno connect() has then: 0
for an open port, ECONNREFUSED for a closed one, None for silence. Each system call costs a little of the clock's time.
Where `denies` returns an errno, the machine itself does not even begin the connection.
"""

from __future__ import annotations

import errno
import heapq
import select
from collections import Counter
from collections.abc import Callable

from scans.core.options import ProbeOptions
from scans.core.probe import ProbeEngine
from scans.core.probe.network import Network

CONNECT_SECONDS, EVENT_SECONDS = 10e-6, 2e-6

Answer = tuple[float, int] | None  # seconds from now, errno
Script = Callable[[str, int, float], Answer]


class FakeNetwork:
    """The world as the engine sees it, and what the engine did to it."""

    def __init__(self, script: Script, *, most_sockets: int = 1 << 30) -> None:
        self.now = 1000.0
        self.script = script
        self.denies: Callable[[str], int] = lambda host: 0
        self.most_sockets = most_sockets
        self.sockets: dict[int, FakeSocket] = {}
        self.events: list[tuple[float, int, int]] = []  # when, descriptor, which of its connections
        self.sent: list[tuple[float, str, int]] = []
        self.in_flight = self.most_in_flight = 0
        self.of_host: Counter[str] = Counter()
        self.most_of_host: Counter[str] = Counter()
        self._next_fd = 10_000  # apart from the real ones

    @property
    def network(self) -> Network:
        return Network(clock=lambda: self.now, poller=lambda: self, new_socket=self._socket, forget_connection=self._forget)

    def engine(self, **options) -> ProbeEngine:
        return ProbeEngine(ProbeOptions(**options), may_connect=lambda address: True, network=self.network)

    def _socket(self, family: int) -> FakeSocket:
        if len(self.sockets) >= self.most_sockets:
            raise OSError(errno.EMFILE, "no descriptors")
        self._next_fd += 1
        made = self.sockets[self._next_fd] = FakeSocket(self, self._next_fd)
        return made

    def _forget(self, sock: FakeSocket) -> bool:
        sock.end()
        return True

    # -- A poller ----------------------------------------------------------------------------------------------------

    def register(self, fd: int, eventmask: int) -> None:
        pass

    def unregister(self, fd: int) -> None:
        pass

    def close(self) -> None:
        pass

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        assert timeout < 10, "it would sleep for ever"
        due = self._due(maxevents)
        if not due and timeout > 0:
            ends_at = self.now + timeout
            self.now = max(self.now, min(ends_at, self.events[0][0] if self.events else ends_at))
            due = self._due(maxevents)
        self.now += EVENT_SECONDS * (1 + len(due))
        return due

    def _due(self, most: int) -> list[tuple[int, int]]:
        due = []
        while self.events and self.events[0][0] <= self.now and len(due) < most:
            _, fd, generation = heapq.heappop(self.events)
            sock = self.sockets.get(fd)
            if sock is not None and sock.generation == generation and sock.target is not None:
                due.append((fd, select.EPOLLOUT))
        return due


class RateLimit:
    """How a host limits its answers: a bucket that holds a quarter of a second's."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens, self._at = per_second / 4, 1000.0  # when the world begins

    def takes_one(self, *, now: float) -> bool:
        """Whether one more is answered."""
        self._tokens = min(self._per_second / 4, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FakeSocket:
    """As much of a socket as the engine uses."""

    def __init__(self, world: FakeNetwork, fd: int) -> None:
        self.world, self.fd = world, fd
        self.generation = 0
        self.target: str | None = None
        self.answers_at, self.error = float("inf"), 0

    def fileno(self) -> int:
        return self.fd

    def connect_ex(self, address: tuple) -> int:
        world = self.world
        if self.target is None:
            if error := world.denies(address[0]):
                return error
            self._begin(*address[:2])
            return errno.EINPROGRESS
        if world.now < self.answers_at:
            return errno.EALREADY
        if self.error:
            self.end()
        return self.error

    def _begin(self, host: str, port: int) -> None:
        world = self.world
        world.now += CONNECT_SECONDS
        world.sent.append((world.now, host, port))
        world.in_flight += 1
        world.of_host[host] += 1
        world.most_in_flight = max(world.most_in_flight, world.in_flight)
        world.most_of_host[host] = max(world.most_of_host[host], world.of_host[host])
        self.target, self.generation = host, self.generation + 1
        answer = world.script(host, port, world.now)
        self.answers_at, self.error = (world.now + answer[0], answer[1]) if answer else (float("inf"), 0)
        if answer:
            heapq.heappush(world.events, (self.answers_at, self.fd, self.generation))

    def end(self) -> None:
        """There is no connection any more."""
        if self.target is not None:
            self.world.in_flight -= 1
            self.world.of_host[self.target] -= 1
            self.target = None

    def getsockopt(self, *_: int) -> bytes:
        return bytes(4)  # nothing came in that is held

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", self.fd

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.2", 0

    def setsockopt(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.end()
        self.world.sockets.pop(self.fd, None)
