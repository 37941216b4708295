"""FTP, SMTP, POP3, IMAP, VNC and rsync by the line with which they greet. Nothing is sent here; see starttls.py.

RFC 959, 5321, 1939, 3501 and 6143 (7.1.1), csprotocol.txt of rsync. VNC and rsync say the version of their protocol, not of
a product. The words after a code are free text: a product is named only where its usual greeting is known; anything else
stays unknown rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from scans.core.fingerprint.base import Protocol, identified
from scans.core.fingerprint.conversation import Question, Talk
from scans.core.fingerprint.cpe import cpe_of
from scans.core.ports import category
from scans.core.types import Service

# What begins with 220 may be FTP or SMTP: the words decide, then the port (see _is_220).
_SAYS_SMTP = re.compile(rb"\bE?SMTP\b|\bLMTP\b|postfix|exim|sendmail", re.IGNORECASE)
_SAYS_FTP = re.compile(rb"FTP|FileZilla", re.IGNORECASE)

# Patterns of the products' own default greetings; the first group, where there is one, is the version.
_PRODUCTS: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("vsftpd", re.compile(rb"\(vsFTPd (\d[\w.]{0,20})\)")),
    ("ProFTPD", re.compile(rb"ProFTPD (?:(\d[\w.]{0,20}) )?Server")),
    ("Pure-FTPd", re.compile(rb"Welcome to Pure-FTPd")),
    ("FileZilla Server", re.compile(rb"FileZilla Server (?:version )?(\d[\w.]{0,20})?")),
    ("Microsoft FTP Service", re.compile(rb"Microsoft FTP Service")),
    ("Postfix", re.compile(rb"ESMTP Postfix")),
    ("Exim", re.compile(rb"ESMTP Exim (\d[\w.]{0,20})")),
    ("Sendmail", re.compile(rb"ESMTP Sendmail (\d[\w./]{0,20})")),
    ("OpenSMTPD", re.compile(rb"ESMTP OpenSMTPD")),
    ("Microsoft ESMTP MAIL Service", re.compile(rb"Microsoft ESMTP MAIL Service(?:, Version: (\d[\w.]{0,20}))?")),
    ("Dovecot", re.compile(rb"Dovecot")),
    ("Courier", re.compile(rb"Courier-IMAP")),
    ("Cyrus", re.compile(rb"Cyrus (?:IMAP|POP3)4? v?(\d[\w.]{0,20})?")),
)


def read(question: Question, greeting: bytes, *, name: str) -> Talk[Service]:
    """Product and version, where the greeting names them."""
    yield from ()
    protocol = next(protocol for protocol in (FTP, SMTP, POP3, IMAP, VNC, RSYNC) if protocol.name == name)
    if name == "FTP" and not _SAYS_FTP.search(greeting) and category(question.port) in ("mail", "mail_cleartext"):
        protocol = SMTP
    for product, pattern in _PRODUCTS:
        if match := pattern.search(greeting):
            version = match[1].decode("ascii", "replace") if match.lastindex else None
            return identified(question, protocol, greeting, product=product, version=version, cpe=cpe_of(product, version))
    return identified(question, protocol, greeting)


def _is_ftp(greeting: bytes) -> bool:
    """A bare 220 is taken for FTP's, whose greeting need not name it; `read` looks at the port as well."""
    return greeting.startswith((b"220 ", b"220-")) and not (_SAYS_SMTP.search(greeting) and not _SAYS_FTP.search(greeting))


def _is_smtp(greeting: bytes) -> bool:
    return greeting.startswith((b"220 ", b"220-")) and not _is_ftp(greeting)


def _starts(*words: bytes) -> Callable[[bytes], bool]:
    return lambda greeting: greeting.upper().startswith(words)


def _line(pattern: bytes) -> Callable[[bytes], bool]:
    return lambda greeting: re.match(pattern, greeting) is not None


def _greeter(name: str, recognise: Callable[[bytes], bool]) -> Protocol:
    return Protocol(name=name, technique=f"{name} Banner", recognise=recognise, read=partial(read, name=name))


FTP = _greeter("FTP", _is_ftp)
SMTP = _greeter("SMTP", _is_smtp)
POP3 = _greeter("POP3", _starts(b"+OK"))
IMAP = _greeter("IMAP", _starts(b"* OK", b"* PREAUTH", b"* BYE"))
VNC = _greeter("VNC", _line(rb"RFB \d{3}\.\d{3}\n"))
RSYNC = _greeter("rsync", _line(rb"@RSYNCD: \d{1,3}(?:\.\d{1,3})?[ \n]"))
