"""MySQL and MariaDB by the packet with which they greet, or refuse. Nothing is sent.

    length (3, little-endian)  sequence 0  0x0a  version NUL …     the handshake, protocol 10
    length (3, little-endian)  sequence 0  0xff  code (2)  words   an error instead of it

MySQL's "Connection Phase" and "ERR_Packet" describe both. 0x0a is also the newline that ends a greeting, so that of a
handshake only the first five bytes have been read when it comes here.
"""

from __future__ import annotations

import re

from scans.core.fingerprint.base import Protocol, identified, misunderstood
from scans.core.fingerprint.conversation import End, Question, Received, Talk, receive
from scans.core.fingerprint.cpe import cpe_of
from scans.core.types import Service

_HANDSHAKE = re.compile(rb"[\x20-\xff]\x00\x00\x00\n", re.DOTALL)
# Too many connections (1040, 1203), host blocked (1129), host not allowed (1130): all that comes before a handshake.
_REFUSAL = re.compile(rb"[\x10-\xff]\x00\x00\x00\xff[\x10\xb3\x69\x6a]\x04(?:#HY000|#08004)?(.*)", re.DOTALL)
_VERSION = re.compile(rb"([0-9][\x21-\x7e]{0,100})\x00")
# 5.5.5- stands before MariaDB's version up to 10.x, for replicas that would not know a 10.
_MARIADB = re.compile(r"(?:5\.5\.5-)?([0-9]+\.[0-9]+\.[0-9]+)-MariaDB(?:-.*)?")
_PLAIN = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-log)?")


def recognise(greeting: bytes) -> bool:
    """Whether a handshake or a refusal begins here."""
    return _HANDSHAKE.fullmatch(greeting) is not None or _REFUSAL.fullmatch(greeting) is not None


def read(question: Question, greeting: bytes) -> Talk[Service]:
    """Product and version of a handshake; of a refusal what its words name."""
    if refusal := _REFUSAL.fullmatch(greeting):
        return identified(question, MYSQL, refusal[1], product="MariaDB" if b"MariaDB" in refusal[1] else None)
    rest = yield from receive(most=greeting[0] - 1, seconds=0.5)
    said = _VERSION.match(rest.data)
    if said is None:
        return misunderstood(question, Received(greeting + rest.data, End.SILENCE))
    product, version = _product(said[1].decode("ascii"))
    return identified(question, MYSQL, said[1], product=product, version=version, cpe=cpe_of(product, version))


def _product(version: str) -> tuple[str | None, str]:
    """MySQL only where nothing points to another that speaks its protocol; even then a proxy may answer alike."""
    if mariadb := _MARIADB.fullmatch(version):
        return "MariaDB", mariadb[1]
    return ("MySQL" if _PLAIN.fullmatch(version) else None), version


MYSQL = Protocol(name="MySQL", technique="MySQL Greeting", recognise=recognise, read=read)
