"""RDAP: whom it asks, where it follows, and what it keeps of an answer.

What it shares with all sources over HTTP is in test_samples.py and test_http_faults.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.egress import Egress
from scans.core.feeds import FeedError, Store
from scans.core.intel import Rdap, SourceError, consult
from scans.core.intel.base import SourceSettings
from scans.core.intel.rdap import bootstrap
from scans.core.intel.rdap.reading import read_network
from scans.core.options import IntelOptions, Options
from scans.core.types import Facts, SourceResult, SourceState
from tests.fakes import Answer, FakeService, Request, in_turn, service
from tests.patience import PATIENCE

SAMPLES = Path(__file__).parent / "samples" / "rdap"
ADDRESS = ip_address("203.0.113.10")
V6 = ip_address("2001:db8::10")
FAILED = SourceState.FAILED
NETWORK: dict[str, Any] = json.loads((SAMPLES / "ip_network.json").read_text())["body"]


def ask(fake: FakeService, **options: float) -> SourceResult:
    intel = IntelOptions(**{"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE, **options})
    source = Rdap(SourceSettings(base_url=fake.base_url))
    return consult(source, [ADDRESS], Egress(Options(intel=intel), source.services), intel).results[ADDRESS]


def answer(said: Answer | Callable[[Request], Answer], **options: float) -> SourceResult:
    with service(said if callable(said) else lambda _: said) as fake:
        return ask(fake, **options)


def network(**changes: Any) -> Answer:
    return Answer.json({**NETWORK, **changes})


def test_one_address_is_asked_about_by_its_path():
    with service(lambda _: network()) as fake:
        result = ask(fake)
    assert [(r.method, r.path) for r in fake.requests] == [("GET", "/ip/203.0.113.10")]
    assert fake.requests[0].headers["Accept"].startswith("application/rdap+json")
    assert result.contacted == (fake.base_url.removeprefix("http://"),)


@pytest.mark.parametrize(
    ("said", "state", "reason"),
    [
        (Answer(status=301), FAILED, "the service redirects without end"),
        (network(startAddress=None), FAILED, "the answer names no range of addresses"),
        (network(endAddress=7), FAILED, "the answer names no range of addresses"),
        (network(startAddress="::"), FAILED, "the answer names no range of addresses"),
        (network(startAddress="203.0.113.200"), FAILED, "the answer is about another address"),
        (network(endAddress="203.0.113.9"), FAILED, "the answer is about another address"),
        (network(startAddress="203.0.113.255", endAddress="203.0.113.0"), FAILED, "the answer is about another address"),
        (network(startAddress="0.0.0.0", endAddress="255.255.255.255"), SourceState.EMPTY, "not registered"),
    ],
    ids=str,
)
def test_an_answer_that_is_none_is_a_recorded_state(said, state, reason):
    result = answer(said)
    assert (result.state, result.reason, result.facts) == (state, reason, Facts())


# --- what is kept


def card(*properties: Any) -> list[Any]:
    return ["vcard", [["version", {}, "text", "4.0"], *properties]]


def entity(role: str, *properties: Any, **more: Any) -> dict[str, Any]:
    return {"objectClassName": "entity", "roles": [role], "vcardArray": card(*properties), **more}


ORG, GROUP, PERSON = (["kind", {}, "text", kind] for kind in ("org", "group", "individual"))
NAME, MAIL = ["fn", {}, "text", "Example Ltd"], ["email", {}, "text", "abuse@example.net"]


@pytest.mark.parametrize(
    ("entities", "organisation"),
    [
        ([entity("registrant", NAME, ORG)], "Example Ltd"),
        ([entity("registrant", GROUP, NAME)], "Example Ltd"),
        ([entity("registrant", ORG, NAME, ["org", {}, "text", "Example Holding"])], "Example Holding"),
        ([entity("registrant", ORG, ["org", {}, "text", ["Example Holding", "Networks"]])], "Example Holding"),
        ([entity("registrant", NAME, PERSON)], None),  # a person
        ([entity("registrant", NAME)], None),  # a card without a kind is a person's
        ([entity("technical", NAME, ORG)], None),
        ([entity("technical", PERSON, entities=[entity("registrant", NAME, ORG)])], "Example Ltd"),
        ([entity("registrant", NAME, PERSON), entity("registrant", ORG, ["fn", {}, "text", "Second"])], "Second"),
        ([entity("registrant", ORG, ["fn", {}, "text", "\x1b[1mEx\u202eample\x00"])], "[1mEx ample"),
        ([entity("registrant", ORG, ["fn", {}, "text", "x" * 5000])], "x" * 119 + "…"),
    ],
)
def test_the_organisation_is_the_registrant_that_is_no_person(entities, organisation):
    assert answer(network(entities=entities)).facts.organisation == organisation


@pytest.mark.parametrize(
    ("entities", "mailbox"),
    [
        ([entity("abuse", MAIL)], "abuse@example.net"),
        ([entity("abuse", MAIL, PERSON)], "abuse@example.net"),
        ([entity("abuse", ["email", {"type": "work"}, "text", "mailto:a.b+c@sub.example.net "])], "a.b+c@sub.example.net"),
        ([entity("registrant", MAIL)], None),
        ([entity("registrant", ORG, entities=[entity("abuse", MAIL)])], "abuse@example.net"),
        ([entity("abuse", ["email", {}, "text", "not a mailbox"]), entity("abuse", MAIL)], "abuse@example.net"),
        ([entity("abuse", ["email", {}, "text", "a@b.example\r\nBcc: c@d.example"])], None),
        ([entity("abuse", ["email", {}, "text", "<script>@example.net"])], None),
        ([entity("abuse", ["email", {}, "text", "x" * 200 + "@example.net"])], None),
    ],
)
def test_the_mailbox_is_that_of_the_abuse_contact(entities, mailbox):
    assert answer(network(entities=entities)).facts.abuse_contact == mailbox


def test_of_persons_nothing_is_kept():
    person = entity("registrant", ["fn", {}, "text", "Erika Example"], PERSON, ["tel", {}, "uri", "tel:+49-30-1234"])
    result = answer(network(entities=[person, {**person, "roles": ["technical", "administrative"]}]))
    assert "Erika" not in repr(result)
    assert "1234" not in repr(result)


@pytest.mark.parametrize(
    "odd",
    [
        None, "x", 7, [], {}, ["vcard"], ["vcard", None], ["vcard", {}],
        ["vcard", [None, 1, "x", [], ["fn"], ["fn", {}, "text"]]],
        ["vcard", [[None, {}, "text", "x"], ["fn", {}, "text", None], ["kind", {}, "text", []], ["kind", {}, "text", [[]]]]],
        ["vcard", [["email", {}, "text", {"a": 1}], ["email", None, None, ["x", "y"]]] * 1000],
    ],
)  # fmt: skip
def test_a_card_of_any_shape_is_passed_over(odd):
    entities = [entity("registrant"), entity("abuse"), entity("abuse", MAIL)]
    entities[0]["vcardArray"] = entities[1]["vcardArray"] = odd
    facts = answer(network(entities=entities)).facts
    assert (facts.organisation, facts.abuse_contact) == (None, "abuse@example.net")


@pytest.mark.parametrize("odd", [None, 7, "x", {}, [None, 1, "x", []], [{}], [{"roles": None}, {"roles": [[], {}, 7]}]])
def test_entities_of_any_shape_are_passed_over(odd):
    result = answer(network(entities=odd))
    assert (result.state, result.facts.organisation) == (SourceState.OK, None)


def test_entities_nested_as_deep_as_json_may_be():
    innermost = entity("abuse", MAIL)
    for _ in range(300):
        innermost = entity("technical", entities=[innermost])
    assert answer(network(entities=[innermost])).state is SourceState.OK
    deep = b'{"entities": [' * 1000 + b"{}" + b"]}" * 1000
    result = answer(Answer(body=json.dumps(NETWORK).encode()[:-1] + b', "entities": [' + deep + b"]}"))
    assert (result.state, result.reason) == (FAILED, "the reply is not an object")


def test_of_many_entities_the_first_hundred_are_read():
    many = [entity("technical") for _ in range(99)] + [entity("abuse", MAIL), entity("registrant", ORG, NAME)]
    facts = answer(network(entities=many)).facts
    assert (facts.abuse_contact, facts.organisation) == ("abuse@example.net", None)


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        ("203.0.113.0", "203.0.113.255", "203.0.113.0/24"),
        ("203.0.113.10", "203.0.113.10", "203.0.113.10/32"),
        ("203.0.113.0/24", "203.0.113.255/24", "203.0.113.0/24"),  # LACNIC once wrote them so
        ("203.0.113.5", "203.0.113.11", "203.0.113.8/30"),  # no network by itself: the part around the address
        ("203.0.0.0", "203.255.255.255", "203.0.0.0/8"),
    ],
)
def test_the_network_is_the_part_of_the_range_around_the_address(first, last, found):
    assert answer(network(startAddress=first, endAddress=last)).facts.network == found


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"country": "de"}, {"registered_country": "DE"}),
        ({"country": "Germany"}, {"registered_country": None}),
        ({"country": 7, "name": ["x"]}, {"registered_country": None, "network_name": None}),
        ({"port43": "whois.ripe.net"}, {"registry": "ripencc"}),
        ({"port43": "WHOIS.ARIN.NET"}, {"registry": "arin"}),
        ({"port43": "whois.ripe.net.evil.example"}, {"registry": None}),
        ({"port43": 43}, {"registry": None}),
        ({"name": "<b>NET</b>\u202e"}, {"network_name": "<b>NET</b>"}),
    ],
)
def test_other_fields_are_kept_where_they_can_be_meant(changes, facts):
    found = answer(network(**changes)).facts
    assert {name: getattr(found, name) for name in facts} == facts


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["abuse", "registrant"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["startAddress", "endAddress", "country", "name", "port43", "entities"]), JSON), JSON)
def test_any_json_is_read_or_refused(changes, odd):
    entities = [
        {"roles": ["abuse", "registrant"], "vcardArray": ["vcard", [["kind", {}, "text", "org"], ["fn", {}, "text", odd]]]}
    ]
    for said in (
        changes,
        {**NETWORK, **changes},
        {**NETWORK, "entities": entities},
        {**NETWORK, "entities": [odd, {"vcardArray": odd}]},
    ):
        with suppress(SourceError):
            facts = read_network(said, ADDRESS)
            assert facts.network is not None
            assert ADDRESS in ip_network(facts.network)
            assert all(len(text) <= 120 for text in (facts.organisation, facts.abuse_contact, facts.network_name) if text)


@given(st.ip_addresses(), st.ip_addresses(), st.ip_addresses())
def test_any_range_holds_the_address_or_is_refused(first, last, address):
    with suppress(SourceError):
        facts = read_network({"startAddress": str(first), "endAddress": str(last)}, address)
        assert facts.network is not None
        assert address in ip_network(facts.network)


# --- where it follows


def test_a_redirect_within_the_list_is_followed():
    moved = Answer(status=302, headers={"Location": "/elsewhere/ip/203.0.113.10"})
    with service(in_turn([moved, network()])) as fake:
        assert ask(fake).state is SourceState.OK
    assert [r.path for r in fake.requests] == ["/ip/203.0.113.10", "/elsewhere/ip/203.0.113.10"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_out_of_the_list_is_not(status):
    with service(lambda _: network()) as other:
        result = answer(Answer(status=status, headers={"Location": f"{other.base_url}/ip/203.0.113.10"}))
        assert other.requests == []
    assert (result.state, result.reason) == (FAILED, "the service redirects to where it may not")
    assert len(result.contacted) == 1


def test_a_redirect_in_circles_ends():
    with service(lambda r: Answer(status=302, headers={"Location": r.path + "/x"})) as fake:
        result = ask(fake)
    assert (result.state, result.reason) == (FAILED, "the service redirects without end")
    assert len(fake.requests) == 5


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://rdap.db.ripe.net/ip/203.0.113.10", True),
        ("https://RDAP.arin.net:443/registry/ip/203.0.113.10", True),
        ("https://rdap.registro.br/ip/203.0.113.10", True),
        ("http://rdap.db.ripe.net/ip/203.0.113.10", False),
        ("https://rdap.db.ripe.net:8443/ip/203.0.113.10", False),
        ("https://rdap.db.ripe.net.evil.example/", False),
        ("https://rdap.db.ripe.net@evil.example/", False),
        ("https://127.0.0.1/", False),
        ("https://169.254.169.254/latest/meta-data", False),
    ],
)
def test_only_the_registries_are_followed_and_only_over_https(url, may):
    assert Rdap(SourceSettings()).may_redirect(url) is may


# --- whom it asks


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("203.0.113.10", "https://rdap.apnic.net"),
        ("198.51.100.1", "https://rdap.arin.net/registry"),
        ("193.0.6.139", "https://rdap.db.ripe.net"),
        ("200.3.13.10", "https://rdap.lacnic.net/rdap"),
        ("196.216.2.1", "https://rdap.afrinic.net/rdap"),
        ("2a00::1", "https://rdap.db.ripe.net"),
        ("2001:200::1", "https://rdap.apnic.net"),
        ("2410::1", bootstrap.FALLBACK),  # handed out since
    ],
)
def test_each_block_is_asked_about_at_its_registry(address, base):
    assert bootstrap.base_url(ip_address(address), Store("")) == base


def test_what_comes_with_the_program_is_dated_and_whole():
    for version in (4, 6):
        loaded = Store("").load(bootstrap.FEEDS[version])
        assert loaded.is_built_in
        assert loaded.of is not None
        assert len(loaded.table.bases) == 5
    assert Store("").load(bootstrap.FEEDS[4]).entries == 221


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("ipv4", "ipv6"):
        (tmp_path / f"rdap-{name}.json").write_text((SAMPLES / f"bootstrap_{name}.json").read_text())
    return tmp_path


def test_an_imported_list_is_used_instead(directory):
    source = Rdap(SourceSettings(directory=str(directory)))
    store = Store(str(directory))
    assert bootstrap.base_url(V6, store) == "https://rdap.db.ripe.net"
    assert bootstrap.base_url(ip_address("41.0.0.1"), store) == bootstrap.FALLBACK
    assert "https://rdap.afrinic.net/rdap" not in source.services


def test_the_longest_prefix_counts(directory):
    listed = {
        "services": [[["203.0.0.0/8"], ["https://wide.example/"]], [["203.0.113.0/24"], ["https://narrow.example/r/"]]]
    }
    (directory / "rdap-ipv4.json").write_text(json.dumps(listed))
    store = Store(str(directory))
    assert bootstrap.base_url(ADDRESS, store) == "https://narrow.example/r"
    assert bootstrap.base_url(ip_address("203.0.114.1"), store) == "https://wide.example"


def test_a_bad_list_leaves_what_comes_with_the_program(directory):
    (directory / "rdap-ipv4.json").write_text("<html>")
    assert bootstrap.base_url(ADDRESS, Store(str(directory))) == "https://rdap.apnic.net"


@pytest.mark.parametrize(
    "services",
    [
        None, {}, [], [None], [[]], [[["203.0.0.0/8"]]], [[["nonsense"], ["https://rdap.example/"]]],
        [[["203.0.0.0/8"], []]], [[["203.0.0.0/8"], ["http://rdap.example/"]]], [[["203.0.0.0/8"], ["https://127.0.0.1/"]]],
        [[["203.0.0.0/8"], ["https://localhost/"]]],
        [[["203.0.0.0/8"], ["https://rdap.example:99999/"]]], [[["203.0.0.0/8"], ["https://user@rdap.example/"]]],
        [[["203.0.0.0/8"], ["https://rdap.example/?q="]]], [[["203.0.0.0/8"], [None, 7]]], [["203.0.0.0/8", "https://rdap.example/"]],
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_meant_is_refused(services):
    with pytest.raises(FeedError):
        bootstrap.read(json.dumps({"services": services}).encode())


@given(st.recursive(JSON, lambda inner: st.lists(inner, max_size=3)))
def test_any_list_is_read_or_refused(said):
    listed = deepcopy(said)
    for body in ({"services": listed}, {"services": [listed]}, {"services": [[["203.0.0.0/8"], listed]]}, listed):
        with suppress(FeedError):
            table = bootstrap.read(json.dumps(body).encode()).table
            assert all(base.startswith("https://") for base in table.bases)
