"""Services that mean no good, each a few lines on a real socket: the one table of them, and a way to run them all.

    name ──► a behaviour ──► a port of 127.66.x.y, eight to an address, as many as one address is asked at a time

Whoever begins to listen to a drip or an endless one is let go by nobody but himself: it never stops by itself.
"""

from __future__ import annotations

import gzip
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import NamedTuple

from tests.core.fingerprint.asking import END_OF_REQUEST, Behaviour, dripping, hear, saying, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.servers import RESET_ON_CLOSE, public

GET, HELLO = END_OF_REQUEST, b"\x01"
OK, FOUND = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\n"
HTML, JSON, CHUNKED = (
    b"Content-Type: text/html\r\n",
    b"Content-Type: application/json\r\n",
    b"Transfer-Encoding: chunked\r\n",
)
ICON = b"Content-Type: image/x-icon\r\n"
MAIL = b"220 ESMTP\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n"  # all of its part, whatever it is told
SCRIPT = b"<script>alert(1)</script>"
ANSI, BIDI = b"\x1b[2J\x1b[31m\x1b]0;owned\x07", b"\xe2\x80\xaetxt.exe\xe2\x81\xa6"
FORMULA = b'=HYPERLINK("http://x.invalid","a")'
PER_ADDRESS = 8  # what FingerprintOptions.per_host allows at once: each has its turn at once
FIRST_ADDRESS = 100


# -- What they do ----------------------------------------------------------------------------------------------------


def hold(connection: socket.socket) -> None:
    """Wait for the other side to leave."""
    while connection.recv(65536):
        pass


def close(connection: socket.socket) -> None:
    """Leave in order."""


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


def half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    hold(connection)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def after(mark: bytes, said: bytes, then: Behaviour) -> Behaviour:
    """Hear, say, and then."""

    def behave(connection: socket.socket) -> None:
        hear(connection, mark)
        connection.sendall(said)
        then(connection)

    return behave


def endless(data: bytes, *, wait_for: bytes = b"", first: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket) -> None:
        hear(connection, wait_for)
        connection.sendall(first)
        while True:
            connection.sendall(data * (65536 // len(data) + 1))

    return behave


def restless(connection: socket.socket) -> None:
    """Another place after each request, for ever."""
    hear(connection, GET)
    connection.sendall(FOUND + b"Location: /%d\r\n\r\n" % time.monotonic_ns())


def urgent(connection: socket.socket) -> None:
    """Out-of-band bytes, which are read apart."""
    for n in range(200):
        connection.send(bytes([n]), socket.MSG_OOB)
    hold(connection)


def truncated(context: ssl.SSLContext, size: int, then: Behaviour) -> Behaviour:
    """The first bytes of what a server really answers to this very greeting of TLS."""

    def behave(connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = context.wrap_bio(incoming, outgoing, server_side=True)
        while not outgoing.pending:
            incoming.write(hear(connection, HELLO))
            with suppress(ssl.SSLWantReadError):
                inside.do_handshake()
        connection.sendall(outgoing.read()[:size])
        then(connection)

    return behave


def page(body: bytes, *headers: bytes, kind: bytes = HTML, then: Behaviour = close) -> Behaviour:
    return after(GET, OK + kind + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body, then)


def with_icon(answer: Behaviour) -> Behaviour:
    """A page like any other, and this for its icon."""

    def behave(connection: socket.socket) -> None:
        if b"GET /favicon.ico " in hear(connection, GET):
            answer(connection)
        else:
            connection.sendall(OK + HTML + b"Content-Length: 16\r\n\r\n<title>a</title>")

    return behave


def leading(location: bytes) -> Behaviour:
    return after(GET, FOUND + b"Location: " + location + b"\r\n\r\n", close)


def shown(*chain, **more) -> Behaviour:
    """A page behind these certificates."""
    return encrypted(page(b"<title>inside</title>"), server_context(*chain, **more))


def demanding() -> ssl.SSLContext:
    """One that wants a certificate of whoever asks."""
    context = server_context(make())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


# -- The table -------------------------------------------------------------------------------------------------------

AUTHORITY = make("Authority of nobody")
PLAIN = server_context(make())
BOMB = gzip.compress(b"<title>x</title>" + bytes(30_000_000))  # 30 kB that become 30 MB
DRAFT = b"HTTP/1.1 200 OK\r\nX: y\r\n"

HOSTILE: dict[str, Behaviour] = {
    # Silence and ends, in every state
    "says nothing": hold,
    "closes at once": close,
    "closes after the question": after(HELLO, b"", close),
    "closes its half": half_close,
    "closes its half after a word": after(b"", b"220 hello", half_close),
    "closes its half after the headers": after(GET, OK + HTML + b"\r\n", half_close),
    "resets at once": reset,
    "resets after a word": after(b"", b"220 hello", reset),
    "resets after a greeting": after(b"", b"220 hello FTP\r\n", reset),
    "resets after the question": after(GET, b"", reset),
    "resets amid the status": after(GET, b"HTTP/1.1 20", reset),
    "resets amid the headers": after(GET, OK + b"Server: ngi", reset),
    "resets amid the body": after(GET, OK + HTML + b"Content-Length: 9999\r\n\r\n<title>a</title>", reset),
    "resets amid a chunk": after(GET, OK + HTML + CHUNKED + b"\r\nff\r\n<title>a</title>", reset),
    "resets amid the handshake": truncated(PLAIN, 60, reset),
    "resets once it is encrypted": encrypted(reset, PLAIN),
    "resets amid an encrypted page": encrypted(after(GET, OK + HTML + b"\r\n<title>", reset), PLAIN),
    "sends bytes out of band": urgent,
    # Drips
    "drips a greeting": dripping(b"220-more\r", seconds=0.2),
    "drips empty lines": dripping(b"\r\n", seconds=0.1),
    "drips a status line": dripping(b"HTTP/1.1 200 OK and more ", seconds=0.1, wait_for=GET),
    "drips headers": dripping(b"HTTP/1.1 200 OK\r\nX: ", seconds=0.05, wait_for=GET),
    "drips a body": dripping(OK + HTML + b"\r\n<title>x", seconds=0.01, wait_for=GET),
    "drips the size of a chunk": after(GET, OK + HTML + CHUNKED + b"\r\n", dripping(b"0", seconds=0.1)),
    "drips a chunk": after(GET, OK + HTML + CHUNKED + b"\r\nffffff\r\n", dripping(b"<b>", seconds=0.1)),
    "drips a document": after(GET, OK + JSON + b"\r\n", dripping(b'{"a":', seconds=0.1)),
    "drips a handshake": after(HELLO, b"\x16\x03\x03\x40\x00", dripping(b"\x02", seconds=0.1)),
    "drips records": after(HELLO, b"", dripping(b"\x16\x03\x03\x00\x01\x02", seconds=0.05)),
    "drips encrypted headers": encrypted(dripping(DRAFT, seconds=0.1, wait_for=GET), PLAIN),
    "drips an encrypted body": encrypted(after(GET, OK + HTML + b"\r\n", dripping(b"<b>", seconds=0.1)), PLAIN),
    "begins like MySQL and drips": dripping(b"\xff\0\0\0\n8", seconds=0.2),
    "negotiates drop by drop": dripping(b"\xff\xfd\x01", seconds=0.1),
    # What never ends, and what is too large
    "never stops greeting": endless(b"x"),
    "never stops greeting in lines": endless(b"220-more\r\n"),
    "never stops its headers": endless(DRAFT, wait_for=GET),
    "never stops one header": endless(b"y", first=OK + b"X-Filler: ", wait_for=GET),
    "floods headers": page(b"", *[b"X-%d: y" % n for n in range(60_000)]),
    "floods cookies": page(b"", *[b"Set-Cookie: c%d=v; Path=/" % n for n in range(5_000)]),
    "never stops its body": endless(b"<html>", first=OK + HTML + b"\r\n", wait_for=GET),
    "never stops its chunks": endless(b"1\r\nx\r\n", first=OK + HTML + CHUNKED + b"\r\n", wait_for=GET),
    "announces a chunk of 4 GB": endless(b"x", first=OK + HTML + CHUNKED + b"\r\nffffffff\r\n", wait_for=GET),
    "announces a body of no length": page(b"<title>x</title>", b"Content-Length: " + b"9" * 400),
    "announces a body below nothing": page(b"<title>x</title>", b"Content-Length: -1"),
    "never stops its document": endless(b"[", first=OK + JSON + b"\r\n", wait_for=GET),
    "nests its document": page(b'{"a":' * 12_000, kind=JSON),
    "gives an endless number": page(b'{"version":' + b"9" * 60_000 + b"}", kind=JSON),
    "never stops continuing": endless(b"HTTP/1.1 100 Continue\r\n\r\n", wait_for=GET),
    "never stops its handshake": endless(b"\x16\x03\x03\x40\x00\x0b", wait_for=HELLO),
    "never stops warning": endless(b"\x15\x03\x03\x00\x02\x01\x00", wait_for=HELLO),
    "never stops inside TLS": encrypted(endless(b"x", wait_for=GET), PLAIN),
    "negotiates for ever": endless(b"\xff\xfd\x01"),
    "gives a title without end": page(b"<title>" + b"t" * 1_000_000),
    "opens tags without end": page(b"<title <input type " * 50_000),
    "sends a bomb": page(BOMB, b"Content-Encoding: gzip"),
    "sends a bomb in chunks": page(b"%x\r\n" % len(BOMB) + BOMB, b"Transfer-Encoding: gzip, chunked"),
    "sends an encrypted bomb": encrypted(page(BOMB, b"Content-Encoding: gzip"), PLAIN),
    "drips its icon": with_icon(after(b"", OK + ICON + b"Content-Length: 60000\r\n\r\n", dripping(b"i", seconds=0.1))),
    "never stops its icon": with_icon(endless(b"i", first=OK + ICON + b"\r\n")),
    "never stops the headers of its icon": with_icon(endless(DRAFT)),
    "gives a bomb for an icon": with_icon(after(b"", OK + ICON + b"Content-Encoding: gzip\r\n\r\n" + BOMB, close)),
    "gives an icon too large": with_icon(after(b"", OK + ICON + b"Content-Length: 9000000\r\n\r\n" + BOMB * 100, close)),
    "resets amid its icon": with_icon(after(b"", OK + ICON + b"Content-Length: 9\r\n\r\nicon", reset)),
    "moves its icon to the metadata": with_icon(after(b"", FOUND + b"Location: http://169.254.169.254/\r\n\r\n", close)),
    # Where they want to lead
    "leads to the metadata": leading(b"http://169.254.169.254/latest/meta-data/"),
    "leads to a file": leading(b"file:///etc/passwd"),
    "leads to Gopher": leading(b"gopher://127.0.0.1:6379/_FLUSHALL"),
    "leads to a script": leading(b"javascript:alert(1)"),
    "leads to itself": leading(b"/"),
    "leads on and on": restless,
    "leads to another address": leading(b"http://192.0.2.1/"),
    "leads to the database": leading(b"http://127.0.0.1:5432/"),
    "leads past an @": leading(b"http://127.0.0.1@192.0.2.1/"),
    "leads to a second request": leading(b"/a\rX-More: 1\r/b\x0b%0d%0aHost: x.invalid"),
    "leads to a name it wrote backwards": leading(BIDI + SCRIPT),
    # Certificates and handshakes
    "shows 10,000 names": shown(make(names=[f"{n:x}" for n in range(10_000)])),
    "shows 10,000 long names": shown(make(names=[f"{'n' * 50}{n}.invalid" for n in range(10_000)])),
    "shows a chain of 1 MB": shown(
        make(issuer=AUTHORITY), make(names=[f"{'n' * 60}{n}.invalid" for n in range(14_000)], issuer=AUTHORITY)
    ),
    "shows itself forty times": shown(*[make("ring.invalid")] * 40),
    "shows words that act": shown(make("\x1b[31m\u202e<script>alert(1)</script>", names=["a.invalid"])),
    "shows a formula": shown(make('=cmd|" /C calc"!A0', names=["xn--a", "a.invalid"])),
    "wants a certificate": encrypted(page(b"<title>inside</title>"), demanding()),
    "ends a handshake after a byte": truncated(PLAIN, 1, close),
    "ends a handshake after a record's head": truncated(PLAIN, 5, close),
    "ends a handshake amid a message": truncated(PLAIN, 50, half_close),
    "ends a handshake amid the certificate": truncated(server_context(make(), highest=ssl.TLSVersion.TLSv1_2), 300, close),
    "falls silent amid the handshake": truncated(PLAIN, 200, hold),
    "answers TLS with an alert": after(HELLO, b"\x15\x03\x01\x00\x02\x02\x28", close),
    "answers TLS with an empty record": after(HELLO, b"\x16\x03\x03\x00\x00", hold),
    "answers TLS with a record too long": after(HELLO, b"\x16\x03\x03\xff\xff" + bytes(70_000), hold),
    # Words that act on whoever reads them
    "greets with a script": saying(b"220 " + SCRIPT + b" FTP\r\n"),
    "greets with ANSI": saying(b"220 " + ANSI + b" FTP\r\n"),
    "greets with bidi": saying(b"220 " + BIDI + b" FTP\r\n"),
    "greets with NUL": saying(b"220 a\x00b\x00 FTP\r\n"),
    "greets with invalid UTF-8": saying(b"220 \xff\xfe\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 FTP\r\n"),
    "greets with a formula": saying(FORMULA + b"\r\n"),
    "greets as SSH with a script": saying(b"SSH-2.0-" + SCRIPT + b"_1.0\r\n"),
    "greets as SSH with a formula": saying(b"SSH-2.0-=1+1|cmd'!A0\r\n"),
    "gives its page a title that acts": page(b"<title>&lt;script&gt;x()&lt;/script&gt;" + ANSI + BIDI + b"\x00</title>"),
    "gives its page a title with a script in it": page(b"<title>" + SCRIPT + b"</title>" + SCRIPT),
    "gives its page a formula": page(b"<title>" + FORMULA + b"</title>", b"Server: =1+1/2", b"X-Powered-By: @SUM(A1)"),
    "names a generator that acts": page(
        b'<meta name="generator" content="WordPress 6' + SCRIPT + b'"><meta name=generator content="Drupal ' + BIDI + b'">',
        b"X-Powered-By: PHP/8<b>" + ANSI,
        b"X-Jenkins: =1+1",
    ),
    "gives headers that act": page(
        b"",
        b"Server: " + SCRIPT + ANSI + BIDI,
        b"X-Powered-By: " + SCRIPT,
        b"Set-Cookie: " + SCRIPT + b"=1; SameSite=" + SCRIPT,
        b"Content-Security-Policy: " + SCRIPT + b"\x00\xff",
        kind=b"Content-Type: text/html" + SCRIPT + b"\r\n",
    ),
    "gives a document that acts": page(
        b'{"couchdb":"Welcome","version":"<script>\\u202e\\u0000\\ud800",'
        b'"vendor":{"name":"The Apache Software Foundation"}}',
        kind=JSON,
    ),
    # Mail and file servers that offer TLS
    "offers TLS and says nothing": saying(MAIL),
    "offers TLS and drips": after(b"", MAIL, dripping(b"\x16\x03\x03", seconds=0.1)),
    "offers TLS and never stops": after(b"", MAIL, endless(b"\x16\x03\x03\x40\x00\x0b", wait_for=HELLO)),
    "offers TLS and resets": after(b"", b"220 FTP\r\n234 go\r\n", reset),
    "offers TLS and goes on in the clear": saying(b"220 FTP\r\n234 go\r\n230 " + SCRIPT + b"\r\n" * 100),
    "drips its offer": after(b"", b"220 ESMTP\r\n", dripping(b"250-STARTTLS\r\n", seconds=0.05)),
    "never stops offering": endless(b"250-STARTTLS\r\n", first=b"220 ESMTP\r\n"),
    "never stops its list of abilities": endless(b"STLS\r\n", first=b"+OK POP3\r\n+OK\r\n"),
    "offers in one endless line": endless(b"STARTTLS ", first=b"* OK IMAP\r\n* CAPABILITY "),
    "offers TLS inside TLS": encrypted(saying(MAIL), PLAIN),
    # Another language than the one asked for
    "answers garbage": saying(bytes(range(256)) * 20, wait_for=HELLO),
    "answers with what was asked": echo,
    "answers with what was asked inside TLS": encrypted(echo, PLAIN),
    "answers as SSH": saying(b"SSH-2.0-OpenSSH_9.2p1\r\n", wait_for=GET),
    "answers as Redis": saying(b"-ERR wrong number of arguments\r\n", wait_for=GET),
    "answers as a radio": saying(b"ICY 200 OK\r\nicy-name: x\r\n\r\n", wait_for=GET),
    "answers without headers": saying(b"<title>old</title>", wait_for=GET),
    "answers in HTTP/2": saying(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18) + b"\0\0\x08\x07" + bytes(13), wait_for=GET),
    "answers before it is asked": saying(b"HTTP/1.1 408 Request Timeout\r\n\r\n"),
    "answers as TLS inside TLS": encrypted(saying(b"\x15\x03\x03\x00\x02\x02\x28", wait_for=GET), PLAIN),
    "says MySQL's length and nothing": saying(struct.pack("<I", 0xFFFFFF) + b"\x0a"),
    "says Redis' length and nothing": saying(b"$2147483647\r\n", wait_for=b"PING"),
    "encrypts PostgreSQL by word only": saying(b"S", wait_for=b"\x04\xd2\x16\x2f"),
    "never stops its version": endless(b"VERSION 1 ", wait_for=b"version"),
    "drips PostgreSQL's refusal": dripping(b"E\0\0\xff\xff", seconds=0.1),
}

# Those that are asked in another way where their language is usual.
PORTS = {
    "says Redis' length and nothing": 6379,
    "encrypts PostgreSQL by word only": 5432,
    "drips PostgreSQL's refusal": 5432,
    "never stops its version": 11211,
    "nests its document": 2379,
    "says MySQL's length and nothing": 3306,
}


class Place(NamedTuple):
    """Where one of them listens."""

    address: str
    port: int


@contextmanager
def all_serving(*, first: int = FIRST_ADDRESS) -> Iterator[dict[str, Place]]:
    """All of them for the length of the block, by name."""
    addresses = -(-len(HOSTILE) // PER_ADDRESS)
    with ExitStack() as stack:
        places = {}
        for name, behave, number in zip(HOSTILE, HOSTILE.values(), count()):
            address = public(first + number % addresses)  # neighbours of the table apart: some want the same port
            places[name] = Place(address, stack.enter_context(serving(behave, address, PORTS.get(name, 0))).port)
        yield places


def by_address(places: dict[str, Place]) -> dict[str, list[int]]:
    """The ports of each address."""
    ports: dict[str, list[int]] = {}
    for place in places.values():
        ports.setdefault(place.address, []).append(place.port)
    return ports
