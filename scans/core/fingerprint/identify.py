"""Which conversation is tried on a port, in which order, until one is understood.

1. Listen for a moment on the connection as it is: what greets says what it is, whatever the port. Mail and file servers are
   asked whether they would encrypt, and if so it is looked at.
2. On a port where bytes could do harm, stop there.
3. If nothing came, ask what is usual on the port, then try TLS, then HTTP, each on a connection of its own.
4. Inside TLS, listen where the port promises a greeting, else try HTTP; then see whether old versions are taken, too.

Adding a protocol is one file in protocols/ and one line in its PROTOCOLS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from scans.core.fingerprint.base import identified, misunderstood
from scans.core.fingerprint.conversation import (
    NO_ANSWER,
    End,
    Handshake,
    OutOfTime,
    Question,
    Received,
    Talk,
    connect,
    receive,
    start_tls,
)
from scans.core.fingerprint.handshakes import tls_facts
from scans.core.fingerprint.protocols import PROTOCOLS, http, tls
from scans.core.fingerprint.starttls import with_tls
from scans.core.fingerprint.usual import is_encrypted, is_hands_off, is_web, speaks_first
from scans.core.ports import category
from scans.core.types import Service, ServiceState

GREETING_SECONDS = 0.4  # the connection is older than that already, so that most greetings have come
USUAL_GREETING_SECONDS = 2.5  # mail and file servers look their visitors up first
ROUND_TRIPS = 3
# Of several answers to several questions this is what is told of them.
_BETTER = (ServiceState.IDENTIFIED, ServiceState.UNRECOGNISED, ServiceState.SILENT, ServiceState.FAILED)
UNKNOWN_GREETING = "it greets in a way that is not known here"
HARM = "nothing was sent: bytes could do harm on this port"


def identify(question: Question, *, is_connected: bool = True) -> Talk[Service]:
    """Find out what it is. Never raises: what was not understood in time is a state as well."""
    try:
        if not is_connected and (trouble := (yield from connect(question.port))) is not None:
            return _failed(question, trouble)
        greeting = yield from _listen(question)
        if greeting.data:
            return (yield from _by_greeting(question, greeting.data))
        if is_hands_off(question.port):
            return Service(port=question.port, state=ServiceState.NOT_ASKED, reason=HARM)
        return (yield from _by_asking(question, is_connected=greeting.end is End.SILENCE))
    except OutOfTime:
        return Service(port=question.port, state=ServiceState.TIMED_OUT, reason="it did not finish in time")


def _listen(question: Question) -> Talk[Received]:
    seconds = USUAL_GREETING_SECONDS if speaks_first(question.port) else GREETING_SECONDS
    return (yield from receive(until=(b"\n",), seconds=seconds + ROUND_TRIPS * question.round_trip_seconds))


def _by_greeting(question: Question, greeting: bytes, *, is_encrypted: bool = False) -> Talk[Service]:
    for protocol in PROTOCOLS:
        if protocol.recognise is not None and protocol.read is not None and protocol.recognise(greeting):
            service = yield from protocol.read(question, greeting)
            if not is_encrypted:
                service = yield from with_tls(question, service, greeting)
            return replace(service, is_tls=is_encrypted)
    return replace(misunderstood(question, Received(greeting, End.DELIMITER), reason=UNKNOWN_GREETING), is_tls=is_encrypted)


def _by_asking(question: Question, *, is_connected: bool) -> Talk[Service]:
    best: Service | None = None
    for ask in _ways(question):
        if not is_connected and (trouble := (yield from connect(question.port))) is not None:
            return best or _failed(question, trouble)
        is_connected = False  # whatever comes of it, this connection is used up
        service = yield from ask(question)
        if service.state is ServiceState.IDENTIFIED:
            return service
        if best is None or _BETTER.index(service.state) < _BETTER.index(best.state):
            best = service
    return best or misunderstood(question, Received(b"", End.SILENCE))


def _end(shake: Handshake) -> End:
    return End.SILENCE if shake.error == NO_ANSWER else End.CLOSED


def _failed(question: Question, trouble: str) -> Service:
    return Service(port=question.port, state=ServiceState.FAILED, reason=f"no connection: {trouble}")


def _ways(question: Question) -> Iterator[Callable[[Question], Talk[Service]]]:
    """The usual first, then TLS, then HTTP; a URL that names the port says what is usual there."""
    port = question.port
    yield from (protocol.ask for protocol in PROTOCOLS if protocol.ask is not None and port in protocol.ports)
    if question.scheme == "http" or (question.scheme is None and is_web(port)):
        yield partial(http.ask, is_usual=True)
        yield _encrypted
    else:
        yield _encrypted
        yield http.ask


def _encrypted(question: Question) -> Talk[Service]:
    """The service inside TLS."""
    shake = yield from start_tls(question.name)
    if shake.error is not None:
        if not tls.is_tls(shake):
            return misunderstood(question, Received(shake.heard, _end(shake)))
        said = f"it speaks TLS, and the handshake failed: {shake.error}"
        return replace(identified(question, tls.TLS, b"", is_tls=True), reason=said)
    facts = tls_facts(question, shake)
    service = identified(question, tls.TLS, b"", is_tls=True)
    try:
        inside = yield from _inside(question)
        service = inside if inside.state is ServiceState.IDENTIFIED else replace(service, banner=inside.banner)
        if facts.legacy_versions is None:
            facts = replace(facts, legacy_versions=(yield from tls.legacy_versions(question)))
    except OutOfTime:
        pass  # the certificate is known, whatever else is not
    return replace(service, tls=facts)


def _inside(question: Question) -> Talk[Service]:
    """What is spoken inside TLS: a greeting where mail or files are usual, else HTTP if it is."""
    if category(question.port) in ("mail", "mail_cleartext", "file_transfer", "ssh"):
        greeting = yield from receive(until=(b"\n",), seconds=USUAL_GREETING_SECONDS)
        return (yield from _by_greeting(question, greeting.data, is_encrypted=True))
    is_usual = question.scheme == "https" or is_encrypted(question.port)
    return (yield from http.ask(question, is_encrypted=True, is_usual=is_usual))
