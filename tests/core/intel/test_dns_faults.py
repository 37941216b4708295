"""What can go wrong between a source and DNS: for each source a recorded state in time, and never an exception."""

from __future__ import annotations

import time

import pytest

from scans.core import dns as dns_of_sources
from scans.core.dns import NO_RESOLVER
from scans.core.intel import SOURCES, Cymru, Dnsbl, RemoteSource, ReverseDns
from scans.core.types import Facts, SourceState
from tests.core.intel.over_dns import ONE, ask
from tests.name_servers import Says, name_server, no_server
from tests.patience import AT_ONCE

KINDS: list[type[RemoteSource]] = [ReverseDns, Cymru, Dnsbl]
FAILED = SourceState.FAILED


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[RemoteSource]:
    found: type[RemoteSource] = request.param
    return found


def test_every_source_that_only_asks_dns_is_here():
    assert {kind.name for kind in KINDS} == {k.name for k in SOURCES if issubclass(k, RemoteSource) and not k.base_url}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Says.SERVFAIL, "no server answered properly"),
        (Says.REFUSED, "no server answered properly"),
        (lambda query: query[:2] + b"\xff" * 40, "no answer in time"),
        (lambda query: b"", "no answer in time"),
        (Says.SILENCE, "no answer in time"),
    ],
    ids=["servfail", "refused", "noise", "empty", "silence"],
)
def test_a_server_that_does_not_answer_properly(kind, said, reason):
    with name_server(lambda *_: said) as server:
        result = ask(kind, [ONE], server, seconds=0.4)[ONE]
    assert (result.state, result.facts) == (FAILED, Facts())
    assert result.reason in (reason, "no answer in time")  # where a machine stands still


def test_a_name_that_does_not_exist_is_an_answer_but_not_for_a_list_that_names_somebody(kind):
    with name_server(lambda *_: Says.NXDOMAIN) as server:
        result = ask(kind, [ONE], server)[ONE]
    assert result.state is (FAILED if kind is Dnsbl else SourceState.EMPTY)
    assert result.reason


def test_records_of_another_type_are_none(kind):
    with name_server(lambda *_: Says.NO_DATA) as server:
        result = ask(kind, [ONE], server)[ONE]
    assert (result.state, result.facts) == (FAILED if kind is Dnsbl else SourceState.EMPTY, Facts())


def test_a_flood_of_records_is_capped(kind):
    floods = {
        "PTR": [f"n{n}.example." for n in range(300)],
        "A": [f"127.0.0.{n}" for n in range(2, 252)],
        "TXT": ["64500 | 203.0.113.0/24 | DE | ripencc | 2014 | " + "x" * n for n in range(130)],
    }
    with name_server(lambda _, record: floods[record]) as server:
        result = ask(kind, [ONE], server)[ONE]
        assert server.tcp_questions > 0
    assert result.state in (SourceState.OK, FAILED)
    assert all(len(value) <= 32 for value in (result.facts.unconfirmed_names or (), result.facts.dns_lists or ()))


def test_a_resolver_that_is_down_is_known_at_once(kind):
    with no_server() as nobody:
        results = ask(kind, [f"203.0.113.{n}" for n in range(kind.batch_size)], nobody)
    assert {(r.state, r.reason) for r in results.values()} == {(FAILED, "the resolver cannot be reached")}


def test_a_machine_without_a_resolver_is_known_at_once_and_nobody_was_told(kind, monkeypatch, tmp_path):
    import dns.resolver

    read = dns.resolver.BaseResolver.read_resolv_conf
    nowhere = str(tmp_path / "resolv.conf")
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", lambda self, _: read(self, nowhere))
    result = ask(kind, [ONE])[ONE]
    assert (result.state, result.reason, result.contacted) == (FAILED, NO_RESOLVER.reason, ())


def test_silence_costs_a_whole_batch_no_more_than_its_deadline(kind, monkeypatch):
    """Which is a second. One after the other, the questions would take five minutes."""
    monkeypatch.setattr(dns_of_sources, "MAX_AT_ONCE", 1)
    with name_server(lambda *_: Says.SILENCE) as server:
        began = time.monotonic()
        results = ask(kind, [f"198.51.{n // 256}.{n % 256}" for n in range(600)], server, seconds=0.5)
        elapsed = time.monotonic() - began
    assert {(r.state, r.reason) for r in results.values()} == {(FAILED, "no answer in time")}
    assert elapsed < AT_ONCE


def test_silence_about_what_an_answer_leads_to_costs_no_more_either():
    addresses = [f"203.0.113.{n}" for n in range(64)]

    def says(name, record):
        return [f"{n}.{name}." for n in range(8)] if record == "PTR" else Says.SILENCE

    with name_server(says) as server:
        results = ask(ReverseDns, addresses, server, seconds=1)
    assert {r.state for r in results.values()} <= {SourceState.OK, FAILED}
    assert not any(r.facts.host_names for r in results.values())
