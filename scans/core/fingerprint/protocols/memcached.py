"""Memcached: `version`, which changes nothing; a server that wants a login refuses even that."""

from __future__ import annotations

import re

from scans.core.fingerprint.base import Protocol, identified, misunderstood
from scans.core.fingerprint.conversation import Question, Talk, receive, send
from scans.core.types import Service

_VERSION = re.compile(rb"VERSION (\d[\w.+-]{0,40})\r\n")


def ask(question: Question) -> Talk[Service]:
    """Send `version` of the text protocol (memcached's protocol.txt)."""
    yield from send(b"version\r\n")
    answer = yield from receive(until=(b"\r\n",))
    reply = answer.data
    if said := _VERSION.fullmatch(reply):
        # Its imitators answer alike, so that product and version are what it says, and no CPE follows from them.
        version = said[1].decode("ascii")
        return identified(question, MEMCACHED, reply, product="memcached", version=version, access="version was answered")
    if reply.startswith(b"CLIENT_ERROR unauthenticated"):
        return identified(question, MEMCACHED, reply)
    return misunderstood(question, answer)


MEMCACHED = Protocol(name="Memcached", technique="Memcached Connection", ask=ask, ports=frozenset({11211}))
