"""Real servers on 127.0.0.1 and ::1, each a context manager: one listens, one refuses, one drops, one resets.

Everything here is bound to a loopback address and closed when the block ends.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.patience import PATIENCE

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def public(number: int) -> str:
    """An address that counts as public and that no other test process uses: for well-known ports, which cannot be chosen."""
    return f"127.66.{os.getpid() % 250 + 1}.{number}"


@contextmanager
def listening(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose connections the kernel accepts; nobody reads or writes. Yields the port."""
    with _bound(address, port) as server:
        server.listen(128)
        yield server.getsockname()[1]


@contextmanager
def refusing(address: str = "127.0.0.1") -> Iterator[int]:
    """A port that answers with a RST: bound, so that nobody else gets it, but not listening. Yields the port."""
    with _bound(address, 0) as server:
        yield server.getsockname()[1]


class Silent:
    """A port whose queue of connections is full, so that the kernel drops every further SYN."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.port: int = server.getsockname()[1]

    def release(self) -> None:
        """Make room: from now on the port is open. A SYN that was dropped stays lost until it is sent again."""
        self._server.listen(128)


@contextmanager
def silent(address: str = "127.0.0.1") -> Iterator[Silent]:
    """A filtered port without a firewall: `listen(0)` and one connection that is never accepted."""
    with _bound(address, 0) as server:
        server.listen(0)
        with socket.create_connection(server.getsockname()[:2], timeout=PATIENCE):
            yield Silent(server)


@contextmanager
def resetting(address: str = "127.0.0.1") -> Iterator[int]:
    """A port that accepts each connection and resets it at once, as some proxies and tarpits do. Yields the port."""
    with _bound(address, 0) as server:
        server.listen(128)
        thread = threading.Thread(target=_reset_all, args=(server,), daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes accept(), which a close alone does not
            thread.join(PATIENCE)


def _reset_all(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # shut down
            return
        with connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def _bound(address: str, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((address, port))
    except OSError:
        server.close()
        raise
    return server
