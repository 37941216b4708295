"""DNS for intelligence sources, over real UDP and TCP on the loopback: every outcome is a state."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scans.core import dns as ours
from scans.core.dns import Dns, DnsState, Question, Records
from scans.core.egress import Egress, EgressRefusedError, Gate
from scans.core.options import IntelOptions, Options
from tests.guard import LeftTheMachine
from tests.name_servers import MOST_BYTES, NameServer, Raw, Said, Says, name_server, no_server
from tests.patience import AT_ONCE, PATIENCE

NAME = "10.113.0.203.in-addr.arpa"


def made(*servers: tuple[str, int], seconds: float = PATIENCE, offline: bool = False) -> tuple[Dns, Gate]:
    intel = IntelOptions(dns_servers=servers, dns_timeout_seconds=seconds, offline=offline)
    gate = Gate(Egress(Options(intel=intel)))
    return Dns(gate, intel), gate


def ask(server: NameServer, *questions: Question, seconds: float = PATIENCE) -> list[Records]:
    return made(server.address, seconds=seconds)[0].ask(questions)


def answered(said: Said, kind: str = "PTR", *, seconds: float = PATIENCE) -> Records:
    with name_server(lambda *_: said) as server:
        return ask(server, Question(NAME, kind), seconds=seconds)[0]


@pytest.mark.parametrize(
    ("kind", "said", "texts"),
    [
        ("PTR", ["mail.example.com.", "www.example.com."], ("mail.example.com", "www.example.com")),
        ("A", ["192.0.2.1", "192.0.2.2"], ("192.0.2.1", "192.0.2.2")),
        ("AAAA", ["2001:db8::1"], ("2001:db8::1",)),
        (
            "TXT",
            ["64500 | 203.0.113.0/24 | DE | ripencc | 2014-03-01"],
            ("64500 | 203.0.113.0/24 | DE | ripencc | 2014-03-01",),
        ),
        ("TXT", ["ends with a dot."], ("ends with a dot.",)),
        ("PTR", ["xn--bcher-kva.example."], ("xn--bcher-kva.example",)),
    ],
)
def test_records_come_as_text(kind, said, texts):
    records = answered(said, kind)
    assert (records.state, set(records.texts), records.reason) == (DnsState.FOUND, set(texts), "")


@pytest.mark.parametrize("said", [Says.NXDOMAIN, Says.NO_DATA])
def test_no_such_name_and_no_such_record_are_answers(said):
    assert answered(said) == Records(state=DnsState.NOTHING)


@pytest.mark.parametrize("said", [Says.SERVFAIL, Says.REFUSED])
def test_an_error_of_the_server_is_a_failure_and_known_at_once(said):
    assert answered(said) == Records(state=DnsState.FAILED, reason="no server answered properly")


def test_silence_is_a_failure_in_time():
    assert answered(Says.SILENCE, seconds=0.3) == Records(state=DnsState.FAILED, reason="no answer in time")


def test_a_lost_packet_is_sent_again():
    """With more and more patience: a machine that stands still loses more than one."""
    for seconds in (1, 5, 25, PATIENCE):
        lost = iter([Says.SILENCE])
        with name_server(lambda *_, lost=lost: next(lost, ["mail.example.com."])) as server:
            records = ask(server, Question(NAME, "PTR"), seconds=seconds)[0]
        if records.texts:
            break
    assert records.texts == ("mail.example.com",)
    assert len(server.questions) > 1


def test_a_server_that_is_down_is_known_at_once_and_the_next_one_asked():
    with name_server(lambda *_: ["mail.example.com."]) as server, no_server() as dead:
        dns, gate = made(dead, server.address)
        assert dns.ask([Question(NAME, "PTR")])[0].texts == ("mail.example.com",)
        alone, _ = made(dead)
        assert alone.ask([Question(NAME, "PTR")]) == [
            Records(state=DnsState.FAILED, reason="the resolver cannot be reached")
        ]
    assert gate.contacted == (f"127.0.0.1:{dead[1]}", f"127.0.0.1:{server.address[1]}")


def test_what_does_not_fit_into_a_packet_is_asked_for_over_tcp_and_capped():
    names = [f"host{n}.example.com." for n in range(300)]
    with name_server(lambda *_: names) as server:
        records = ask(server, Question(NAME, "PTR"))[0]
        assert server.tcp_questions == 1
    assert len(records.texts) == ours.MAX_RECORDS
    assert set(records.texts) < {name.rstrip(".") for name in names}


def header(query: bytes, *, answers: int = 1, flags: int = 0x8180) -> bytes:
    return query[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0) + query[12:]


def pointing(to: Callable[[bytes], int]) -> Raw:
    """A PTR record whose name is a pointer to a place in the message."""

    def reply(query: bytes) -> bytes:
        return header(query) + b"\xc0\x0c" + struct.pack("!HHIH", 12, 1, 60, 2) + struct.pack("!H", 0xC000 | to(query))

    return reply


def wrong_id(query: bytes) -> bytes:
    good = pointing(lambda _: 12)(query)
    return bytes([good[0] ^ 0xFF]) + good[1:]


def other_question(query: bytes) -> bytes:
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, 0, 0, 0) + b"\x05other\x00" + struct.pack("!HH", 12, 1)


@pytest.mark.parametrize(
    "raw",
    [
        pointing(lambda query: len(query) + 12),  # to itself
        pointing(lambda query: len(query) + 200),  # ahead, to nowhere
        wrong_id,
        other_question,
        lambda query: b"",
        lambda query: query[:5],
        lambda query: header(query, answers=500),  # promises more than it holds
        lambda query: header(query) + b"\xff" * 300,
        lambda query: query,  # an echo: not a response
        lambda query: b"\x00" * MOST_BYTES,
    ],
    ids=["loop", "ahead", "wrong id", "other question", "empty", "cut", "promises", "noise", "echo", "zeros"],
)
def test_bytes_that_are_no_answer_are_never_more_than_a_failure(raw):
    records = answered(raw, seconds=0.3)
    assert (records.state, records.texts) == (DnsState.FAILED, ())
    assert records.reason in ("no answer in time", "no server answered properly")


def test_hostile_names_are_plain_text():
    said = [r"\027[31m<script>.evil.", r"\000\226\128\174abc.", "x" * 63 + "." + "y" * 63 + ".example."]
    texts = answered(said).texts
    assert len(texts) == 3
    assert all(text.isascii() and text.isprintable() for text in texts)


def test_hostile_texts_are_cleaned_and_capped():
    texts = answered(["\x1b[31mred\u202e\x00", "x" * 5000], "TXT").texts
    assert set(texts) == {"[31mred", "x" * 499 + "…"}


def test_a_null_name_is_none():
    assert answered(["."]) == Records(state=DnsState.NOTHING)


def test_answers_stand_in_the_order_of_the_questions():
    with name_server(lambda name, _: [f"of.{name}."] if int(name.partition(".")[0]) % 3 else Says.NXDOMAIN) as server:
        records = ask(server, *(Question(f"{n}.invalid", "PTR") for n in range(200)))
    assert [r.texts for r in records] == [(f"of.{n}.invalid",) if n % 3 else () for n in range(200)]


def test_all_questions_of_a_request_share_one_deadline(monkeypatch):
    monkeypatch.setattr(ours, "MAX_AT_ONCE", 1)  # one after the other they would take five minutes
    with name_server(lambda *_: Says.SILENCE) as server:
        dns, _ = made(server.address, seconds=0.5)
        began = time.monotonic()
        records = dns.ask([Question(f"{n}.invalid", "A") for n in range(600)])
        records += dns.ask([Question("more.invalid", "A")])
        elapsed = time.monotonic() - began
    assert set(records) == {ours.LATE}
    assert elapsed < AT_ONCE


def test_nothing_is_asked_about_nothing():
    dns, gate = made(("127.0.0.1", 9))
    assert dns.ask([]) == []
    assert gate.contacted == ()


def test_offline_nothing_is_sent():
    with name_server(lambda *_: ["mail.example.com."]) as server:
        dns, gate = made(server.address, offline=True)
        with pytest.raises(EgressRefusedError, match="OFFLINE=1"):
            dns.ask([Question(NAME, "PTR")])
    assert (server.questions, gate.contacted) == ([], ())


@pytest.mark.parametrize("lines", [None, "", "search example.com\n", "nameserver not-an-address\n", "nameserver\n"])
def test_a_machine_without_a_resolver_says_so_and_tells_nobody(lines, tmp_path, monkeypatch):
    path = tmp_path / "resolv.conf"
    if lines is not None:
        path.write_text(lines)
    system(monkeypatch, path)
    dns, gate = made()
    assert dns.ask([Question(NAME, "PTR")] * 2) == [ours.NO_RESOLVER] * 2
    assert gate.contacted == ()


def test_the_systems_resolver_is_asked_if_none_is_configured(tmp_path, monkeypatch):
    """On the one port that resolv.conf can name; nobody listens there, which is known at once."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.66.255.53\noptions edns0 rotate\n")
    system(monkeypatch, path)
    dns, gate = made()
    assert dns.ask([Question(NAME, "PTR")]) == [Records(state=DnsState.FAILED, reason="the resolver cannot be reached")]
    assert gate.contacted == ("the system's resolver",)


def test_the_guard_of_these_tests_sees_the_sockets():
    dns, _ = made(("192.0.2.53", 53))
    with pytest.raises(LeftTheMachine):
        dns.ask([Question(NAME, "PTR")])


def system(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    import dns.resolver

    read = dns.resolver.BaseResolver.read_resolv_conf
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", lambda self, _: read(self, str(path)))
