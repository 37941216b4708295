"""Telnet by the options that it begins to negotiate (RFC 854, 855). Nothing is answered, so a prompt rarely follows."""

from __future__ import annotations

import re

from scans.core.fingerprint.base import Protocol, identified
from scans.core.fingerprint.conversation import Question, Talk
from scans.core.types import Service

# IAC, then WILL, WON'T, DO or DON'T, then one of the options that IANA lists up to FORWARD_X (49).
_NEGOTIATION = re.compile(rb"\xff[\xfb-\xfe][\x00-\x31]")
_COMMANDS = re.compile(rb"\xff\xfa[^\xff]*\xff\xf0|\xff[\xfb-\xfe].|\xff[\xf0-\xf9]", re.DOTALL)


def recognise(greeting: bytes) -> bool:
    """Whether it begins with a negotiation."""
    return _NEGOTIATION.match(greeting) is not None


def read(question: Question, greeting: bytes) -> Talk[Service]:
    """The words between the commands, if any."""
    yield from ()
    return identified(question, TELNET, _COMMANDS.sub(b"", greeting))


TELNET = Protocol(name="Telnet", technique="Telnet Banner", recognise=recognise, read=read)
