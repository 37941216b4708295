"""Sockets: made, reused, closed; and what their errors say about a port.

The life of one: socket, connect (EINPROGRESS), watched by epoll; on an event connect again, which returns the outcome and,
after a refusal, leaves the socket as good as new. It is then parked and used for the next probe, which saves making,
watching and closing one. After silence it is told to forget the connection, and parked as well. A socket that met an open
port is closed with a reset, so that neither side keeps a TIME_WAIT.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections import defaultdict
from contextlib import suppress
from functools import partial
from socket import SocketType
from typing import NamedTuple

from scans.core.probe.host import Host, SocketAddress
from scans.core.probe.network import Network, Poller
from scans.core.probe.one_shot import WRITABLE, OneShotPoller
from scans.core.types import PortState

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# Edge-triggered, so that a parked socket, which is always "ready", does not report again and again.
_EVENTS = WRITABLE | getattr(select, "EPOLLET", 0)
_HAS_ERROR_QUEUE = hasattr(socket, "MSG_ERRQUEUE")

# A shortage, of this machine or towards one destination. Never a result: the probe waits and leaves later.
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})
OUT_OF_PORTS = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.EAGAIN})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_WAS_CONNECTED = frozenset({errno.ECONNRESET, errno.EPIPE})

# struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info, data.
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_SO_MEMINFO, _NOTHING_HELD = 55, bytes(4)  # asm-generic/socket.h; the first of its numbers is the memory of all that came in
_ICMP_NAMES = {2: "icmp", 3: "icmpv6"}  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6


class Flight:
    """One socket and the probe it carries; `host` is None while it carries none."""

    __slots__ = (
        "address",
        "attempt",
        "connect",
        "expires_at",
        "family",
        "fd",
        "host",
        "index",
        "is_lingering",
        "is_watched",
        "sent_at",
        "socket",
    )

    def __init__(self, sock: SocketType, family: int) -> None:
        self.socket = sock
        self.connect = sock.connect_ex
        self.fd = sock.fileno()
        self.family = family
        self.is_watched = False
        self.host: Host | None = None
        self.index = self.attempt = 0
        self.sent_at = self.expires_at = 0.0
        self.address: SocketAddress = ("", 0)
        self.is_lingering = False  # its port was asked again, but an answer is still welcome


class Outcome(NamedTuple):
    """What an event on a socket means. Without a state it settles nothing."""

    state: PortState | None
    reason: str
    is_answer: bool = True  # by something out there, so its time and attempt say something about the path


OPEN = Outcome(PortState.OPEN, "syn-ack")
OPEN_THEN_RESET = Outcome(PortState.OPEN, "syn-ack, then reset")
CLOSED = Outcome(PortState.CLOSED, "conn-refused")
NO_ROUTE = Outcome(PortState.UNREACHABLE, "no-route", is_answer=False)
NOTHING_YET = Outcome(None, "nothing yet", is_answer=False)
GAVE_UP = Outcome(None, "the kernel gave up", is_answer=False)
MET_ITSELF = Outcome(None, "connected to itself", is_answer=False)


def outcome(sock: SocketType, error: int) -> Outcome:
    """What the error of a connect() means. The commonest case first."""
    if error == errno.ECONNREFUSED:  # a RST, or an ICMP port-unreachable that looks like one
        return _icmp(sock) or CLOSED
    if error in (0, errno.EISCONN):
        return MET_ITSELF if _is_itself(sock) else OPEN
    if error in _WAS_CONNECTED:
        return OPEN_THEN_RESET
    if error in (errno.EALREADY, errno.EINPROGRESS):
        # ICMP that arrives inside connect() is only a soft error: the socket stays in SYN_SENT and the queue has the news.
        return _icmp(sock) or NOTHING_YET
    if error in _NO_ROUTE:
        return _icmp(sock) or NO_ROUTE
    if error in (errno.ETIMEDOUT, errno.ECONNABORTED):
        return GAVE_UP
    return _icmp(sock) or Outcome(PortState.ERROR, error_name(error), is_answer=False)


def _icmp(sock: SocketType) -> Outcome | None:
    """The ICMP message in the socket's error queue, if any.

    Since Linux 5.8 an IPv4 socket's queue is filled without IP_RECVERR ("tcp: allow traceroute -Mtcp for unpriv users"), an
    IPv6 socket's only with IPV6_RECVERR (measured on 6.18).
    """
    if not _HAS_ERROR_QUEUE or is_without_messages(sock):
        return None
    try:
        _, control, _, _ = sock.recvmsg(0, 128, socket.MSG_ERRQUEUE)
    except OSError:  # nothing there
        return None
    reasons = (icmp_reason(data) for _, _, data in control)
    return next((Outcome(PortState.UNREACHABLE, reason) for reason in reasons if reason), None)


def is_without_messages(sock: SocketType) -> bool:
    """Whether nothing can be in the error queue, because nothing that came in is held at all.

    Nearly every refusal comes without a message, and looking for it where it would be raises an exception: 3 us, this 1.
    """
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4) == _NOTHING_HELD
    except OSError:  # before Linux 4.12, and elsewhere
        return False


def icmp_reason(data: bytes) -> str | None:
    """The type and code in one control message of an error queue; None if it is not about ICMP."""
    if len(data) < _EXTENDED_ERROR.size:
        return None
    _, origin, kind, code, *_ = _EXTENDED_ERROR.unpack_from(data)
    return f"{_ICMP_NAMES[origin]} type {kind} code {code}" if origin in _ICMP_NAMES else None


def _is_itself(sock: SocketType) -> bool:
    """Whether the kernel chose the probed port as source port: TCP then connects the socket to itself.

    On the loopback that happens about once in 28,000 probes, the size of the range it chooses from.
    """
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:  # reset since then, which a socket does not do to itself
        return False


class SocketPool:
    """Every socket of the engine: those in flight and those parked, all watched by one poller."""

    def __init__(self, network: Network, poller: Poller, *, most_open: int) -> None:
        self._network = network
        self.flights: dict[int, Flight] = {}  # by descriptor, parked ones included
        self._poller = poller
        self._one_shot = poller if isinstance(poller, OneShotPoller) else None
        self._most_open = most_open
        # By family: ready to connect once more.
        self.parked: defaultdict[int, list[Flight]] = defaultdict(list if self._one_shot is None else partial(_Closed, self))

    def make(self, family: int) -> Flight:
        """One more socket, where none is parked. Raises OSError when the system has none left."""
        if len(self.flights) >= self._most_open:
            self.drain()  # what is parked now is of the other family
        try:
            return Flight(self._network.new_socket(family), family)
        except OSError:
            self.drain()
            raise

    def watch(self, flight: Flight) -> None:
        """Report its events, which must not begin before connect(): an unconnected socket is "ready" at once."""
        self._poller.register(flight.fd, _EVENTS)
        if self._one_shot is not None:
            flight.connect = self._one_shot.asking(flight.socket)
        flight.is_watched = True
        self.flights[flight.fd] = flight

    def park(self, flight: Flight) -> None:
        """Keep the socket for another probe; only one without a connection, and with an empty error queue."""
        flight.host = None
        self.parked[flight.family].append(flight)

    def recycle(self, flight: Flight) -> None:
        """Give up a connection that nobody answered, and park its socket: that takes 10 us, a new one 16 (measured on 6.18).

        An ICMP message that came too late to be an event would be taken for the next probe's: such a socket is closed.
        """
        if self._network.forget_connection(flight.socket) and _icmp(flight.socket) is None:
            self.park(flight)
        else:
            self.discard(flight)

    def discard(self, flight: Flight) -> None:
        """Close the socket, which also ends its events."""
        flight.host = None
        self.flights.pop(flight.fd, None)
        if self._one_shot is not None:  # epoll forgets what is closed by itself
            self._one_shot.unregister(flight.fd)
        flight.socket.close()

    def reset(self, flight: Flight) -> None:
        """Close the socket of a connection: RST instead of FIN."""
        with suppress(OSError):
            flight.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.discard(flight)

    def part_with(self, flight: Flight) -> SocketType:
        """Give the socket away; its events end."""
        flight.host = None
        self.flights.pop(flight.fd, None)
        if flight.is_watched:
            self._poller.unregister(flight.fd)
        return flight.socket

    def drain(self) -> None:
        """Close what is parked."""
        for parked in self.parked.values():
            while parked:
                self.discard(parked.pop())

    def close(self) -> None:
        """Close everything."""
        for parked in self.parked.values():
            parked.clear()
        for flight in list(self.flights.values()):
            self.discard(flight) if flight.host is None else self.reset(flight)


class _Closed(list[Flight]):
    """Where sockets are not used twice, to park one is to close it."""

    def __init__(self, pool: SocketPool) -> None:
        self._pool = pool

    def append(self, flight: Flight) -> None:
        """Close it."""
        self._pool.discard(flight)


def error_name(error: int) -> str:
    """EMFILE rather than 24."""
    return errno.errorcode.get(error, os.strerror(error))
