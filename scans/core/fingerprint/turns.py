"""Hosts in turn and their conversations: what is under way, who is next, and whose time is up. Of the lane's thread only."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from scans.core.fingerprint.call import LATE, Call, Ground
from scans.core.fingerprint.conversation import Question
from scans.core.fingerprint.hosts import MAX_SERVICES, HostQuestion, HostServices, close_all
from scans.core.fingerprint.identify import identify
from scans.core.fingerprint.usual import by_promise
from scans.core.options import FingerprintOptions
from scans.core.types import IPAddress, Service, ServiceState

MAX_SERVICES_EVERYWHERE = 4  # of an address that accepts connections on every port: most of them are nobody's
TICK_SECONDS = 0.025
TURN_STARTS = 64  # conversations begun in one turn; a new one may cost a handshake at once


@dataclass(slots=True)
class _Host:
    """A host under way."""

    asked: HostQuestion
    due_at: float
    waiting: deque[Question]
    connections: dict[int, socket.socket]
    calls: int = 0
    services: list[Service] = field(default_factory=list)


class Turns:
    """The hosts of one lane."""

    def __init__(
        self, options: FingerprintOptions, ground: Ground, *, host_seconds: float, emit: Callable[[HostServices], None]
    ) -> None:
        self._options = options
        self._ground = ground
        self._host_seconds = host_seconds
        self._emit = emit
        self._hosts: dict[tuple[Hashable, IPAddress], _Host] = {}
        self._turns: deque[_Host] = deque()  # hosts with something waiting
        self._host_of: dict[Call, _Host] = {}  # every call under way
        self._tick_at = 0.0

    @property
    def next_seconds(self) -> float | None:
        """How long to wait for news of sockets, at most; None: there is nothing that could be due."""
        return TICK_SECONDS if self._hosts else None

    def take(self, asked: HostQuestion) -> None:
        """A host to ask."""
        most = MAX_SERVICES_EVERYWHERE if asked.answers_everywhere else MAX_SERVICES
        chosen = sorted((probe.port for probe in asked.open_probes), key=by_promise)[:most]
        if asked.url_port is not None and asked.url_port not in chosen:
            chosen[-1:] = [asked.url_port]
        host = _Host(
            asked=asked,
            due_at=self._ground.clock() + self._host_seconds,
            waiting=deque(_questions(asked, sorted(chosen))),
            connections=dict(asked.connections),
        )
        close_all(host.connections.pop(port) for port in list(host.connections) if port not in chosen)
        self._hosts[asked.key, asked.address] = host
        self._turns.append(host)
        self._finish_if_done(host)  # it may have nothing to be asked

    def drop(self, key: Hashable) -> None:
        """Nobody wants to know about it any more."""
        for host in [host for host in self._hosts.values() if host.asked.key == key]:
            self._forget(host)

    def on_ready(self, call: Call, mask: int) -> None:
        """The socket of a call has news."""
        call.on_ready(mask)
        self._settle(call)

    def start(self) -> None:
        """Begin conversations, one of each host in its turn, within the limits."""
        for _ in range(min(len(self._turns), TURN_STARTS)):
            if not self._has_room():
                return
            host = self._turns.popleft()
            if host.waiting and host.calls < self._options.per_host:
                self._begin(host, host.waiting.popleft())
            if host.waiting:
                self._turns.append(host)

    def tick(self) -> None:
        """What is due. Looked at some dozen times a second, not in every turn: nothing here is a matter of milliseconds."""
        now = self._ground.clock()
        if now < self._tick_at:
            return
        self._tick_at = now + TICK_SECONDS
        for call in [call for call in self._host_of if call.due_at <= now]:
            call.on_time()
            self._settle(call)
        for host in [host for host in self._hosts.values() if host.due_at <= now]:
            self._cut(host)

    def end(self) -> None:
        """Close everything; what is unfinished is not emitted."""
        for host in list(self._hosts.values()):
            self._forget(host)

    def _has_room(self) -> bool:
        """Whether one more may be under way. Who waits for the rate takes up no room: others have none to wait for."""
        under_way, most = len(self._host_of), self._options.max_inflight
        return under_way < most or under_way - sum(call.is_held for call in self._host_of) < most

    def _begin(self, host: _Host, question: Question) -> None:
        connection = host.connections.pop(question.port, None)
        talk = identify(question, is_connected=connection is not None)
        call = Call(question, talk, connection, self._ground, seconds=self._options.seconds)
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
        close_all(host.connections.values())
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
