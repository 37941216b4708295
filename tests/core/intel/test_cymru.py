"""Team Cymru's origin zones: what each record becomes."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.intel import Cymru
from scans.core.intel.cymru import as_name, read_origin
from scans.core.types import Facts, SourceState
from tests.core.intel.over_dns import ONE, ask, zone
from tests.name_servers import Said, Says, name_server

SAMPLE = json.loads((Path(__file__).parent / "samples" / "cymru" / "dns_txt.json").read_text())
V6 = "2001:db8::10"
ORIGIN = "10.113.0.203.origin.asn.cymru.com TXT"
ORIGIN_V6 = ip_address(V6).reverse_pointer.removesuffix("ip6.arpa") + "origin6.asn.cymru.com TXT"
NAME = "AS64500.asn.cymru.com TXT"
EXAMPLE = Facts(asn=64500, as_name="EXAMPLE-HOSTING", network="203.0.113.0/24", registry="ripencc", registered_country="DE")


def answer(records: dict[str, Said], address: str = ONE) -> tuple[SourceState, str, Facts]:
    with name_server(zone(records)) as server:
        result = ask(Cymru, [address], server)[address]
    return result.state, result.reason, result.facts


def test_the_sample_becomes_facts():
    assert answer({ORIGIN: SAMPLE[ORIGIN], NAME: SAMPLE[NAME]}) == (SourceState.OK, "", EXAMPLE)


def test_the_sample_of_ipv6_becomes_facts():
    said = SAMPLE["<nibbles reversed>.origin6.asn.cymru.com TXT"]
    _, _, facts = answer({ORIGIN_V6: said, NAME: SAMPLE[NAME]}, V6)
    assert (facts.asn, facts.network) == (64500, "2001:db8::/32")


def test_of_several_ases_the_first_counts():
    assert answer({ORIGIN: SAMPLE["multi-origin TXT"], NAME: SAMPLE[NAME]})[2] == EXAMPLE


def test_of_several_records_the_longest_prefix_counts():
    wide = "64999 | 203.0.0.0/16 | US | arin | 1992-01-01"
    for said in ([wide, *SAMPLE[ORIGIN]], [*SAMPLE[ORIGIN], wide]):
        assert answer({ORIGIN: said, NAME: SAMPLE[NAME]})[2] == EXAMPLE


def test_what_nobody_announces_is_an_answer():
    assert answer({}) == (SourceState.EMPTY, "nobody announces it", Facts())


def test_the_name_of_an_as_may_be_missing():
    for said in (Says.NXDOMAIN, Says.SERVFAIL, ["nonsense"], ["1 | 2 | 3 | 4 |"]):
        state, _, facts = answer({ORIGIN: SAMPLE[ORIGIN], NAME: said})
        assert (state, facts.asn, facts.as_name) == (SourceState.OK, 64500, None)


def test_each_as_is_asked_for_once():
    addresses = [f"203.0.113.{n}" for n in range(64)]
    said: dict[str, Said] = {f"{n}.113.0.203.origin.asn.cymru.com TXT": SAMPLE[ORIGIN] for n in range(64)}
    with name_server(zone({**said, NAME: SAMPLE[NAME]})) as server:
        results = ask(Cymru, addresses, server)
    assert [r.facts for r in results.values()] == [EXAMPLE] * 64
    assert len(server.questions) == 65


@pytest.mark.parametrize(
    "said",
    [
        "",
        "|",
        "64500",
        "64500 | nonsense | DE | ripencc | 2014-03-01",
        "64500 | 198.51.100.0/24 | DE | ripencc | 2014-03-01",  # about another address
        "64500 | 2001:db8::/32 | DE | ripencc | 2014-03-01",
        "64500 | 203.0.113.10/24 | DE | ripencc | 2014-03-01",  # no network
        "<html>",
        "\x00" * 200,
    ],
)
def test_a_record_that_cannot_be_read_is_a_failure(said):
    assert answer({ORIGIN: [said]})[:2] in (
        (SourceState.FAILED, "the answer could not be read"),
        (SourceState.EMPTY, "nobody announces it"),  # an empty text
    )


@pytest.mark.parametrize("asn", ["0", "-1", "4294967296", "99999999999", "AS64500", "NA", "", "٣"])
def test_a_number_that_no_as_has_is_left_out(asn):
    state, _, facts = answer({ORIGIN: [f"{asn} | 203.0.113.0/24 | DE | ripencc | 2014-03-01"]})
    assert (state, facts.asn, facts.as_name, facts.network) == (SourceState.OK, None, None, "203.0.113.0/24")


def test_other_fields_that_cannot_be_meant_are_left_out():
    facts = answer({ORIGIN: ["64500 | 203.0.113.0/24 | <b> | RIPE; DROP | x"]})[2]
    assert (facts.registered_country, facts.registry) == (None, None)
    facts = answer({ORIGIN: ["64500 | 203.0.113.0/24"]})[2]
    assert (facts.asn, facts.registered_country, facts.registry) == (64500, None, None)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=8).map("|".join))
def test_any_record_about_an_address_is_read_or_refused(said):
    for address in (ip_address(ONE), ip_address(V6)):
        origin = read_origin(said, address)
        assert origin is None or address in origin.network
    name = as_name([said])
    assert name is None or (0 < len(name) <= 120 and name.isprintable())


@given(
    st.sampled_from(["64500", "1 2", "4294967295", "0", ""]),
    st.integers(0, 32),
    st.sampled_from(["DE", "de", "", "DEU", "é"]),
    st.sampled_from(["ripencc", "", "RIPE", "x" * 50]),
)
def test_records_of_the_right_shape_are_read(asn, length, country, registry):
    network = ".".join(str(b) for b in (int(ip_address(ONE)) >> (32 - length) << (32 - length)).to_bytes(4))
    origin = read_origin(f"{asn} | {network}/{length} | {country} | {registry} | 2014", ip_address(ONE))
    assert origin is not None
    assert origin.asn == {"64500": 64500, "1 2": 1, "4294967295": 4294967295}.get(asn)
    assert origin.country == ("DE" if country == "DE" else None)
    assert origin.registry == ("ripencc" if registry == "ripencc" else None)
