"""What sources say of an address, as facts: the worse of what they say, who says it, and never less with one more."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.risk import gather, rate
from scans.core.risk.fact import Fact
from scans.core.risk.levels import rank
from scans.core.risk.reputation import reputation_facts
from scans.core.types import AddressReport, Facts, PortState, Probe, SourceResult, SourceState

NOTHING = Facts()


def says(name: str, state: SourceState = SourceState.OK, **facts) -> SourceResult:
    return SourceResult(source=name, state=state, facts=Facts(**facts))


def address(*sources: SourceResult, last: int = 1, is_global: bool = True) -> AddressReport:
    probes = (Probe(22, PortState.CLOSED, "", 1, None),)
    return AddressReport(address=ip_address(f"192.0.2.{last}"), is_global=is_global, probes=probes, sources=sources)


def fact(name: str, *sources: SourceResult) -> Fact | None:
    return reputation_facts([address(*sources)]).get(name)


@pytest.mark.parametrize(
    ("name", "sources", "expected"),
    [
        ("intel.spamhaus_drop", [says("a"), says("b", drop_network="192.0.2.0/24, SBL1")], Fact(value=True, sources=("b",))),
        ("intel.spamhaus_drop", [says("a"), says("b", country="X")], None),
        ("intel.dnsbl", [says("a", dns_lists=("y", "x")), says("b", dns_lists=("x",)), says("c", dns_lists=())],
         Fact(value=("x", "y"), sources=("a", "b"))),
        ("intel.dnsbl", [says("a", policy_lists=("dial-up",))], None),
        ("intel.dnsbl", [says("a", dns_lists=())], Fact(value=(), sources=("a",))),
        ("intel.abuse_score", [says("a", abuse_score=0)], Fact(value=0, sources=("a",))),
        ("intel.abuse_score", [says("a", abuse_score=30), says("b", abuse_score=80)], Fact(value=80, sources=("b",))),
        ("intel.abuse_score", [says("a", abuse_reports=4)], None),
        ("intel.vendor_flags", [says("a", vendor_flags=3), says("b", vendor_flags=4)], Fact(value=4, sources=("b",))),
        ("intel.vendor_flags", [says("b", vendor_flags=4), says("a", vendor_flags=4)], Fact(value=4, sources=("a", "b"))),
        ("intel.greynoise_malicious", [says("a", classification="malicious")], Fact(value=True, sources=("a",))),
        ("intel.greynoise_malicious", [says("a", classification="benign")], Fact(value=False, sources=("a",))),
        ("intel.greynoise_malicious", [says("a", classification="benign"), says("b", classification="malicious")],
         Fact(value=True, sources=("b",))),
        ("intel.anonymiser", [says("a", is_proxy=False), says("b", is_tor_exit=True)], Fact(value=True, sources=("b",))),
        ("intel.anonymiser", [says("a", is_proxy=False), says("b", is_tor_exit=False)],
         Fact(value=False, sources=("a", "b"))),
        ("intel.anonymiser", [says("a", is_proxy=False, is_tor_exit=True)], Fact(value=True, sources=("a",))),
    ],
)  # fmt: skip
def test_the_worse_of_what_sources_say_counts_and_names_who_says_it(name, sources, expected):
    assert fact(name, *sources) == expected


@pytest.mark.parametrize("state", SourceState)
def test_only_an_answer_counts_and_an_old_one_does(state):
    facts = reputation_facts([address(says("a", state, vendor_flags=9, dns_lists=("x",)))])
    assert bool(facts) is (state in (SourceState.OK, SourceState.STALE))


def test_what_nobody_states_is_not_there():
    assert reputation_facts([address(), address(says("a"), says("b", SourceState.EMPTY))]) == {}


def test_the_findings_name_who_says_so_and_a_floor_needs_a_public_address():
    sources = (says("drop", drop_network="192.0.2.0/24, SBL1"), says("x", abuse_score=90), says("y", vendor_flags=2))
    verdict = rate(gather([address(*sources)]))
    assert {finding.rule_id: (finding.points, finding.evidence) for finding in verdict.findings} == {
        "REP-001": (40, "Inside a listed network (drop)"),
        "REP-002": (20, "Abuse score 90 of 100 (x)"),
        "REP-004": (4, "2 independent feeds or engines"),
    }
    assert not any(finding.floor for finding in rate(gather([address(*sources, is_global=False)])).findings)


FACTS = st.builds(
    Facts,
    drop_network=st.sampled_from([None, "192.0.2.0/24"]),
    dns_lists=st.sampled_from([None, (), ("a",), ("a", "b"), ("c",)]),
    abuse_score=st.none() | st.integers(0, 100),
    classification=st.sampled_from([None, "malicious", "benign", "unknown"]),
    vendor_flags=st.none() | st.integers(0, 9),
    is_proxy=st.none() | st.booleans(),
    is_tor_exit=st.none() | st.booleans(),
    is_cdn=st.none() | st.booleans(),
)
SOURCES = st.builds(
    SourceResult, source=st.sampled_from("abc"), state=st.sampled_from([SourceState.OK, SourceState.STALE]), facts=FACTS
)


@given(st.lists(SOURCES, max_size=4), SOURCES, st.booleans())
def test_one_more_source_never_lowers_score_or_level(sources, more, is_elsewhere):
    """It may say so of the same address, or of one more of the same target."""
    wider = [address(*sources), address(more, last=2)] if is_elsewhere else [address(*sources, more)]
    before, after = rate(gather([address(*sources)])), rate(gather(wider))
    assert after.score >= before.score
    assert rank(after.level) >= rank(before.level)


def test_a_shared_edge_is_a_doubt_and_costs_no_point():
    facts = {"is_cdn": True, "cloud_provider": "Cloud\x1bflare"}
    on_edge, other = gather([address(says("a", **facts, abuse_score=80))]), gather([address(says("a", abuse_score=80))])
    assert rate(on_edge).score == rate(other).score == 20
    assert on_edge.completeness.doubts == (
        "The address is a shared edge of a content delivery network (Cloud flare): "
        "findings and reputation describe it and not the origin behind it.",
    )
    assert gather([address(says("a", is_cdn=False))]).completeness.doubts == ()


def test_of_several_addresses_the_one_at_the_edge_is_named():
    (doubt,) = gather([address(says("a")), address(says("a", is_cdn=True), last=2)]).completeness.doubts
    assert doubt.startswith("On 192.0.2.2, the address is a shared edge of a content delivery network: ")
