"""Listens for every service, in one thread with one event loop; drops SYNs where a port is to be filtered.

A connection ends after CONVERSATION_SECONDS; beyond MAX_CONNECTIONS at once further ones are closed unanswered. The
thread is a daemon and the sockets are the process's own: nothing here outlives it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from demo.conversations import BROKEN_OFF, CONVERSATIONS, Conversation
from demo.scenery import Service

CONVERSATION_SECONDS = 3
MAX_CONNECTIONS = 200
LISTEN_SECONDS = 5
BACKLOG = 128


class TakenError(Exception):
    """A port of the demo cannot be had; the text says which, and what to do."""

    code = 1


class Network:
    """Open and filtered ports, until the block ends."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections = 0
        self._servers: list[asyncio.Server] = []
        self._sockets = ExitStack()

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(LISTEN_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LISTEN_SECONDS)
        self._loop.close()
        self._sockets.close()

    def open(self, services: Iterable[Service]) -> None:
        """Listen, from now on. Raises TakenError."""
        for service in services:
            listening = self._sockets.enter_context(_bound(service.address, service.port))
            serving = self._serve(listening, service.speaks)
            asyncio.run_coroutine_threadsafe(serving, self._loop).result(LISTEN_SECONDS)

    def filter(self, places: Iterable[tuple[str, int]]) -> None:
        """Drop every SYN there: the queue has room for one connection, and we hold that. Raises TakenError."""
        for place in places:
            listening = self._sockets.enter_context(_bound(*place))
            listening.listen(0)
            self._sockets.enter_context(socket.create_connection(place, timeout=LISTEN_SECONDS))

    def has_ipv6(self) -> bool:
        """Whether this machine has a loopback of that kind, too."""
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return False
        return True

    async def _serve(self, listening: socket.socket, speaks: str) -> None:
        converse = self._limited(CONVERSATIONS[speaks])
        tls = self._tls if speaks.startswith("tls") else None
        handshake_seconds = CONVERSATION_SECONDS if tls else None
        server = await asyncio.start_server(
            converse, sock=listening, ssl=tls, ssl_handshake_timeout=handshake_seconds, backlog=BACKLOG
        )
        self._servers.append(server)

    def _limited(self, conversation: Conversation) -> Conversation:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connections += 1
            try:
                if self._connections <= MAX_CONNECTIONS:
                    async with asyncio.timeout(CONVERSATION_SECONDS):
                        await conversation(reader, writer)
                        await writer.drain()
            except BROKEN_OFF:  # TimeoutError is an OSError
                pass
            finally:
                self._connections -= 1
                with suppress(OSError):
                    writer.close()

        return converse

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last demo may linger
    try:
        listening.bind((address, port))
    except OSError as error:
        listening.close()
        raise TakenError(_refusal(error, address, port)) from error
    return listening


def _refusal(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {address} is taken: stop the other demo, or the service that listens on this port of all "
            f"addresses (ss -ltn 'sport = :{port}' shows it), and try again."
        )
    return f"Port {port} on {address} cannot be listened on ({error.strerror}): the demo needs Linux's whole 127.0.0.0/8."
