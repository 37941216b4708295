"""A DNS server of our own on 127.0.0.1, whose answers a test scripts, and a look-up that asks it (RFC 1035, UDP)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address

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
