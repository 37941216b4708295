"""What a protocol is, and the few lines that all of them share.

Two kinds: one that greets is recognised by its first words, on whatever port (`recognise` and `read`); one that waits to be
spoken to has a question of its own, tried where it is usual (`ask` and `ports`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scans.core.fingerprint.conversation import MAX_BANNER_BYTES, End, Question, Received, Talk
from scans.core.text import clean_text
from scans.core.types import Service, ServiceState

MAX_SAID_CHARS = 80  # of a product or a version
MAX_BANNER_CHARS = 500
_COOKIE = re.compile(rb"(set-cookie:[^=;\r\n]*=)[^;\r\n]*", re.IGNORECASE)
UNKNOWN_ANSWER = "it answers in a way that is not known here"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One language that services speak."""

    name: str  # as people write it
    technique: str  # how it was found out, for `testing_techniques`
    recognise: Callable[[bytes], bool] | None = None  # whether a greeting, at least its first line, is of this protocol
    read: Callable[[Question, bytes], Talk[Service]] | None = None  # what the greeting tells; may ask further
    ask: Callable[[Question], Talk[Service]] | None = None  # on a fresh connection; anything but identified: it is another
    ports: frozenset[int] = frozenset()  # where `ask` is tried


def identified(
    question: Question,
    protocol: Protocol,
    said: bytes,
    *,
    product: str | None = None,
    version: str | None = None,
    **more: Any,  # the fields of Service
) -> Service:
    """A service that is known, its words cleaned."""
    return Service(
        port=question.port,
        state=ServiceState.IDENTIFIED,
        protocol=protocol.name,
        product=said_text(product),
        version=said_text(version),
        banner=_banner(said),
        **more,
    )


def misunderstood(question: Question, answer: Received, *, reason: str = UNKNOWN_ANSWER) -> Service:
    """A service that spoke, but not this language; or said nothing at all; or hung up."""
    banner = _banner(answer.data)
    if answer.data:
        return Service(port=question.port, state=ServiceState.UNRECOGNISED, reason=reason, banner=banner)
    if answer.end is End.CLOSED:
        return Service(port=question.port, state=ServiceState.FAILED, reason="it closes the connection without a word")
    return Service(port=question.port, state=ServiceState.SILENT, reason="it said nothing, whatever was tried")


def _banner(said: bytes) -> str | None:
    return clean_text(without_cookie_values(said[:MAX_BANNER_BYTES]), limit=MAX_BANNER_CHARS) or None


def without_cookie_values(said: bytes) -> bytes:
    """The bytes of a reply as they may be kept: what a cookie holds may let its holder in."""
    return _COOKIE.sub(rb"\1[not kept]", said)


def said_text(said: str | bytes | None, *, limit: int = MAX_SAID_CHARS) -> str | None:
    """Clean text, or None if nothing is left of it."""
    return (clean_text(said, limit=limit) or None) if said else None
