"""Spamhaus ZEN: what each answer becomes, and that neither an error nor a deaf resolver is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scans.core.intel import Dnsbl
from scans.core.types import Facts, SourceState
from tests.core.intel.over_dns import ONE, ask, zone
from tests.name_servers import Said, Says, name_server

SAMPLE = json.loads((Path(__file__).parent / "samples" / "dnsbl" / "dnsbl_answers.json").read_text())
LISTED = "2.0.0.127.zen.spamhaus.org A"
UNLISTED = "1.0.0.127.zen.spamhaus.org A"
QUESTION = "10.113.0.203.zen.spamhaus.org A"


def answer(said: Said, *, listed: Said | None = None, unlisted: Said = Says.NXDOMAIN) -> tuple[SourceState, str, Facts]:
    records = {LISTED: SAMPLE[LISTED] if listed is None else listed, UNLISTED: unlisted, QUESTION: said}
    with name_server(zone(records)) as server:
        result = ask(Dnsbl, [ONE], server)[ONE]
    return result.state, result.reason, result.facts


def test_what_no_list_names_is_nothing_known():
    assert SAMPLE[QUESTION] == "NXDOMAIN"
    assert answer(Says.NXDOMAIN) == (SourceState.EMPTY, "nothing known", Facts())


@pytest.mark.parametrize(
    ("codes", "facts"),
    [
        ([2], Facts(dns_lists=("Spamhaus SBL",))),
        ([3], Facts(dns_lists=("Spamhaus CSS",))),
        ([4], Facts(dns_lists=("Spamhaus XBL",))),
        ([4, 5, 6, 7], Facts(dns_lists=("Spamhaus XBL",))),
        ([2, 9], Facts(dns_lists=("Spamhaus SBL", "Spamhaus DROP"))),
        ([30], Facts(dns_lists=("Spamhaus BCL",))),
        ([10], Facts(policy_lists=("Spamhaus PBL",))),
        ([10, 11], Facts(policy_lists=("Spamhaus PBL",))),
        ([10, 4], Facts(dns_lists=("Spamhaus XBL",), policy_lists=("Spamhaus PBL",))),
        ([77], Facts(dns_lists=("Spamhaus ZEN, code 77",))),
    ],
)
def test_a_code_says_which_list_and_a_policy_is_no_accusation(codes, facts):
    assert answer([f"127.0.0.{code}" for code in codes]) == (SourceState.OK, "", facts)


def test_the_sample_of_a_listed_address_becomes_facts():
    lists = Facts(dns_lists=("Spamhaus SBL", "Spamhaus XBL"), policy_lists=("Spamhaus PBL",))
    assert answer(SAMPLE[LISTED])[2] == lists


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("public-resolver A", SourceState.UNAUTHORIZED, "Spamhaus does not answer public resolvers"),
        ("typo-zone A", SourceState.FAILED, "zen.spamhaus.org is no list there"),
        ("over-quota A", SourceState.RATE_LIMITED, "Spamhaus says that this resolver asks too much"),
    ],
)
def test_an_error_is_no_listing(name, state, reason):
    for found in (answer(SAMPLE[name]), answer(Says.NXDOMAIN, listed=SAMPLE[name]), answer([*SAMPLE[name], "127.0.0.2"])):
        assert found[0] is state
        assert found[1].startswith(reason)
        assert found[2] == Facts()


@pytest.mark.parametrize("said", [["192.0.2.80"], ["127.0.1.2"], ["127.0.0.2", "192.0.2.80"], ["127.255.255.1"]])
def test_an_answer_outside_the_listings_is_no_listing(said):
    state, _, facts = answer(said)
    assert (state, facts) == (SourceState.FAILED, Facts())


@pytest.mark.parametrize("deaf", [Says.NXDOMAIN, Says.NO_DATA])
def test_a_resolver_that_never_finds_anything_does_not_clear_anybody(deaf):
    state, reason, _ = answer(Says.NXDOMAIN, listed=deaf)
    assert state is SourceState.FAILED
    assert reason == "the list is not reached through this resolver: set DNS_SERVERS to a resolver of your own"


def test_a_resolver_that_finds_everything_does_not_accuse_anybody():
    state, reason, facts = answer(["127.0.0.2"], unlisted=["127.0.0.2"])
    assert (state, facts) == (SourceState.FAILED, Facts())
    assert reason.startswith("this resolver invents answers")


def test_ipv6_is_asked_about_by_its_nibbles():
    address = "2001:db8::10"
    question = "0.1.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.zen.spamhaus.org A"
    with name_server(zone({LISTED: SAMPLE[LISTED], question: ["127.0.0.3"]})) as server:
        assert ask(Dnsbl, [address], server)[address].facts.dns_lists == ("Spamhaus CSS",)


def test_many_addresses_are_one_request():
    addresses = [f"203.0.113.{n}" for n in range(32)]
    records: dict[str, Said] = {f"{n}.113.0.203.zen.spamhaus.org A": ["127.0.0.4"] for n in range(0, 32, 2)}
    with name_server(zone({LISTED: SAMPLE[LISTED], **records})) as server:
        results = ask(Dnsbl, addresses, server)
    assert len(server.questions) == 34
    assert [r.state for r in results.values()] == [SourceState.OK, SourceState.EMPTY] * 16
