"""One conversation over a real connection: it does what the generator wishes, and holds it to every limit.

    generator ──wish──► Call ──bytes──► (TLS) ──► socket, never blocking
              ◄─answer─

Nothing here waits. The lane's loop calls `on_ready` when the socket has news and `on_time` when `due_at` has come; in
between the call costs nothing. The deadline is absolute: however slowly the bytes drip, then the conversation is over.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from scans.core.fingerprint.base import without_cookie_values
from scans.core.fingerprint.conversation import (
    NO_ANSWER,
    Answer,
    Connect,
    End,
    Handshake,
    OutOfTime,
    Question,
    Receive,
    Received,
    Send,
    StartTls,
    Talk,
    Wish,
)
from scans.core.fingerprint.usual import is_hands_off
from scans.core.probe.sockets import OUT_OF_DESCRIPTORS
from scans.core.tools import Pace
from scans.core.types import IPAddress, Service, ServiceState

if TYPE_CHECKING:
    from scans.core.fingerprint.tls_session import TlsSession

log = logging.getLogger(__name__)

CHUNK_BYTES = 16 * 1024
MAX_BYTES = 256 * 1024  # received in one conversation, TLS records and all; of certificates OpenSSL takes 100 KiB
MAX_EVIDENCE_BYTES = 256
MAX_CONNECTS = 12  # the ways to ask, redirects and all
CONNECT_SECONDS = 2.0
REST_SECONDS = 0.1  # after the system had no descriptor left
HANDSHAKE_SECONDS = 1.0  # and some round trips; until it is complete
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
LATE = "it did not finish in time"
NO_TURN = "the rate of connections left it no turn in time"
NO_DESCRIPTOR = "this machine had no descriptor left"


class _Waits(Enum):
    YES = "the answer comes later"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a call stands on: the loop's selector and clock, the scope policy, and the pace of connections."""

    selector: selectors.BaseSelector
    clock: Callable[[], float]
    may_connect: Callable[[IPAddress], bool]
    pace: Pace | None = None


class Call:
    """One conversation. `service` is None until it has ended."""

    def __init__(
        self, question: Question, talk: Talk[Service], connection: socket.socket | None, ground: Ground, *, seconds: float
    ) -> None:
        self.question = question
        self.service: Service | None = None
        self._talk = talk
        self._ground = ground
        self._began_at = ground.clock()
        self._deadline = self._began_at + seconds
        self._wish: Wish | None = None
        self._wish_due = self._deadline
        self._held_since: float | None = None  # waits until it may connect; meanwhile its time stands still
        self._socket: socket.socket | None = None
        self._port = question.port
        self._tls: TlsSession | None = None
        self._in, self._out = bytearray(), bytearray()  # received in the clear and not yet asked for; still to be sent
        self._searched = 0  # how much of what was received holds no delimiter
        self._heard = b""  # the first bytes of a handshake's reply
        self._evidence = b""
        self._received = self._connects = 0
        if connection is not None:
            self._adopt(connection, READ)

    @property
    def due_at(self) -> float:
        """When `on_time` is to be called, if nothing else happens."""
        return self._wish_due if self.is_held else min(self._deadline, self._wish_due)

    @property
    def is_held(self) -> bool:
        """Whether it waits until the rate allows a connection."""
        return self._held_since is not None

    def begin(self) -> None:
        """Start the conversation."""
        self._go_on(None)

    def on_ready(self, mask: int) -> None:
        """The socket has news."""
        if isinstance(self._wish, Connect):
            self._connected()
            return
        if mask & WRITE:
            self._flush()
        if mask & READ:
            self._read()
        self._look()

    def on_time(self) -> None:
        """What was waited for has not come in time, or the time of the whole service is up."""
        wish, is_over = self._wish, not self.is_held and self._ground.clock() >= self._deadline
        if isinstance(wish, Receive):
            self._go_on(self._taken(len(self._in), End.DEADLINE if is_over else End.SILENCE))
        elif isinstance(wish, StartTls):
            self._go_on(Handshake(NO_ANSWER, self._heard))
        elif isinstance(wish, Connect):
            self._late_to_connect(wish, is_over=is_over)

    def cut(self, why: str) -> None:
        """End it now, whatever it is doing. Who only waits for another connection may still tell what it knows."""
        if self.is_held:
            self._release()
            self._deadline = self._ground.clock()  # for whatever else it may wish
            self._go_on(NO_TURN)
        if self.service is None:
            self._end(Service(port=self.question.port, state=ServiceState.TIMED_OUT, reason=why))

    # -- The conversation -------------------------------------------------------------------------------------------

    def _go_on(self, answer: Answer) -> None:
        """Give the generator its answer, and do what it wishes until it has to wait or is done."""
        done: Answer | _Waits = answer
        try:
            while done is not _Waits.YES:
                self._wish = self._talk.send(done)
                while self._ground.clock() >= self._deadline:
                    self._wish = self._talk.throw(OutOfTime())
                done = self._do(self._wish)
        except StopIteration as ended:
            self._end(ended.value)
        except OutOfTime:
            self.cut(LATE)
        except Exception as error:  # noqa: BLE001 - a reader that trips over what a stranger sent costs this service alone
            log.warning("port %d: its answer could not be read (%s)", self.question.port, type(error).__name__)
            why = "its answer could not be read"
            self._end(Service(port=self.question.port, state=ServiceState.FAILED, reason=why))

    def _do(self, wish: Wish) -> Answer | _Waits:
        if isinstance(wish, Send | StartTls) and is_hands_off(self._port):
            self._close()  # whichever protocol it was that forgot: the last word is here
            return None if isinstance(wish, Send) else Handshake("nothing is sent to this port")
        match wish:
            case Send():
                self._put(wish.data)
                return None
            case Receive():
                self._wish_due, self._searched = self._ground.clock() + wish.seconds, 0
                return self._answer_from_buffer(wish)
            case StartTls():
                return self._start_tls(wish)
            case Connect():
                self._close()
                return self._connect(wish)

    def _end(self, service: Service) -> None:
        """The one way out: the conversation is over, and nothing of it stays open."""
        self._talk.close()
        self._close()
        self._release()
        self.service = replace(
            service,
            evidence=escaped(without_cookie_values(self._evidence or self._heard)),
            elapsed_ms=round((self._ground.clock() - self._began_at) * 1000),
        )

    # -- Receiving --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Go on, if what came is what was waited for."""
        wish = self._wish
        if self.service is not None:
            return
        if isinstance(wish, Receive):
            answer: Answer | _Waits = self._answer_from_buffer(wish)
        elif isinstance(wish, StartTls):
            answer = self._shake()
        else:
            return
        if answer is not _Waits.YES:
            self._go_on(answer)

    def _answer_from_buffer(self, wish: Receive) -> Answer | _Waits:
        found = [
            at + len(mark) for mark in wish.until if (at := self._in.find(mark, max(0, self._searched - len(mark)))) >= 0
        ]
        self._searched = len(self._in)
        if found and min(found) <= wish.most:
            return self._taken(min(found), End.DELIMITER)
        if len(self._in) >= wish.most:
            return self._taken(wish.most, End.FULL)
        return self._taken(len(self._in), End.CLOSED) if self._socket is None else _Waits.YES

    def _taken(self, count: int, end: End) -> Received:
        data = bytes(self._in[:count])
        del self._in[:count]
        return Received(data, end)

    def _read(self) -> None:
        """One chunk from the socket; more will be news again."""
        if self._socket is None:
            return
        try:
            data = self._socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # reset
            data = b""
        self._received += len(data)
        is_over = not data or self._received > MAX_BYTES
        if self._tls is None:
            self._arrived(data)
        else:
            is_over = self._read_tls(self._tls, data) or is_over
        if is_over:
            self._close(keep_tls=True)

    def _read_tls(self, tls: TlsSession, data: bytes) -> bool:
        """Pass bytes to TLS, and on what it makes of them. True at the end of the stream."""
        self._heard = self._heard or data[:MAX_EVIDENCE_BYTES]
        if data:
            tls.feed(data)
        else:
            tls.end()
        if isinstance(self._wish, StartTls):
            return False
        plain, is_over = tls.read()
        self._arrived(plain)
        return is_over

    def _arrived(self, data: bytes) -> None:
        if data and isinstance(self._wish, Receive):
            self._wish_due = self._ground.clock() + self._wish.idle_seconds
        self._in += data
        self._evidence = (self._evidence + data)[:MAX_EVIDENCE_BYTES]

    # -- Sending ----------------------------------------------------------------------------------------------------

    def _put(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._tls.output()
        self._out += data
        self._flush()

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._out) if self._out else 0
        except BlockingIOError:
            sent = 0
        except OSError:  # closed or reset; what it said before is still to be read
            sent = len(self._out)
        del self._out[:sent]
        self._watch(READ | WRITE if self._out else READ)

    # -- TLS --------------------------------------------------------------------------------------------------------

    def _start_tls(self, wish: StartTls) -> Answer | _Waits:
        from scans.core.fingerprint.tls_session import TlsSession

        self._heard = b""
        self._tls = TlsSession(wish.server_name, is_legacy=wish.is_legacy)
        self._wish_due = self._ground.clock() + HANDSHAKE_SECONDS + 4 * self.question.round_trip_seconds
        return self._shake()

    def _shake(self) -> Answer | _Waits:
        tls = self._tls
        if tls is None:
            return Handshake("the connection was closed", self._heard)
        try:
            is_done = tls.shake()
        except OSError as error:
            self._out += tls.output()  # the alert
            self._flush()
            return Handshake(tls.reason(error), self._heard)
        self._out += tls.output()
        self._flush()
        if is_done:
            return Handshake(None, self._heard, tls.version, tls.cipher, tls.chain())
        if self._socket is None:
            return Handshake("the connection was closed", self._heard)
        return _Waits.YES

    # -- Connecting -------------------------------------------------------------------------------------------------

    def _connect(self, wish: Connect) -> Answer | _Waits:
        """Begin a connection to the address and nowhere else; the policy has the last word before a packet leaves."""
        address, self._port = self.question.address, wish.port
        self._connects += 1
        if self._connects > MAX_CONNECTS:
            return "too many connections for one service"
        if wish.port != self.question.port and wish.port not in self.question.open_ports:
            return "the port was not seen open"
        if not self._ground.may_connect(address):
            return "out of scope"
        if not self._may_connect_now():
            return _Waits.YES
        try:
            made = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
            self._adopt(made, WRITE)
            error = made.connect_ex((str(address), wish.port))
        except OSError as failed:
            error = failed.errno or errno.EIO
        if error in OUT_OF_DESCRIPTORS:  # of this machine: the probes may have all of them for a moment
            self._close()
            if self.question.is_paced and self._ground.pace is not None:
                self._ground.pace.put_back(1, address)
            self._wish_due = self._ground.clock() + REST_SECONDS
            return _Waits.YES
        if error not in (0, errno.EINPROGRESS):
            self._close()
            return os.strerror(error).lower()
        self._wish_due = self._ground.clock() + CONNECT_SECONDS
        return _Waits.YES

    def _may_connect_now(self) -> bool:
        """Whether the pace allows one more connection; else it is asked for again, and nothing is late meanwhile."""
        pace, now = self._ground.pace, self._ground.clock()
        if pace is None or not self.question.is_paced:
            return True
        # The rate is kept by the real clock, whatever the deadlines go by.
        if wait_seconds := pace.take_beside(self, self.question.address, now=time.monotonic()):
            self._held_since = now if self._held_since is None else self._held_since
            self._wish_due = now + wait_seconds
            return False
        self._release()
        return True

    def _release(self) -> None:
        """It waits no longer: its time goes on."""
        if self._held_since is not None and self._ground.pace is not None:
            self._ground.pace.leave(self)
            held_seconds = self._ground.clock() - self._held_since
            self._began_at, self._deadline = self._began_at + held_seconds, self._deadline + held_seconds
            self._held_since = None

    def _late_to_connect(self, wish: Connect, *, is_over: bool) -> None:
        """No answer yet; or no descriptor to ask with, or no turn: then it is tried again."""
        answer: Answer | _Waits = NO_ANSWER if self._socket is not None else NO_DESCRIPTOR
        if self._socket is None and not is_over:
            self._connects -= 1
            answer = self._connect(wish)
        if answer is not _Waits.YES:
            self._close()
            self._go_on(answer)

    def _connected(self) -> None:
        made = self._socket
        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if made else errno.ENOTCONN
        if error == 0 and made is not None and _is_itself(made):
            error = errno.ECONNREFUSED
        if error:
            self._close()
            self._go_on(os.strerror(error).lower())
            return
        self._watch(READ)
        self._go_on(None)

    def _adopt(self, connection: socket.socket, mask: int) -> None:
        self._socket = connection
        connection.setblocking(False)
        self._ground.selector.register(connection, mask, self)

    def _watch(self, mask: int) -> None:
        if self._socket is not None:
            self._ground.selector.modify(self._socket, mask, self)

    def _close(self, *, keep_tls: bool = False) -> None:
        """Close the connection. What it brought stays to be read; of another one nothing may be mixed in."""
        if self._socket is not None:
            with suppress(KeyError, ValueError):
                self._ground.selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        if not keep_tls:
            self._tls = None
            self._in.clear()
        self._out.clear()


def escaped(data: bytes) -> str:
    """Bytes as ASCII that can be read back: what is not printable stands as \\x1b."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte != 0x5C else f"\\x{byte:02x}" for byte in data)


def _is_itself(sock: socket.socket) -> bool:
    """Whether the kernel chose the asked port as source port, and so connected the socket to itself."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False
