"""TLS that begins in mid-conversation: SMTP, IMAP, POP3 and FTP are asked whether they would, and if so it is seen.

    SMTP  EHLO, then STARTTLS   RFC 3207    POP3  CAPA, then STLS  RFC 2595
    IMAP  CAPABILITY, STARTTLS  RFC 2595    FTP   AUTH TLS         RFC 4217

It goes on with the connection that greeted. What is sent holds nobody's name and no credential, and after the handshake
nothing is said any more: it was only looked at. A greeting that leaves in doubt what it is gets no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from scans.core.fingerprint.conversation import End, OutOfTime, Question, Talk, receive, send, start_tls
from scans.core.fingerprint.handshakes import tls_facts
from scans.core.ports import category
from scans.core.types import Service

MAX_LINES, MAX_LINE_BYTES = 50, 1024
REPLY_SECONDS = 2.0
# Of no host: who asks has no name that matters (RFC 5321, 4.1.4, wants one; no server may refuse a wrong one for that).
EHLO = b"EHLO scanner.invalid\r\n"
_MAIL = frozenset({"mail", "mail_cleartext"})
_USUAL: Mapping[str, frozenset[str]] = {"SMTP": _MAIL, "IMAP": _MAIL, "POP3": _MAIL, "FTP": frozenset({"file_transfer"})}


def with_tls(question: Question, service: Service, greeting: bytes) -> Talk[Service]:
    """The service with what a handshake shows, if it offers one and there is time for it."""
    offers = _OFFERS.get(service.protocol or "")
    if offers is None or not _is_certain(question, service, greeting):
        return service
    try:
        if not (yield from offers(greeting)):
            return service
        shake = yield from start_tls(question.name)
    except OutOfTime:
        return service
    if shake.error is not None:
        return replace(service, reason=f"it offers TLS, and the handshake failed: {shake.error}")
    return replace(service, tls=tls_facts(question, shake))


def _is_certain(question: Question, service: Service, greeting: bytes) -> bool:
    """Whether the greeting names its protocol or a product, or stands on one of the protocol's ports."""
    protocol = service.protocol or ""
    return (
        service.product is not None or protocol.encode() in greeting.upper() or category(question.port) in _USUAL[protocol]
    )


def _smtp(greeting: bytes) -> Talk[bool]:
    if not (yield from _greeted(greeting)):
        return False
    yield from send(EHLO)
    offered = yield from _coded()
    if not re.search(rb"^250[ -]STARTTLS\s*$", offered, re.MULTILINE | re.IGNORECASE):
        return False
    yield from send(b"STARTTLS\r\n")
    return _says((yield from _coded()), b"220")


def _ftp(greeting: bytes) -> Talk[bool]:
    if not (yield from _greeted(greeting)):
        return False
    yield from send(b"AUTH TLS\r\n")
    return _says((yield from _coded()), b"234")


def _imap(greeting: bytes) -> Talk[bool]:
    if not greeting.upper().startswith(b"* OK"):
        return False
    offered = greeting
    if b"[CAPABILITY" not in greeting.upper():
        yield from send(b"a CAPABILITY\r\n")
        offered = yield from _lines(rb"a ")
    if not re.search(rb"\bSTARTTLS\b", offered, re.IGNORECASE):
        return False
    yield from send(b"b STARTTLS\r\n")
    return re.search(rb"^b OK\b", (yield from _lines(rb"b ")), re.MULTILINE | re.IGNORECASE) is not None


def _pop3(greeting: bytes) -> Talk[bool]:
    yield from send(b"CAPA\r\n")
    offered = yield from _lines(rb"\.\r?\n|-ERR")
    if not re.search(rb"^STLS\s*$", offered, re.MULTILINE | re.IGNORECASE):
        return False
    yield from send(b"STLS\r\n")
    return (yield from _lines(rb"\+OK|-ERR")).startswith(b"+OK")


_OFFERS: Mapping[str, Callable[[bytes], Talk[bool]]] = {"SMTP": _smtp, "IMAP": _imap, "POP3": _pop3, "FTP": _ftp}
_CODED = re.compile(rb"[0-9]{3} ")


def _greeted(greeting: bytes) -> Talk[bool]:
    """Whether the greeting, which may have more lines than the first, ends as it should."""
    return _says(greeting if _CODED.match(greeting) else (yield from _coded()), b"220")


def _says(reply: bytes, code: bytes) -> bool:
    """Whether its last line has this number."""
    return reply.rstrip(b"\r\n").rpartition(b"\n")[2].startswith(code)


def _coded() -> Talk[bytes]:
    """A reply of numbered lines, up to the one without a hyphen after its number (RFC 5321, 4.2.1; RFC 959, 4.2)."""
    return (yield from _lines(_CODED.pattern))


def _lines(last: bytes) -> Talk[bytes]:
    """Lines up to and including one that begins so; nothing at all if none comes."""
    said = b""
    for _ in range(MAX_LINES):
        line = yield from receive(most=MAX_LINE_BYTES, until=(b"\n",), seconds=REPLY_SECONDS, idle_seconds=REPLY_SECONDS)
        if line.end is not End.DELIMITER:
            return b""
        said += line.data
        if re.match(last, line.data):
            return said
    return b""
