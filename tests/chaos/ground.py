"""What the chaos tests scan: ports that listen, refuse or stay silent on every address of 127.0.0.0/8 at once."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.servers import refusing


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One of each kind."""

    heard: int
    refused: int
    dark: int

    @property
    def quick(self) -> list[int]:
        return [self.heard, self.refused]

    @property
    def all(self) -> list[int]:
        return [*self.quick, self.dark]


@contextmanager
def listening_everywhere() -> Iterator[int]:
    """A port whose connections the kernel accepts, whatever loopback address they go to."""
    with _bound() as server:
        server.listen(1024)
        yield server.getsockname()[1]


@contextmanager
def silent_everywhere() -> Iterator[int]:
    """A port that answers nothing on any loopback address: its queue of one connection is full."""
    with _bound() as server:
        server.listen(0)
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            yield port


@contextmanager
def silent_ports_everywhere(count: int) -> Iterator[list[int]]:
    """So many of them. Needs no privileges, but two descriptors each."""
    with ExitStack() as stack:
        stack.enter_context(_descriptors(2 * count + 256))
        yield [stack.enter_context(silent_everywhere()) for _ in range(count)]


@contextmanager
def ground() -> Iterator[Ports]:
    """All three, for the `ports` of a submission."""
    with listening_everywhere() as heard, silent_everywhere() as dark, refusing() as refused:
        yield Ports(heard=heard, refused=refused, dark=dark)


@contextmanager
def _descriptors(most: int) -> Iterator[None]:
    """As many as this process may have open, for the length of the block; at most what the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _bound() -> socket.socket:
    """On all addresses of the loopback interface, and of no other."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    server.bind(("0.0.0.0", 0))
    return server
