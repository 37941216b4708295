"""What a protocol may wish for, as a conversation without I/O.

    def ask(question: Question) -> Talk[Service | None]:
        yield from send(b"PING\r\n")
        reply = yield from receive(until=(b"\r\n",))
        ...

A conversation is a generator: it yields what it wants and is sent what came of it, so a protocol is a few lines that a test
can drive with bytes alone. Whoever drives it (`call.py`, with sockets) holds every limit: the deadline, the bytes, and
which addresses and ports may be connected to. Whatever goes wrong on the way is an answer, not an exception; except
that after the deadline every further wish is answered with OutOfTime.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeVar, cast

from scans.core.types import IPAddress

MAX_BANNER_BYTES = 4096
IDLE_SECONDS = 0.3  # between two parts of one reply
NO_ANSWER = "no answer in time"  # of a handshake or a connection


class OutOfTime(Exception):  # noqa: N818 - a sentence, not an error: the service was too slow
    """The deadline of the service has passed; nothing more is sent or received."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Which open port is asked, and what is known of it beforehand."""

    address: IPAddress
    port: int
    name: str | None = None  # the host name that the user gave: for SNI and the Host header
    scheme: str | None = None  # of the URL that named this very port
    path: str = "/"  # of the same, without secrets, in ASCII: what HTTP asks for
    open_ports: frozenset[int] = frozenset()  # of the address: a redirect may lead to these and no others
    round_trip_seconds: float = 0.0  # as the probe measured it
    is_paced: bool = False  # connections to the address count towards the rate


class End(StrEnum):
    """Why a receive ended."""

    DELIMITER = "delimiter"  # what was waited for came
    FULL = "full"  # as many bytes as wanted
    SILENCE = "silence"  # nothing (more) came for the given time
    CLOSED = "closed"  # by the other side, orderly or with a reset; also: there is no connection
    DEADLINE = "deadline"  # the time of the whole service is up


class Received(NamedTuple):
    """The bytes that came, up to and including the delimiter; what came after it waits for the next receive."""

    data: bytes
    end: End


class Handshake(NamedTuple):
    """What came of starting TLS. With an error the connection is used up."""

    error: str | None  # None: the connection is encrypted now
    heard: bytes = b""  # the first bytes of the reply as they came, to see what it is if it is not TLS
    version: str = ""  # TLSv1.3
    cipher: str = ""
    chain: tuple[bytes, ...] = ()  # DER, the server's own certificate first


class Send(NamedTuple):
    """Send these bytes. The answer is None at once; whether they arrived shows in the next receive."""

    data: bytes


class Receive(NamedTuple):
    """Receive at most so many bytes, until one of the delimiters, an end, or a silence."""

    most: int
    until: tuple[bytes, ...]
    seconds: float  # until the first byte
    idle_seconds: float  # until each further one


class StartTls(NamedTuple):
    """Encrypt the connection. Certificates are taken as they are: this only looks, and no secret is ever sent."""

    server_name: str | None
    is_legacy: bool  # offer TLS 1.0 and 1.1 only


class Connect(NamedTuple):
    """Give up the connection and open another to the same address. The answer is None, or why there is none."""

    port: int


Wish = Send | Receive | StartTls | Connect
Answer = Received | Handshake | str | None
Result = TypeVar("Result")
Talk = Generator[Wish, Answer, Result]


def send(data: bytes) -> Talk[None]:
    """Send these bytes."""
    yield Send(data)


def receive(
    *, most: int = MAX_BANNER_BYTES, until: tuple[bytes, ...] = (), seconds: float = 2.0, idle_seconds: float = IDLE_SECONDS
) -> Talk[Received]:
    """Receive; see the wish."""
    answer = yield Receive(most, until, seconds, idle_seconds)
    return cast(Received, answer)


def start_tls(server_name: str | None = None, *, is_legacy: bool = False) -> Talk[Handshake]:
    """Encrypt the connection; see the wish."""
    answer = yield StartTls(server_name, is_legacy)
    return cast(Handshake, answer)


def connect(port: int) -> Talk[str | None]:
    """Open a new connection; None, or in words why there is none."""
    answer = yield Connect(port)
    return cast("str | None", answer)
