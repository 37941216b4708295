"""Redis and its forks: PING, which changes nothing and shows whether a password is needed. Never INFO or CONFIG."""

from __future__ import annotations

from scans.core.fingerprint.base import Protocol, identified, misunderstood
from scans.core.fingerprint.conversation import Question, Talk, receive, send
from scans.core.types import Service

_REFUSALS = (b"-NOAUTH", b"-DENIED", b"-WRONGPASS", b"-NOPERM")  # a password is set; protected mode; access lists


def ask(question: Question) -> Talk[Service]:
    """Send PING in its inline form, which every version understands."""
    yield from send(b"PING\r\n")
    answer = yield from receive(until=(b"\r\n",))
    reply = answer.data
    if reply == b"+PONG\r\n":
        return identified(question, REDIS, reply, access="PING answered PONG")
    if reply.startswith(_REFUSALS):
        return identified(question, REDIS, reply)
    return misunderstood(question, answer)


REDIS = Protocol(name="Redis", technique="Redis Connection", ask=ask, ports=frozenset({6379}))
