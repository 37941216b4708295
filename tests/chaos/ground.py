"""What the chaos tests scan: ports that listen, refuse or stay silent on every address of 127.0.0.0/8 at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
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
def ground() -> Iterator[Ports]:
    """All three, for the `ports` of a submission."""
    with listening_everywhere() as heard, silent_everywhere() as dark, refusing() as refused:
        yield Ports(heard=heard, refused=refused, dark=dark)


def _bound() -> socket.socket:
    """On all addresses of the loopback interface, and of no other."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    server.bind(("0.0.0.0", 0))
    return server
