"""Names whose answers change or lie: a DNS server of our own, and a canary on the loopback that must see nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from scans.core import pipeline
from scans.core.options import IntelOptions, Options, ProbeOptions, ScopeOptions
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Outcome, Report
from tests.servers import listening

PUBLIC = "127.66.0.77"  # stands for a public address; all other loopback is out of scope here
SCOPE = ScopeOptions(treat_as_global=(ip_network("127.66.0.0/16"),))
A, AAAA = 1, 28


@contextmanager
def dns_server(answers: Callable[[], Sequence[str]]) -> Iterator[int]:
    """A DNS server on 127.0.0.1 that gives each A question the next answers (RFC 1035). Yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        ended = threading.Event()

        def serve() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                try:
                    query, client = server.recvfrom(512)
                except TimeoutError:
                    continue
                found = [ip_address(text) for text in answers()]
                records = b"".join(
                    b"\xc0\x0c"
                    + struct.pack("!HHIH", A if isinstance(a, IPv4Address) else AAAA, 1, 0, len(a.packed))
                    + a.packed
                    for a in found
                )
                header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(found), 0, 0)
                server.sendto(header + query[12:] + records, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)


def asking(port: int) -> Callable[[str], Sequence[str]]:
    """A look-up that asks the server on this port, in place of the system's resolver."""

    def lookup(name: str) -> Sequence[str]:
        question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0" + question + struct.pack("!HH", A, 1), ("127.0.0.1", port))
            reply = client.recv(2048)
        count, at = struct.unpack("!H", reply[6:8])[0], 12 + len(question) + 4
        found = []
        for _ in range(count):
            (length,) = struct.unpack("!H", reply[at + 10 : at + 12])
            packed = reply[at + 12 : at + 12 + length]
            found.append(socket.inet_ntop(socket.AF_INET if length == 4 else socket.AF_INET6, packed))
            at += 12 + length
        return found

    return lookup


@contextmanager
def canary() -> Iterator[tuple[int, list[object]]]:
    """A listener on 127.0.0.1 that writes down who came."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                connection.close()
                seen.append(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], seen
        finally:
            ended.set()
            thread.join(5)


def scan(monkeypatch, dns_port: int, names: int, port: int) -> list[Report]:
    resolver = pipeline.Resolver
    monkeypatch.setattr(pipeline, "Resolver", lambda options: resolver(options, lookup=asking(dns_port)))
    options = Options(scope=SCOPE, probe=ProbeOptions(rate_per_second=0), intel=IntelOptions(offline=True))
    items = [Item(key=n, target=parse_target(f"host-{n}.rebind.invalid"), ports=(port,)) for n in range(names)]
    return [result for _, result in pipeline.scan(items, Tools(options=options)) if isinstance(result, Report)]


def test_an_answer_that_flips_to_the_loopback_never_reaches_the_canary(monkeypatch):
    flips = iter(range(10**9))

    def flipping() -> Sequence[str]:
        return ["127.0.0.1"] if next(flips) % 2 else [PUBLIC]

    with canary() as (port, seen), dns_server(flipping) as dns:
        reports = scan(monkeypatch, dns, 1000, port)
    assert seen == []
    assert len(reports) == 1000
    assert {report.outcome for report in reports} == {Outcome.DONE, Outcome.REFUSED}
    assert all(str(report.addresses[0].address) == PUBLIC for report in reports if report.outcome is Outcome.DONE)


@pytest.mark.parametrize(
    "bad",
    [
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fd00:ec2::254",
    ],
)
def test_one_bad_answer_among_good_ones_refuses_the_name(monkeypatch, bad):
    with canary() as (port, seen), dns_server(lambda: [PUBLIC, bad]) as dns:
        (report,) = scan(monkeypatch, dns, 1, port)
    assert (report.outcome, report.error_code) == (Outcome.REFUSED, "refused_scope")
    assert seen == []


def test_a_name_is_asked_once_and_the_checked_address_is_what_is_connected_to(monkeypatch):
    asked: list[int] = []

    def once() -> Sequence[str]:
        asked.append(1)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    with listening(PUBLIC) as port, dns_server(once) as dns:
        (report,) = scan(monkeypatch, dns, 1, port)
    assert len(asked) == 1
    assert report.addresses[0].probes[0].state == "open"


def test_a_pinned_address_is_judged_again_when_its_target_goes_on():
    address = ip_address("127.0.0.1")
    item = Item(key=0, target=parse_target("x.invalid"), ports=(1, 2), known={address: ()})
    tools = Tools(options=Options(scope=replace(SCOPE), intel=IntelOptions(offline=True)))
    ((_, report),) = pipeline.scan([item], tools)
    assert isinstance(report, Report)
    assert report.outcome is Outcome.REFUSED
