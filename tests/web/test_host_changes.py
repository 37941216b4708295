"""What may be said about two scans of a host: only what both of them saw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.ports import compact, expand
from scans.core.types import PortState
from scans.selectors import Change, ChangeKind
from scans.selectors.host_changes import (
    ANSWERED,
    NOT_PROBED,
    SeenAddress,
    count_compared,
    level_change,
    port_changes,
    value_changes,
)

STATES = st.dictionaries(st.integers(1, 30), st.sampled_from(list(PortState)))
SILENT = ["filtered", "unreachable", "error", "not_tested", "refused"]


def states(ports: dict[int, str]) -> dict[str, str]:
    """As stored: every state, with its ports."""
    return {state: compact(port for port, its in ports.items() if its == state) for state in PortState}


def kinds(then: str, now: str) -> list[str]:
    before = {} if then == NOT_PROBED else {6379: then}
    after = {} if now == NOT_PROBED else {6379: now}
    return [change.kind for change in port_changes(states(before), states(after))]


def test_a_port_that_opened_or_closed_before_our_eyes_is_asserted():
    assert kinds("closed", "open") == ["appeared"]
    assert kinds("open", "closed") == ["disappeared"]
    assert kinds("open", "open") == kinds("closed", "closed") == []


@pytest.mark.parametrize("silent", SILENT)
def test_silence_is_never_taken_for_closed(silent):
    assert kinds("open", silent) == kinds(silent, "open") == kinds("closed", silent) == ["inconclusive"]
    assert kinds(silent, "closed") == []
    assert kinds(silent, "filtered") == []


def test_a_port_that_was_not_probed_before_has_not_appeared():
    assert kinds(NOT_PROBED, "open") == ["covered"]
    assert kinds(NOT_PROBED, "closed") == kinds("closed", NOT_PROBED) == []


def test_an_open_port_that_is_probed_no_more_has_not_disappeared():
    assert kinds("open", NOT_PROBED) == ["inconclusive"]


def test_ports_with_the_same_fate_stand_together_and_what_was_open_comes_first():
    then = states({22: "closed", 25: "closed", 80: "open", 143: "open", 443: "open"})
    now = states({22: "filtered", 25: "filtered", 80: "filtered", 143: "closed", 443: "open"})
    assert [(change.kind, change.ports) for change in port_changes(then, now)] == [
        ("disappeared", "143"), ("inconclusive", "80"), ("inconclusive", "22,25"),
    ]  # fmt: skip


@given(STATES, STATES)
def test_whatever_two_scans_saw_only_what_both_saw_is_asserted(then, now):
    told: set[int] = set()
    for change in port_changes(states(then), states(now)):
        ports = set(expand(change.ports))
        assert not ports & told, "each port is told of once"
        told |= ports
        for port in ports:
            assert (then.get(port, NOT_PROBED), now.get(port, NOT_PROBED)) == (change.then, change.now)
            is_asserted = change.kind in (ChangeKind.APPEARED, ChangeKind.DISAPPEARED)
            assert is_asserted == (then.get(port) in ANSWERED and now.get(port) in ANSWERED)
    involved = {port for side in (then, now) for port, state in side.items() if state == "open"}
    assert {port for port in involved if then.get(port) != now.get(port)} <= told, "no open port is passed over"


@given(STATES)
def test_two_equal_scans_cost_nothing_and_differ_in_nothing(seen):
    assert port_changes(states(seen), states(seen)) == []
    assert count_compared(states(seen), states(seen)) == 0


def test_a_level_changes_only_between_two_that_were_observed():
    assert level_change("low", "low") == level_change("unknown", "high") == level_change("high", "unknown") == []
    assert level_change("low", "high") == [Change(kind=ChangeKind.CHANGED, what="Level", then="low", now="high")]


def test_a_fact_changes_only_if_both_scans_were_told_it():
    then = SeenAddress(address="127.66.0.1", port_states={}, said={"Country": "Germany", "Network": "AS1"})
    now = SeenAddress(address="127.66.0.1", port_states={}, said={"Country": "France", "Provider": "Carrier"})
    assert [(change.what, change.then, change.now) for change in value_changes(then, now)] == [
        ("Country", "Germany", "France")
    ]


def told(**by_label: dict[str, str]) -> SeenAddress:
    return SeenAddress(address="127.66.0.1", port_states={}, said={}, told=by_label)


def test_what_one_source_said_is_never_compared_with_what_another_said():
    then = told(organisation={"ip-api": "Example Hosting", "rdap": "Example Holding"})
    assert list(value_changes(then, told(organisation={"rdap": "Example Holding"}))) == [], "ip-api did not answer"
    assert list(value_changes(told(organisation={"ip-api": "Example Hosting"}), told(organisation={"rdap": "Other"}))) == []
    (change,) = value_changes(then, told(organisation={"ip-api": "Example Hosting", "rdap": "Sold BV"}))
    assert (change.what, change.then, change.now) == ("organisation", "Example Holding", "Sold BV")
