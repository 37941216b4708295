"""Reverse DNS: only a name that leads back is one of the address."""

from __future__ import annotations

from ipaddress import ip_address

from scans.core.intel import ReverseDns
from scans.core.intel.reverse_dns import MAX_NAMES
from scans.core.types import Facts, SourceState
from tests.core.intel.over_dns import ONE, ask, consulted, zone
from tests.name_servers import Said, Says, name_server, no_server

V6 = "2001:db8::10"
REVERSE = ip_address(ONE).reverse_pointer
REVERSE_V6 = ip_address(V6).reverse_pointer


def facts(records: dict[str, Said], address: str = ONE) -> Facts:
    with name_server(zone(records)) as server:
        result = ask(ReverseDns, [address], server)[address]
    assert (result.state, result.reason) == (SourceState.OK, "")
    return result.facts


def test_a_name_that_leads_back_is_confirmed():
    found = facts({f"{REVERSE} PTR": ["Mail.Example.COM."], "mail.example.com A": ["192.0.2.1", ONE]})
    assert found == Facts(host_names=("mail.example.com",))


def test_a_name_that_leads_elsewhere_or_nowhere_is_not():
    names = ["bank.example.", "gone.example.", "broken.example."]
    found = facts({f"{REVERSE} PTR": names, "bank.example A": ["192.0.2.1"], "broken.example A": Says.SERVFAIL})
    assert found == Facts(unconfirmed_names=("bank.example", "broken.example", "gone.example"))


def test_an_ipv6_address_is_confirmed_by_its_own_kind_of_record():
    found = facts({f"{REVERSE_V6} PTR": ["six.example."], "six.example AAAA": ["2001:DB8:0::10"]}, V6)
    assert found == Facts(host_names=("six.example",))


def test_an_alias_is_followed():
    aliases = f"{REVERSE} PTR"  # RFC 2317: a reverse zone smaller than a /24 is delegated by aliases
    assert facts({aliases: ["xn--bcher-kva.example."], "xn--bcher-kva.example A": [ONE]}) == Facts(
        host_names=("xn--bcher-kva.example",)
    )


def test_a_hostile_name_is_text_that_nobody_is_asked_about():
    hostile = [r"\027[31m<script>.example.", r"a\000b.example.", "localhost.", r"sp\032ace.example.", "-rf.example."]
    with name_server(zone({f"{REVERSE} PTR": hostile, "localhost A": ["127.0.0.1"]})) as server:
        found = ask(ReverseDns, [ONE], server)[ONE].facts
    assert server.questions == [(REVERSE, "PTR")]
    assert found.host_names is None
    assert found.unconfirmed_names is not None
    assert len(found.unconfirmed_names) == 5
    assert all(name.isascii() and name.isprintable() for name in found.unconfirmed_names)


def test_the_longest_name_that_dns_knows_is_whole():
    longest = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 61])
    assert len(longest) == 253
    assert facts({f"{REVERSE} PTR": [longest + "."], f"{longest} A": [ONE]}) == Facts(host_names=(longest,))


def test_the_longest_name_of_bytes_that_cannot_be_shown_is_cut():
    bytes_ = ".".join([r"\001" * 63, r"\002" * 63, r"\003" * 63])
    found = facts({f"{REVERSE} PTR": [bytes_ + "."]})
    assert found.unconfirmed_names is not None
    assert [len(name) for name in found.unconfirmed_names] == [255]


def test_of_300_names_a_few_are_kept():
    names = [f"n{n:03}.example." for n in range(300)]
    with name_server(zone({f"{REVERSE} PTR": names})) as server:
        found = ask(ReverseDns, [ONE], server)[ONE].facts
    assert found.unconfirmed_names is not None
    assert len(found.unconfirmed_names) == MAX_NAMES
    assert len([kind for _, kind in server.questions if kind == "A"]) == MAX_NAMES


def test_many_addresses_are_one_request_and_a_shared_name_one_question():
    addresses = [f"203.0.113.{n}" for n in range(64)]
    records: dict[str, Said] = {f"{ip_address(a).reverse_pointer} PTR": ["shared.example."] for a in addresses[:60]}
    with name_server(zone({**records, "shared.example A": addresses[:20]})) as server:
        results = ask(ReverseDns, addresses, server)
    assert server.questions.count(("shared.example", "A")) == 1
    assert [r.facts.host_names for r in results.values()] == [("shared.example",)] * 20 + [None] * 44
    assert [r.state for r in results.values()] == [SourceState.OK] * 60 + [SourceState.EMPTY] * 4
    assert {r.contacted for r in results.values()} == {(f"127.0.0.1:{server.address[1]}",)}


def test_one_broken_zone_costs_its_own_address_only():
    other = "198.51.100.1"
    records = {f"{REVERSE} PTR": Says.SERVFAIL, f"{ip_address(other).reverse_pointer} PTR": ["a.example."]}
    with name_server(zone(records)) as server:
        results = ask(ReverseDns, [ONE, other], server)
    assert [r.state for r in results.values()] == [SourceState.FAILED, SourceState.OK]


def test_a_zone_without_a_server_is_no_fault_of_the_source_and_a_missing_resolver_is():
    with name_server(zone({f"{REVERSE} PTR": Says.SERVFAIL})) as server:
        assert not consulted(ReverseDns, [ONE], server).is_down
    with no_server() as nobody:
        found = consulted(ReverseDns, [ONE], nobody)
    assert found.is_down
    assert next(iter(found.results.values())).state is SourceState.FAILED
