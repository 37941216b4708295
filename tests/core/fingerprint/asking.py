"""Asks real servers on the loopback through the lane, as the pipeline does."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

from scans.core.fingerprint import FingerprintLane, HostQuestion, HostServices
from scans.core.options import FingerprintOptions
from scans.core.tools import Pace
from scans.core.types import PortState, Probe, Service
from tests.core.fingerprint.clock import PatientClock, serve
from tests.patience import PATIENCE

END_OF_REQUEST = b"\r\n\r\n"


def asked(
    ports: Sequence[int], *, address: str = "127.0.0.1", key: object = "host", rtt_ms: float = 0.1, **more: Any
) -> HostQuestion:
    probes = [Probe(port, PortState.OPEN, "syn-ack", 1, rtt_ms) for port in ports]
    return HostQuestion(key=key, address=ip_address(address), open_probes=probes, **more)


@contextmanager
def lane(
    *,
    may_connect: Callable[..., bool] = lambda address: True,
    clock: Callable[[], float] | None = None,
    pace: Pace | None = None,
    **options: Any,
) -> Iterator[Any]:
    """A lane and the queue of what it emits."""
    emitted: queue.SimpleQueue[HostServices] = queue.SimpleQueue()
    running = FingerprintLane(
        FingerprintOptions(**options), may_connect=may_connect, emit=emitted.put, pace=pace, clock=clock or PatientClock()
    )
    try:
        yield running, emitted
    finally:
        running.close()


def services_of(
    ports: Sequence[int], *, options: dict[str, Any] | None = None, clock: Callable[[], float] | None = None, **more: Any
) -> dict[int, Service]:
    """What stands behind these ports of 127.0.0.1."""
    with lane(clock=clock, **(options or {})) as (running, emitted):
        running.ask(asked(ports, **more))
        found = emitted.get(timeout=PATIENCE)
    return {service.port: service for service in found.services}


def service_of(port: int, **more: Any) -> Service:
    return services_of([port], **more)[port]


Behaviour = Callable[[socket.socket], None]


class Server:
    """A server whose every connection is handled by a function in a thread of its own."""

    def __init__(self, behave: Behaviour, address: str, port: int) -> None:
        self._listener = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._behave = behave
        self._connections: list[socket.socket] = []
        self._handlers: list[threading.Thread] = []
        self.count = self.ended = 0
        self.port: int = self._listener.getsockname()[1]
        self._thread = serve(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            self._connections.append(connection)
            self._handlers.append(serve(self._handle, connection))

    def _handle(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            self._behave(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        self.ended += 1

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for handler in self._handlers:
            handler.join(PATIENCE)


@contextmanager
def serving(behave: Behaviour, address: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A server for the length of the block."""
    server = Server(behave, address, port)
    try:
        yield server
    finally:
        server.close()


def hear(connection: socket.socket, mark: bytes) -> bytes:
    """Everything up to where these bytes came. Raises ConnectionError if the other side leaves before.

    Who waits for a request and gets a TLS handshake leaves as well, as most do: it would cost the asker a second.
    """
    heard = b""
    while mark not in heard:
        more = connection.recv(65536)
        if not more or (mark == END_OF_REQUEST and more.startswith(b"\x16\x03")):
            raise ConnectionError("it left")
        heard += more
    return heard


def saying(data: bytes, *, wait_for: bytes = b"") -> Behaviour:
    """Say this, at once or after these bytes came, and wait for the other side to leave."""

    def behave(connection: socket.socket) -> None:
        hear(connection, wait_for)
        connection.sendall(data)
        while connection.recv(65536):
            pass

    return behave


def dripping(data: bytes, *, seconds: float = 0.1, wait_for: bytes = b"") -> Behaviour:
    """The same a byte at a time, and at the end again from the start."""

    def behave(connection: socket.socket) -> None:
        hear(connection, wait_for)
        while True:
            for byte in data:
                connection.sendall(bytes([byte]))
                time.sleep(seconds)

    return behave
