"""TLS: one handshake to see version, cipher and certificate, and one more that offers old versions only.

What is spoken inside is asked by `identify`, on the connection that the first handshake made.
"""

from __future__ import annotations

from scans.core.fingerprint.base import Protocol
from scans.core.fingerprint.conversation import Handshake, Question, Talk, connect, start_tls


def legacy_versions(question: Question) -> Talk[tuple[str, ...] | None]:
    """Which of TLS 1.0 and 1.1 the server takes, if offered nothing newer; None if it could not be asked.

    One that takes both is seen with the better. RFC 8996 forbids either.
    """
    if (yield from connect(question.port)) is not None:
        return None
    shake = yield from start_tls(question.name, is_legacy=True)
    if shake.error is None:
        return (shake.version,)
    return () if is_refusal(shake) else None


def is_tls(shake: Handshake) -> bool:
    """Whether the server answered in TLS, however the handshake went on: a handshake or an alert record."""
    return shake.heard[:2] in (b"\x16\x03", b"\x15\x03")


def is_refusal(shake: Handshake) -> bool:
    """Whether the server said that it does not want this version: an alert record, protocol_version (RFC 8446, 6).

    Any other alert may be about what else we offered: a server may take old versions with ciphers that we leave out.
    """
    return shake.heard[:2] == b"\x15\x03" and shake.heard[6:7] == b"\x46"


TLS = Protocol(name="TLS", technique="SSL/TLS Handshake")
