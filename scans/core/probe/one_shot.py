"""A poller for systems without epoll, out of `selectors`: right, and not quick.

The loop relies on three things that only Linux does, and each has its substitute here:

- A socket reports once and is then left alone, parked ones above all. Here one that reported is watched no more, until its
  connection turns out to be still under way.
- A second connect() tells what became of the first. Elsewhere it is an error, so here SO_ERROR and the peer's name tell.
- A refused socket is as good as new. Elsewhere it may not be: here each is closed, and none is used twice.
"""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from socket import SocketType
from typing import Any

READABLE, WRITABLE = 1, 4  # EPOLLIN and EPOLLOUT; the edge-triggered bit is not looked at


class OneShotPoller:
    """As much of `select.epoll` as is used, and `asking`."""

    def __init__(self, selector: Callable[[], selectors.BaseSelector] = selectors.DefaultSelector) -> None:
        self._selector = selector()

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch a socket until it can be written to or failed, once; what is to be read from, again and again."""
        self._selector.register(fd, selectors.EVENT_WRITE if eventmask & WRITABLE else selectors.EVENT_READ)

    def unregister(self, fd: int, /) -> None:
        """Watch it no more, if it still is."""
        with suppress(KeyError):
            self._selector.unregister(fd)

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        """Wait for events, at most so long."""
        events = self._selector.select(timeout)[:maxevents]
        for key, mask in events:
            if mask & selectors.EVENT_WRITE:
                self._selector.unregister(key.fileobj)
        return [(key.fd, WRITABLE if mask & selectors.EVENT_WRITE else READABLE) for key, mask in events]

    def close(self) -> None:
        """Watch nothing more."""
        self._selector.close()

    def asking(self, sock: SocketType) -> Callable[[Any], int]:
        """What to call instead of a second connect() of this socket. Returns what that returns on Linux."""
        fd = sock.fileno()

        def ask(_: Any) -> int:
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return error
            try:
                sock.getpeername()
            except OSError:  # not yet
                self.unregister(fd)
                self.register(fd, WRITABLE)
                return errno.EALREADY
            return errno.EISCONN

        return ask
