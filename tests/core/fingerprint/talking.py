"""Drives a conversation with bytes alone: each connection is a stream of bytes that the server says, and then closes.

What is said does not depend on what is asked, which is all that a parser needs; the order of things is tested with sockets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from scans.core.fingerprint.conversation import (
    Connect,
    End,
    Handshake,
    Question,
    Receive,
    Received,
    Send,
    StartTls,
    Talk,
    Wish,
)
from scans.core.types import Service

MAX_WISHES = 200
NO_TLS = Handshake("wrong version number")


@dataclass
class Talked:
    """What came of a conversation, and what it did."""

    service: Service
    sent: bytes = b""
    ports: list[int] = field(default_factory=list)  # connected to, in order
    wishes: list[Wish] = field(default_factory=list)


def question(port: int = 12345, **more: Any) -> Question:
    return Question(address=ip_address("127.0.0.1"), port=port, **more)


def talk(
    conversation: Talk[Service], *streams: bytes, handshakes: Sequence[Handshake] = (), stays_open: bool = False
) -> Talked:
    """Run it to its end. Streams are used one for each connection, the first for the one that is there."""
    server = _Server(list(streams), list(handshakes), End.SILENCE if stays_open else End.CLOSED)
    answer = None
    while True:
        try:
            wish = conversation.send(answer)
        except StopIteration as ended:
            return Talked(ended.value, server.sent, server.ports, server.wishes)
        answer = server.answer(wish)


class _Server:
    def __init__(self, streams: list[bytes], handshakes: list[Handshake], end: End) -> None:
        self._streams, self._handshakes, self._end = streams, handshakes, end
        self._left = streams.pop(0) if streams else b""
        self.sent, self.ports, self.wishes = b"", list[int](), list[Wish]()

    def answer(self, wish: Wish) -> Any:
        self.wishes.append(wish)
        assert len(self.wishes) <= MAX_WISHES, "it never ends"
        match wish:
            case Send():
                self.sent += wish.data
                return None
            case Receive():
                return self._receive(wish)
            case StartTls():
                return self._handshakes.pop(0) if self._handshakes else NO_TLS
            case Connect():
                self.ports.append(wish.port)
                if not self._streams:
                    return "connection refused"
                self._left = self._streams.pop(0)
                return None

    def _receive(self, wish: Receive) -> Received:
        assert wish.most > 0
        places = [self._left.find(mark) + len(mark) for mark in wish.until if mark in self._left]
        if places and min(places) <= wish.most:
            count, end = min(places), End.DELIMITER
        elif len(self._left) >= wish.most:
            count, end = wish.most, End.FULL
        else:
            count, end = len(self._left), self._end
        data, self._left = self._left[:count], self._left[count:]
        return Received(data, end)
