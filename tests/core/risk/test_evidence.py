"""What is gathered from the addresses of a target, how complete it is, and what is doubtful."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest

from scans.core.risk import gather, rate
from scans.core.risk.evidence import Fact
from scans.core.risk.levels import rank
from scans.core.risk.words import port_list, service_list
from scans.core.types import (
    AddressReport,
    Facts,
    Level,
    PortState,
    Probe,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
)


def address(text="192.0.2.1", *, is_global=True, sources=(), **ports: tuple[int, ...]) -> AddressReport:
    probes = sorted(Probe(port, PortState(state), "", 1, None) for state, found in ports.items() for port in found)
    return AddressReport(address=ip_address(text), is_global=is_global, probes=tuple(probes), sources=tuple(sources))


def source(state=SourceState.OK, reason="", name="ip-api", **facts: bool) -> SourceResult:
    return SourceResult(source=name, state=state, reason=reason, facts=Facts(**facts))


def test_only_open_ports_are_exposure():
    evidence = gather([address(open=(22,), closed=(23,), filtered=(3306,), not_tested=(3389,), refused=(445,))])
    assert evidence.everywhere.ports == (22,)


def test_a_port_open_on_two_addresses_counts_once():
    evidence = gather([address(open=(22, 443)), address("2001:db8::1", open=(22,), filtered=(443,))])
    assert evidence.everywhere.ports == (22, 443)


def test_only_a_public_address_makes_a_port_public():
    evidence = gather([address(open=(22,)), address("10.0.0.1", is_global=False, open=(22, 5432))])
    assert (evidence.public.ports, evidence.everywhere.ports) == ((22,), (22, 5432))


def test_a_database_on_a_private_address_alone_meets_no_floor():
    assert rate(gather([address(is_global=False, open=(22, 5432))])).level is Level.MEDIUM
    assert rate(gather([address(is_global=True, open=(22, 5432))])).level is Level.HIGH


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        ([None], None),
        ([False], Fact(value=False, sources=("s0",))),
        ([None, True], Fact(value=True, sources=("s1",))),
        ([False, True, None], Fact(value=True, sources=("s1",))),
    ],
)
def test_one_source_that_says_so_is_enough_and_silence_is_not_a_no(said, fact):
    sources = [source(name=f"s{n}", is_proxy=value) for n, value in enumerate(said)]
    assert gather([address(sources=sources)]).everywhere.facts.get("intel.anonymiser") == fact


@pytest.mark.parametrize("state", SourceState)
def test_only_a_source_that_spoke_is_believed(state):
    facts = gather([address(sources=[source(state, is_proxy=True)])]).everywhere.facts
    assert ("intel.anonymiser" in facts) is (state in (SourceState.OK, SourceState.STALE))


def test_an_anonymiser_fires_its_rule_and_names_the_source():
    (finding,) = rate(gather([address(closed=(22,), sources=[source(is_proxy=True)])])).findings
    assert (finding.rule_id, finding.points) == ("REP-006", 8)
    assert finding.evidence == "Tor exit, proxy or VPN flag from ip-api"


def test_another_address_never_lowers_the_rating():
    dice = random.Random(7)
    states = list(PortState)

    def some_address(last: int) -> AddressReport:
        probes = tuple(Probe(port, dice.choice(states), "", 1, None) for port in (22, 80, 445, 5432, 6379, 8443))
        said = dice.choice([None, True, False])
        return AddressReport(
            address=ip_address(f"192.0.2.{last}"),
            is_global=dice.random() < 0.5,
            probes=probes,
            sources=(source(is_proxy=said),),
        )

    for _ in range(500):
        addresses = [some_address(n) for n in range(dice.randint(1, 4))]
        before, after = rate(gather(addresses[:-1])), rate(gather(addresses))
        assert after.score >= before.score
        assert rank(after.level) >= rank(before.level)


def test_nothing_at_all_is_unknown():
    assert rate(gather([])).level is Level.UNKNOWN


def test_silence_everywhere_is_unknown_and_one_closed_port_is_not():
    failed = source(SourceState.FAILED, "HTTP 503")
    assert rate(gather([address(filtered=(22, 80), unreachable=(443,), sources=[failed])])).level is Level.UNKNOWN
    assert rate(gather([address(filtered=(22, 80), closed=(443,), sources=[failed])])).level is Level.LOW


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (SourceState.OK, Level.LOW),
        (SourceState.EMPTY, Level.UNKNOWN),  # ip-api of a reserved range: it was asked, and knows nothing
        (SourceState.STALE, Level.UNKNOWN),
        (SourceState.FAILED, Level.UNKNOWN),
    ],
)
def test_a_silent_host_is_low_only_if_a_source_said_something_of_it_today(state, level):
    verdict = rate(gather([address(filtered=(22, 80, 443), sources=[source(state, "reserved range")])]))
    assert (verdict.level, verdict.score) == (level, 0)
    answered = state in (SourceState.OK, SourceState.EMPTY)  # asked and answered, whatever it was worth
    assert (verdict.completeness.sources_answered, verdict.completeness.sources_asked) == (int(answered), 1)


def test_an_address_that_answered_makes_the_target_observed_beside_one_of_which_nothing_is_known():
    nothing_known = address("2001:db8::1", filtered=(22,), sources=[source(SourceState.EMPTY)])
    assert rate(gather([nothing_known])).level is Level.UNKNOWN
    assert rate(gather([nothing_known, address(closed=(22,))])).level is Level.LOW


def test_answers_and_questions_are_counted_for_each_address():
    known = gather(
        [
            address(open=(22,), closed=(80,), filtered=(443,), sources=[source(), source(SourceState.FAILED, name="other")]),
            address("2001:db8::1", open=(22,), filtered=(80, 443), sources=[source(SourceState.EMPTY)]),
        ]
    ).completeness
    assert (known.ports_answered, known.ports_tested) == (3, 6)
    assert (known.sources_answered, known.sources_asked) == (2, 3)


def test_a_source_that_was_not_asked_is_not_counted():
    sources = [source(SourceState.SKIPPED, "offline"), source(SourceState.NOT_APPLICABLE, "private", name="other")]
    known = gather([address(closed=(22,), sources=sources)]).completeness
    assert (known.sources_answered, known.sources_asked) == (0, 0)
    assert known.doubts == ("ip-api was not asked: offline.",)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("filtered", "3 of 24 ports did not answer (25, 3306, 5432)."),
        ("unreachable", "3 of 24 ports could not be reached (25, 3306, 5432)."),
        ("error", "3 of 24 ports could not be probed, an error on this machine (25, 3306, 5432)."),
        ("not_tested", "3 of 24 ports were not tested (25, 3306, 5432)."),
        ("refused", "3 of 24 ports are outside the allowed scope (25, 3306, 5432)."),
    ],
)
def test_a_port_that_is_not_known_is_a_doubt_in_words(state, words):
    known = gather([address(**{state: (25, 3306, 5432), "closed": tuple(range(100, 121))})]).completeness
    assert known.doubts == (words,)
    assert known.ports_answered == 21


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (SourceState.FAILED, "ip-api failed: HTTP 503."),
        (SourceState.RATE_LIMITED, "ip-api could not be asked: HTTP 503."),
        (SourceState.UNAUTHORIZED, "ip-api refused the request: HTTP 503."),
        (SourceState.SKIPPED, "ip-api was not asked: HTTP 503."),
        (SourceState.STALE, "ip-api did not answer, an older answer stands in: HTTP 503."),
    ],
)
def test_a_source_without_an_answer_is_a_doubt_in_words(state, words):
    assert gather([address(sources=[source(state, "HTTP 503.")])]).completeness.doubts == (words,)


def test_several_addresses_are_told_apart_in_the_doubts():
    one = address(closed=(22,), sources=[source()])
    two = address("2001:db8::1", filtered=(22,), sources=[source(SourceState.FAILED, "cut")])
    assert gather([one, two]).completeness.doubts == (
        "On 2001:db8::1, 1 of 1 ports did not answer (22).",
        "ip-api failed for 2001:db8::1: cut.",
    )


def test_a_doubt_shared_by_all_addresses_is_told_once():
    silent = source(SourceState.FAILED, "cut")
    addresses = [address(closed=(22,), sources=[silent]), address("2001:db8::1", closed=(22,), sources=[silent])]
    assert gather(addresses).completeness.doubts == ("ip-api failed: cut.",)


def test_a_hostile_reason_is_cleaned_and_capped():
    (doubt,) = gather([address(sources=[source(SourceState.FAILED, "\x1b]0;x\x07\u202e" + "y" * 9000)])]).completeness.doubts
    assert doubt.isprintable()
    assert len(doubt) < 150


def test_a_host_that_answers_on_every_port_is_named_as_doubtful():
    doubts = gather([address(open=tuple(range(1, 65536)))]).completeness.doubts
    assert doubts == ("65535 ports are open: the host may accept connections on every port.",)


def test_a_port_of_a_host_that_answers_everywhere_counts_only_with_an_identified_service():
    services = [
        Service(port=22, state=ServiceState.IDENTIFIED, protocol="SSH"),
        Service(port=6379, state=ServiceState.SILENT),
        Service(port=8080, state=ServiceState.UNRECOGNISED),
    ]
    seen = replace(address(open=(22, 3306, 6379, 8080)), services=tuple(services))
    assert rate(gather([seen])).level is Level.HIGH
    evidence = gather([replace(seen, answers_everywhere=True)])
    assert (evidence.everywhere.ports, evidence.public.ports) == ((22,), (22,))
    assert rate(evidence).level is Level.LOW
    assert evidence.completeness.doubts == (
        "The host answers everywhere: every port accepts connections, also those nobody uses. "
        "An open port counts only where a service said what it is: 1 of 4.",
    )


def test_a_service_that_says_what_it_is_weighs_as_much_on_a_host_that_answers_everywhere():
    redis = Service(port=6379, state=ServiceState.IDENTIFIED, protocol="Redis", access="PING answered PONG")
    seen = replace(address(open=(6379,)), services=(redis,))
    assert rate(gather([replace(seen, answers_everywhere=True)])).findings == rate(gather([seen])).findings


def test_accepting_everything_is_no_observation():
    everywhere = replace(address(open=(80, 443, 3306)), answers_everywhere=True)
    assert rate(gather([everywhere])).level is Level.UNKNOWN
    assert rate(gather([replace(everywhere, sources=(source(),))])).level is Level.LOW
    assert rate(gather([everywhere, address("2001:db8::1", closed=(80,))])).level is Level.LOW


def test_lists_are_cut_where_nobody_reads_on():
    assert port_list((25, 3306, 3307)) == "25, 3306-3307"
    assert port_list(()) == ""
    assert len(port_list(range(1, 65536, 2))) < 260
    assert port_list(range(1, 65536, 2)).endswith(", …")
    assert service_list((21, 22, 25, 53, 80, 110, 143)) == "FTP, SSH, SMTP, DNS, HTTP and 2 more"
