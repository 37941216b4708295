"""The words made from the report alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.risk import gather, rate
from scans.core.summary.deterministic import MAX_TEXT_CHARS, failed, summarise
from scans.core.types import (
    AddressReport,
    Facts,
    PortState,
    Probe,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    Summary,
    SummaryState,
    Target,
    TargetKind,
)

TARGET = Target(kind=TargetKind.NAME, text="shop.invalid", host="shop.invalid")
DEFAULT = tuple(range(1001, 1025))  # 24 ports


def address(text="192.0.2.1", *, is_global=True, sources=(), **ports: tuple[int, ...]) -> AddressReport:
    probes = sorted(Probe(port, PortState(state), "", 1, None) for state, found in ports.items() for port in found)
    return AddressReport(address=ip_address(text), is_global=is_global, probes=tuple(probes), sources=tuple(sources))


def summary(*addresses: AddressReport) -> Summary:
    return summarise(TARGET, addresses, rate(gather(addresses)))


def test_the_level_comes_first_with_its_worst_reasons():
    found = summary(address(open=(22, 5432), closed=tuple(range(1001, 1023))))
    assert found.text == "High: PostgreSQL on 5432 (database listener); SSH reachable on 22. 24 of 24 ports answered."
    assert found.recommendation == (
        "Bind to private addresses; require TLS and strong authentication. "
        "Keys only; restrict source addresses or put it behind a VPN."
    )
    assert (found.state, found.deterministic_text) == (SummaryState.DETERMINISTIC, found.text)


def test_at_most_three_reasons_are_given():
    found = summary(address(open=(22, 23, 445, 3306, 3389, 6379)))
    assert found.text.partition(".")[0].count(";") == 2


def test_a_plain_web_server_is_named_by_its_ports():
    found = summary(address(open=(80, 443)))
    assert found.text == "Low: HTTP, HTTPS on 80, 443 (reachable TCP services). 2 of 2 ports answered."


def test_a_finding_without_ports_gives_its_evidence():
    found = summary(address(closed=DEFAULT, sources=[proxy()]))
    assert found.text == (
        "Low: anonymiser exit (Tor exit, proxy or VPN flag from ip-api). 24 of 24 ports answered, all closed."
    )


def proxy() -> SourceResult:
    return SourceResult(source="ip-api", state=SourceState.OK, facts=Facts(is_proxy=True))


def test_all_closed_is_not_a_promise():
    found = summary(address(closed=DEFAULT))
    assert found.text == "24 of 24 ports answered, all closed. Not a promise of safety."
    assert found.recommendation is None


def test_of_several_addresses_probes_are_counted_and_not_ports():
    both = [address(f"192.0.2.{n}", closed=DEFAULT[:4]) for n in (1, 2)]
    assert summary(*both).text == "8 of 8 probes answered, all closed. Not a promise of safety."


def test_closed_and_silent_ports_are_counted_apart():
    assert summary(address(closed=DEFAULT[:20], filtered=DEFAULT[20:])).text == (
        "20 of 24 ports answered, all closed; 4 probes timed out. Not a promise of safety."
    )


def test_silence_is_not_a_low_risk():
    assert summary(address(filtered=DEFAULT)).text == (
        "Nothing was observed: all 24 probes timed out. This is not a low risk."
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("unreachable", "all 24 probes found no way to it"),
        ("error", "all 24 probes failed on this machine"),
        ("not_tested", "all 24 probes never started"),
        ("refused", "all 24 probes met the scope policy"),
    ],
)
def test_the_kind_of_silence_is_named(state, words):
    assert summary(address(**{state: DEFAULT})).text == f"Nothing was observed: {words}. This is not a low risk."


def test_kinds_of_silence_add_up():
    assert summary(address(filtered=DEFAULT[:23], error=DEFAULT[23:])).text == (
        "Nothing was observed: 23 probes timed out, 1 probe failed on this machine. This is not a low risk."
    )


def test_one_silent_probe_is_the_only_one():
    assert summary(address(filtered=(22,))).text == "Nothing was observed: the only probe timed out. This is not a low risk."


def test_no_probe_at_all_is_said():
    assert summary().text == "Nothing was observed: no port was probed. This is not a low risk."


def test_silent_ports_beside_a_source_that_spoke_are_still_no_promise():
    spoke = SourceResult(source="ip-api", state=SourceState.OK)
    assert summary(address(filtered=DEFAULT, sources=[spoke])).text == (
        "No port answered: all 24 probes timed out. Not a promise of safety."
    )


def test_silent_ports_beside_a_source_that_knows_nothing_are_no_observation():
    knows_nothing = SourceResult(source="ip-api", state=SourceState.EMPTY)
    assert summary(address(filtered=DEFAULT, sources=[knows_nothing])).text == (
        "Nothing was observed: all 24 probes timed out. This is not a low risk."
    )


@pytest.mark.parametrize("ports", [{"open": (22,)}, {"closed": (22,)}, {"filtered": (22,)}])
def test_a_failed_look_up_is_named_in_one_clause_whatever_the_level(ports):
    limited = SourceResult(source="ip-api", state=SourceState.RATE_LIMITED, reason="HTTP 429")
    assert summary(address(sources=[limited], **ports)).text.endswith(" ip-api could not be asked: HTTP 429.")


def test_a_host_that_answers_everywhere_is_said_to_and_its_ports_are_no_reasons():
    seen = replace(address(open=(80, 443, 3306)), answers_everywhere=True)
    assert summary(seen).text == (
        "Nothing was observed: the host answers everywhere, so an open port alone shows no service. This is not a low risk."
    )
    ssh = Service(port=22, state=ServiceState.IDENTIFIED, protocol="SSH")
    known = replace(address(open=(22, 443, 3306)), answers_everywhere=True, services=(ssh,))
    assert "SSH" in summary(known).text
    assert "3306" not in summary(known).text
    assert summary(known).text.endswith(
        "3 of 3 ports answered; the host answers everywhere, so an open port alone shows no service."
    )
    assert "1 of 2 addresses answer everywhere" in summary(seen, address("2001:db8::1", open=(22,))).text


def test_the_same_report_gives_the_same_words():
    report = address(open=(22, 3306), filtered=(80,), sources=[proxy()])
    assert summary(report) == summary(report)


@given(st.text(), st.text(), st.lists(st.sampled_from(list(PortState)), max_size=8))
def test_the_text_is_never_empty_and_always_plain(reason, name, states):
    probes = tuple(Probe(20 + n, state, "", 1, None) for n, state in enumerate(states))
    said = SourceResult(source=name, state=SourceState.FAILED, reason=reason)
    found = summary(AddressReport(address=ip_address("192.0.2.1"), is_global=True, probes=probes, sources=(said,)))
    assert found.text.isprintable()
    assert 0 < len(found.text) <= MAX_TEXT_CHARS


def test_a_name_that_does_not_resolve_is_reported_with_exactly_that_error():
    error = "Failed to resolve shop.invalid: [Errno -2] Name or service not known"
    found = failed(TARGET, "resolve_failed", error)
    assert (found.text, found.recommendation) == (error, None)


def test_a_refusal_says_that_nothing_was_sent():
    found = failed(TARGET, "refused_scope", "10.0.0.1 is outside your scope: add it to SCAN_ALLOW_NETWORKS")
    assert found.text == "10.0.0.1 is outside your scope: add it to SCAN_ALLOW_NETWORKS. Not one packet went to it."


def test_a_refusal_does_not_say_it_twice():
    text = "Outside your scope. Not one packet went to it."
    assert failed(TARGET, "refused_scope", text).text == text


def test_a_failure_without_words_is_still_one():
    assert failed(TARGET, "gave_up", "").text == "The scan of shop.invalid failed: gave_up."
