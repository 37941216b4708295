"""The fingerprint lane of one scan: one thread, one selector, many conversations at a time.

    ask(host, its open connections) ─► [hosts in turn] ─► Call… ─► all of a host's services ─► emit()

A host's services come out together, at the latest `host_seconds` after they came in, whatever they are up to: what has not
finished then is recorded as that. Hosts take turns, so that one with many open ports does not keep the others waiting.
New connections to paced addresses are made at the pace of the probes; the one that a probe left open costs nothing.
The thread touches nothing but its sockets; `ask`, `drop` and `close` may be called from any other.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from scans.core.fingerprint.call import LATE, Call, Ground
from scans.core.fingerprint.conversation import Question
from scans.core.fingerprint.identify import identify
from scans.core.fingerprint.usual import by_promise
from scans.core.options import FingerprintOptions
from scans.core.tools import Pace
from scans.core.types import IPAddress, Probe, Service, ServiceState

MAX_SERVICES = 32  # of one address; who has more open answers everywhere, or is looked at port by port
MAX_SERVICES_EVERYWHERE = 4  # of an address that accepts connections on every port: most of them are nobody's
TICK_SECONDS = 0.025
TURN_STARTS = 64  # conversations begun in one turn; a new one may cost a handshake at once


@dataclass(frozen=True, kw_only=True, slots=True)
class HostQuestion:
    """One address whose open ports are asked what they are."""

    key: Hashable
    address: IPAddress
    open_probes: Sequence[Probe]
    connections: Mapping[int, socket.socket] = field(default_factory=dict)  # by port, in the lane's charge from now on
    is_paced: bool = False
    answers_everywhere: bool | None = None
    name: str | None = None
    scheme: str | None = None  # of a URL, and the port that it names, and what it asks for there
    url_port: int | None = None
    path: str = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class HostServices:
    """What became of a HostQuestion."""

    key: Hashable
    address: IPAddress
    services: tuple[Service, ...]  # ascending by port


@dataclass(slots=True)
class _Host:
    """A host under way."""

    asked: HostQuestion
    due_at: float
    waiting: deque[Question]
    connections: dict[int, socket.socket]
    calls: int = 0
    services: list[Service] = field(default_factory=list)


class FingerprintLane:
    """Asks what stands behind open ports. One use only."""

    def __init__(
        self,
        options: FingerprintOptions,
        *,
        may_connect: Callable[[IPAddress], bool],
        emit: Callable[[HostServices], None],
        pace: Pace | None = None,  # None: no rate
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._may_connect = may_connect
        self._emit = emit
        self._pace = pace
        self._clock = clock
        self._inbox: SimpleQueue[HostQuestion] = SimpleQueue()
        self._drops: SimpleQueue[Hashable] = SimpleQueue()
        self._hosts: dict[tuple[Hashable, IPAddress], _Host] = {}
        self._turns: deque[_Host] = deque()  # hosts with something waiting
        self._host_of: dict[Call, _Host] = {}  # every call under way
        self._tick_at = 0.0
        self._is_closed = False
        self._lock = threading.Lock()  # so that nothing comes in after the end
        self._thread: threading.Thread | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def host_seconds(self) -> float:
        """How long all services of one host may take together."""
        return 2 * self._options.seconds

    def ask(self, host: HostQuestion) -> None:
        """Take charge of a host and its connections; the thread starts with the first."""
        with self._lock:
            if self._is_closed:
                _close_all(host.connections.values())
                return
            self._inbox.put(host)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fingerprint", daemon=True)
                self._thread.start()
            os.eventfd_write(self._wake_fd, 1)

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Nobody wants to know about these any more: their connections are closed and nothing is emitted."""
        for key in keys:
            self._drops.put(key)
        with self._lock:
            if not self._is_closed:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """End at once: every connection is closed, and what is unfinished is not emitted."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_fd)
        while not self._inbox.empty():
            _close_all(self._inbox.get().connections.values())

    # -- The thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with closing(selectors.DefaultSelector()) as selector:
            selector.register(self._wake_fd, selectors.EVENT_READ)
            ground = Ground(selector=selector, clock=self._clock, may_connect=self._may_connect, pace=self._pace)
            try:
                while not self._is_closed:
                    self._turn(selector, ground)
            finally:
                for host in list(self._hosts.values()):
                    self._forget(host)

    def _turn(self, selector: selectors.BaseSelector, ground: Ground) -> None:
        self._take_in()
        self._start(ground)
        for key, mask in selector.select(TICK_SECONDS if self._hosts else None):
            if isinstance(key.data, Call):
                key.data.on_ready(mask)
                self._settle(key.data)
            else:
                os.eventfd_read(self._wake_fd)
        now = self._clock()
        if now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            self._tick(now)

    def _tick(self, now: float) -> None:
        """What is due. Looked at some dozen times a second, not in every turn: nothing here is a matter of milliseconds."""
        for call in [call for call in self._host_of if call.due_at <= now]:
            call.on_time()
            self._settle(call)
        for host in [host for host in self._hosts.values() if host.due_at <= now]:
            self._cut(host)

    def _take_in(self) -> None:
        try:
            while True:
                self._admit(self._inbox.get_nowait())
        except Empty:
            pass
        while not self._drops.empty():
            key = self._drops.get()
            for host in [host for host in self._hosts.values() if host.asked.key == key]:
                self._forget(host)

    def _admit(self, asked: HostQuestion) -> None:
        most = MAX_SERVICES_EVERYWHERE if asked.answers_everywhere else MAX_SERVICES
        chosen = sorted((probe.port for probe in asked.open_probes), key=by_promise)[:most]
        if asked.url_port is not None and asked.url_port not in chosen:
            chosen[-1:] = [asked.url_port]
        host = _Host(
            asked=asked,
            due_at=self._clock() + self.host_seconds,
            waiting=deque(_questions(asked, sorted(chosen))),
            connections=dict(asked.connections),
        )
        _close_all(host.connections.pop(port) for port in list(host.connections) if port not in chosen)
        self._hosts[asked.key, asked.address] = host
        self._turns.append(host)
        self._finish_if_done(host)  # it may have nothing to be asked

    def _start(self, ground: Ground) -> None:
        """Begin conversations, one of each host in its turn, within the limits."""
        for _ in range(min(len(self._turns), TURN_STARTS)):
            if not self._has_room():
                return
            host = self._turns.popleft()
            if host.waiting and host.calls < self._options.per_host:
                self._begin(host, host.waiting.popleft(), ground)
            if host.waiting:
                self._turns.append(host)

    def _has_room(self) -> bool:
        """Whether one more may be under way. Who waits for the rate takes up no room: others have none to wait for."""
        under_way, most = len(self._host_of), self._options.max_inflight
        return under_way < most or under_way - sum(call.is_held for call in self._host_of) < most

    def _begin(self, host: _Host, question: Question, ground: Ground) -> None:
        connection = host.connections.pop(question.port, None)
        talk = identify(question, is_connected=connection is not None)
        call = Call(question, talk, connection, ground, seconds=self._options.seconds)
        self._host_of[call] = host
        host.calls += 1
        call.begin()
        self._settle(call)

    def _settle(self, call: Call) -> None:
        """Take in what a call found out, once it has ended, and let its host go when nothing is left of it."""
        if call.service is None or call not in self._host_of:
            return
        host = self._host_of.pop(call)
        host.calls -= 1
        host.services.append(call.service)
        self._finish_if_done(host)

    def _cut(self, host: _Host) -> None:
        """The host's time is up."""
        why = "its turn did not come in time"
        host.services += [Service(port=q.port, state=ServiceState.NOT_ASKED, reason=why) for q in host.waiting]
        host.waiting.clear()
        for call in self._calls_of(host):
            call.cut(LATE)
            self._settle(call)
        self._finish_if_done(host)  # also if nothing was under way in this very moment

    def _finish_if_done(self, host: _Host) -> None:
        if host.calls or host.waiting or (host.asked.key, host.asked.address) not in self._hosts:
            return
        self._forget(host)
        services = tuple(sorted(host.services, key=lambda service: service.port))
        self._emit(HostServices(key=host.asked.key, address=host.asked.address, services=services))

    def _forget(self, host: _Host) -> None:
        """Close whatever is open for it."""
        self._hosts.pop((host.asked.key, host.asked.address), None)
        host.waiting.clear()
        for call in self._calls_of(host):
            del self._host_of[call]
            call.cut(LATE)
        _close_all(host.connections.values())
        host.connections.clear()

    def _calls_of(self, host: _Host) -> list[Call]:
        return [call for call, its_host in self._host_of.items() if its_host is host]


def _questions(asked: HostQuestion, ports: Iterable[int]) -> Iterable[Question]:
    latency_ms = {probe.port: probe.latency_ms or 0.0 for probe in asked.open_probes}
    open_ports = frozenset(latency_ms)
    return (
        Question(
            address=asked.address,
            port=port,
            name=asked.name,
            scheme=asked.scheme if port == asked.url_port else None,
            path=asked.path if port == asked.url_port else "/",
            open_ports=open_ports,
            round_trip_seconds=min(latency_ms[port] / 1000, 1.0),
            is_paced=asked.is_paced,
        )
        for port in ports
    )


def _close_all(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        connection.close()
