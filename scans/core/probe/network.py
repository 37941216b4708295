"""What the engine needs of the system: a clock, sockets, and news of them. Tests pass a network that is only a script."""

from __future__ import annotations

import ctypes
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from socket import SocketType  # the plain C type: no Python-level __init__ for each of a million sockets
from time import monotonic
from typing import Protocol

from scans.core.probe.one_shot import OneShotPoller

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
_KIND = socket.SOCK_STREAM | _NONBLOCK
_HAS_ERROR_QUEUE = hasattr(socket, "MSG_ERRQUEUE")
_IPV6_RECVERR = 25  # linux/in6.h; the socket module does not name it

# connect() to no address family ends what a socket is about: connect(2). Python's own connect() cannot say it.
_libc_connect = ctypes.CDLL(None).connect
_libc_connect.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_NO_ADDRESS = bytes(16)  # AF_UNSPEC is 0


class Poller(Protocol):
    """As much of `select.epoll` as is used."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch this descriptor."""

    def unregister(self, fd: int, /) -> None:
        """Watch it no more."""

    def poll(self, timeout: float, maxevents: int, /) -> list[tuple[int, int]]:
        """Wait for events, at most so long."""

    def close(self) -> None:
        """Watch nothing more."""


def new_socket(family: int) -> SocketType:
    """A TCP socket that never blocks. Raises OSError when the system has none left."""
    made = SocketType(family, _KIND)
    if not _NONBLOCK:
        made.setblocking(False)
    if family == socket.AF_INET6 and _HAS_ERROR_QUEUE:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)  # or its queue of ICMP messages stays empty
    return made


def forget_connection(sock: SocketType) -> bool:
    """Make the socket as good as new, whatever it was about. Returns whether that worked."""
    return bool(_libc_connect(sock.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)) == 0)


_poller: Callable[[], Poller] = getattr(select, "epoll", OneShotPoller)


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The system's own, unless a part is replaced."""

    clock: Callable[[], float] = monotonic
    poller: Callable[[], Poller] = _poller
    new_socket: Callable[[int], SocketType] = new_socket
    forget_connection: Callable[[SocketType], bool] = forget_connection


KERNEL = Network()
