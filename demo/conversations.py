"""What each service says: just enough of its protocol to be recognised, and never more than a few exchanges.

Each is a coroutine over a connection that `network` limits in time; products and versions are invented.
"""

from __future__ import annotations

import json
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise

Conversation = Callable[[StreamReader, StreamWriter], Awaitable[None]]

MAX_EXCHANGES = 20
MAX_HEADER_LINES = 100
SSL_REQUEST = 80877103  # PostgreSQL: sent in place of a protocol version (its manual, 54.7)
STARTUP_LIMIT = 10_000  # bytes of a startup packet, as in PostgreSQL itself
LOGIN_PAGE = (
    "<!doctype html><title>Example shop: sign in</title><h1>Example shop</h1>"
    '<form method="post"><input name="user"><input name="password" type="password"><button>Sign in</button></form>'
)
PLAIN_PAGE = "<!doctype html><title>Example status page</title><p>All is well."
CAREFUL_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
CLUSTER = {
    "name": "search-1",
    "cluster_name": "example-search",
    "version": {"number": "7.99.0", "build_flavor": "default", "lucene_version": "8.99.0"},
    "tagline": "You Know, for Search",
}


# --- HTTP --------------------------------------------------------------------------------------------------------


async def careless_web(reader: StreamReader, writer: StreamWriter) -> None:
    """A login form without encryption or one security header, and a server that names its version."""
    headers = {"Server": "ExampleHTTP/2.4.1", "Set-Cookie": "session=0123456789; Path=/"}
    await _http(reader, writer, LOGIN_PAGE, "text/html", headers)


async def tls_web(reader: StreamReader, writer: StreamWriter) -> None:
    """Behind the certificate that `certificate` makes."""
    await _http(reader, writer, LOGIN_PAGE, "text/html", {"Server": "ExampleHTTP/2.4.1"})


async def careful_web(reader: StreamReader, writer: StreamWriter) -> None:
    """Everything in its place."""
    await _http(reader, writer, PLAIN_PAGE, "text/html", CAREFUL_HEADERS)


async def search(reader: StreamReader, writer: StreamWriter) -> None:
    """Elasticsearch's greeting, to anyone."""
    await _http(reader, writer, json.dumps(CLUSTER), "application/json", {"X-Elastic-Product": "Elasticsearch"})


async def _http(reader: StreamReader, writer: StreamWriter, body: str, kind: str, headers: Mapping[str, str]) -> None:
    """One request, one answer, and the end."""
    method = (await reader.readline()).partition(b" ")[0]
    for _ in range(MAX_HEADER_LINES):
        if not (await reader.readline()).strip():
            break
    content = body.encode()
    known = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(content)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **known}.items())
    writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + (b"" if method == b"HEAD" else content))


# --- Who speaks first ----------------------------------------------------------------------------------------------


async def ssh(reader: StreamReader, writer: StreamWriter) -> None:
    """The identification line (RFC 4253, 4.2); then the client's, and goodbye."""
    writer.write(b"SSH-2.0-ExampleSSH_3.1 demo\r\n")
    await reader.readline()


async def ftp(reader: StreamReader, writer: StreamWriter) -> None:
    """Asks for a password, in the clear, and takes none."""
    replies = {b"USER": b"331 Password, please.", b"PASS": b"530 Not logged in.", b"QUIT": b"221 Goodbye."}
    writer.write(b"220 ExampleFTP 1.3.2 ready.\r\n")
    for _ in range(MAX_EXCHANGES):
        command = (await reader.readline()).split(None, 1)
        if not command:
            return
        verb = command[0].upper()
        writer.write(replies.get(verb, b"502 Not implemented.") + b"\r\n")
        if verb == b"QUIT":
            return


async def vnc(reader: StreamReader, writer: StreamWriter) -> None:
    """Protocol 3.8, and a password as the only security type (RFC 6143, 7.1)."""
    writer.write(b"RFB 003.008\n")
    if (await reader.read(12)).startswith(b"RFB "):
        writer.write(b"\x01\x02")
        await reader.read(1)


async def mysql(reader: StreamReader, writer: StreamWriter) -> None:
    """The greeting of protocol 10; whoever answers it is turned away."""
    greeting = (
        b"\x0a" + b"8.0.99-example\x00" + (7).to_bytes(4, "little") + b"\x11" * 8 + b"\x00"  # thread, half the salt
        b"\xff\xf7" + b"\x21" + b"\x02\x00" + b"\xff\x81" + b"\x15" + bytes(10) + b"\x22" * 12 + b"\x00"
        b"mysql_native_password\x00"
    )
    writer.write(_mysql_packet(greeting, number=0))
    if await reader.read(1024):
        writer.write(_mysql_packet(b"\xff\x15\x04#28000Access denied", number=2))


def _mysql_packet(payload: bytes, *, number: int) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


# --- Who waits -----------------------------------------------------------------------------------------------------


async def postgres(reader: StreamReader, writer: StreamWriter) -> None:
    """No TLS, and a password by SCRAM."""
    for _ in range(2):
        length = int.from_bytes(await reader.readexactly(4))
        if not 8 <= length <= STARTUP_LIMIT:
            return
        body = await reader.readexactly(length - 4)
        if int.from_bytes(body[:4]) != SSL_REQUEST:
            break
        writer.write(b"N")
    mechanisms = (10).to_bytes(4) + b"SCRAM-SHA-256\x00\x00"
    writer.write(b"R" + (len(mechanisms) + 4).to_bytes(4) + mechanisms)
    await reader.read(1024)


async def redis(reader: StreamReader, writer: StreamWriter) -> None:
    """Answers PING and INFO, inline or as an array, without asking who is there."""
    for _ in range(MAX_EXCHANGES):
        words = await _redis_command(reader)
        if not words:
            return
        writer.write(_redis_reply(words[0].upper()))


async def _redis_command(reader: StreamReader) -> list[bytes]:
    line = await reader.readline()
    if not line.startswith(b"*"):
        return line.split()
    lines = [await reader.readline() for _ in range(2 * min(int(line[1:]), MAX_EXCHANGES))]
    return [text.strip() for size, text in pairwise(lines) if size.startswith(b"$")]


def _redis_reply(command: bytes) -> bytes:
    if command == b"PING":
        return b"+PONG\r\n"
    if command == b"INFO":
        info = b"# Server\r\nredis_version:7.0.99\r\nredis_mode:standalone\r\nos:Example OS\r\ntcp_port:6379\r\n"
        return b"$%d\r\n%s\r\n" % (len(info), info)
    return b"-ERR unknown command\r\n"


CONVERSATIONS: Mapping[str, Conversation] = {
    conversation.__name__: conversation
    for conversation in (careless_web, tls_web, careful_web, search, ssh, ftp, vnc, mysql, postgres, redis)
}
BROKEN_OFF = (OSError, ValueError, IncompleteReadError)  # the client has gone, or does not speak the protocol
