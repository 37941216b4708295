"""DNS servers of our own on 127.0.0.1, whose answers a test scripts (RFC 1035).

`dns_server()` speaks UDP and comes with a look-up for Resolver, in place of the system's. `name_server()` speaks UDP and
TCP and is asked by the sources: every type of record, errors, silence, and whatever bytes a test makes up.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

from tests.patience import PATIENCE

A, CNAME, AAAA = 1, 5, 28
MAX_LINKS = 8
Script = Callable[[str, int], Sequence[str]]  # (name, A or AAAA) to addresses, or names for a chain of CNAMEs


@contextmanager
def dns_server(script: Script) -> Iterator[Callable[[str], Sequence[str]]]:
    """A server for the length of the block. Yields a look-up for Resolver, in place of the system's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        ended = threading.Event()
        thread = threading.Thread(target=_serve, args=(server, script, ended))
        thread.start()
        try:
            yield lambda name: _look_up(name, server.getsockname())
        finally:
            ended.set()
            thread.join(PATIENCE)


def _serve(server: socket.socket, script: Script, ended: threading.Event) -> None:
    while not ended.is_set():
        with suppress(TimeoutError):
            query, client = server.recvfrom(512)
            name, end = _read_name(query, 12)
            (kind,) = struct.unpack_from("!H", query, end)
            records = _records(name, script(name, kind))
            header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
            server.sendto(header + query[12 : end + 4] + b"".join(records), client)


def _records(owner: str, texts: Sequence[str]) -> list[bytes]:
    """One record a text; what follows a CNAME belongs to the name it leads to."""
    records = []
    for text in texts:
        try:
            data = ip_address(text).packed
            kind = A if len(data) == 4 else AAAA
        except ValueError:
            kind, data = CNAME, _name(text)
        records.append(_name(owner) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data)
        owner = text if kind == CNAME else owner
    return records


def _look_up(name: str, server: tuple[str, int]) -> list[str]:
    """Both families, along the chain wherever it leads, as a stub resolver does."""
    found: list[str] = []
    for kind in (A, AAAA):
        asked = name
        for _ in range(MAX_LINKS):
            addresses, leads_to = _ask(asked, kind, server)
            found += addresses
            if addresses or leads_to is None:
                break
            asked = leads_to
    return found


def _ask(name: str, kind: int, server: tuple[str, int]) -> tuple[list[str], str | None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.sendto(b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0" + _name(name) + struct.pack("!HH", kind, 1), server)
        reply = client.recv(4096)
    addresses, leads_to = [], None
    _, at = _read_name(reply, 12)
    at += 4
    for _ in range(struct.unpack_from("!H", reply, 6)[0]):
        _, at = _read_name(reply, at)
        record, length = struct.unpack_from("!HxxxxxxH", reply, at)
        at += 10
        if record == CNAME:
            leads_to, _ = _read_name(reply, at)
        else:
            addresses.append(str(ip_address(reply[at : at + length])))
        at += length
    return addresses, leads_to


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    """A name without compression, which neither side uses; and where it ends."""
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


class Says(Enum):
    """What a name server answers in place of records."""

    NXDOMAIN = dns.rcode.NXDOMAIN
    SERVFAIL = dns.rcode.SERVFAIL
    REFUSED = dns.rcode.REFUSED
    NO_DATA = dns.rcode.NOERROR
    SILENCE = None


Raw = Callable[[bytes], bytes]  # the query to the reply
Said = Sequence[str] | Says | Raw  # records as a zone file has them, but texts without quotes
MOST_BYTES = 512  # of a reply over UDP (RFC 1035, 4.2.1); a longer one is cut, and asked for again over TCP


class NameServer:
    """A running server: `answer` decides each reply, `questions` are those that came in, in lower case."""

    def __init__(self, answer: Callable[[str, str], Said]) -> None:
        self.answer = answer
        self.questions: list[tuple[str, str]] = []
        self.tcp_questions = 0
        self.address = ("127.0.0.1", 0)

    def reply(self, wire: bytes) -> bytes | None:
        query = dns.message.from_wire(wire)
        name, kind = query.question[0].name.to_text(omit_final_dot=True).lower(), query.question[0].rdtype.name
        self.questions.append((name, kind))
        said = self.answer(name, kind)
        if not isinstance(said, Says | Sequence):
            return said(wire)
        if said is Says.SILENCE:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if isinstance(said, Says):
            reply.set_rcode(dns.rcode.Rcode(said.value))
        else:
            reply.answer = [_rrset(query, said)]
        return reply.to_wire(max_size=65535)


@contextmanager
def name_server(answer: Callable[[str, str], Said]) -> Iterator[NameServer]:
    """A name server for the length of the block. `answer` is asked with each name and type."""
    server = NameServer(answer)
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        server.address = tcp.getsockname()
        udp.bind(server.address)
        ended = threading.Event()
        threads = [threading.Thread(target=work, args=(server, half, ended)) for work, half in ((_udp, udp), (_tcp, tcp))]
        for half in (udp, tcp):
            half.settimeout(0.1)
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            ended.set()
            for thread in threads:
                thread.join(PATIENCE)


@contextmanager
def no_server() -> Iterator[tuple[str, int]]:
    """A UDP port that is nobody's: the kernel says so to whoever sends there. It is bound, but hears only another port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.connect(("127.0.0.1", 9))
        yield deaf.getsockname()


def _udp(server: NameServer, half: socket.socket, ended: threading.Event) -> None:
    held = []
    while not ended.is_set():
        with suppress(TimeoutError):
            wire, client = half.recvfrom(4096)
            if (reply := server.reply(wire)) is None:
                held.append((wire, client))
                continue
            if len(reply) > MOST_BYTES:
                cut = dns.message.make_response(dns.message.from_wire(wire))
                cut.flags |= dns.flags.TC
                reply = cut.to_wire()
            half.sendto(reply, client)
    for wire, client in held:  # whoever still waits in some thread goes home, and does not ask the next owner of this port
        refusal = dns.message.make_response(dns.message.from_wire(wire))
        refusal.set_rcode(dns.rcode.REFUSED)
        half.sendto(refusal.to_wire(), client)


def _tcp(server: NameServer, half: socket.socket, ended: threading.Event) -> None:
    """A message behind its length (RFC 1035, 4.2.2); one for a connection."""
    while not ended.is_set():
        with suppress(TimeoutError, ConnectionError):
            client, _ = half.accept()
            with client, client.makefile("rwb") as stream:
                client.settimeout(PATIENCE)
                server.tcp_questions += 1
                reply = server.reply(stream.read(int.from_bytes(stream.read(2))))
                if reply is not None:
                    stream.write(len(reply).to_bytes(2) + reply)


def _rrset(query: dns.message.Message, texts: Sequence[str]) -> dns.rrset.RRset:
    asked = query.question[0]
    records = [_record(asked.rdtype.name, text) for text in texts]
    return dns.rrset.from_rdata_list(asked.name, 60, records)


def _record(kind: str, text: str) -> dns.rdata.Rdata:
    if kind != "TXT":
        return dns.rdata.from_text("IN", kind, text)
    said = text.encode()
    return TXT("IN", "TXT", [said[at : at + 255] for at in range(0, len(said), 255)] or [b""])
