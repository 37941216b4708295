"""What sources say, side by side: agreement is said once, more and other things stand beside it with their source."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.said import IDENTITY, MAX_LISTED, REPUTATION, SEEN, in_words, listed, told
from scans.core.types import Facts, SourceState

LINES = {line.label: line for line in (*IDENTITY, *REPUTATION, *SEEN)}


def said(name: str, state: str = "ok", **facts: Any) -> dict[str, Any]:
    return {"source": name, "state": state, "observed_at": None, "is_cached": False, "facts": facts}


def on(label: str, *sources: dict[str, Any]) -> tuple[list[tuple[str, str, tuple[str, ...]]], bool]:
    """Who says what on a line and who agrees, and whether they contradict each other."""
    (found,) = told(sources, [LINES[label]])
    return [(a.source["source"], a.words, a.agreeing) for a in found.answers], found.is_disputed


def test_who_says_the_same_is_named_beside_the_first():
    one, two = said("a", organisation="Example GmbH"), said("b", organisation="EXAMPLE GMBH")
    assert on("Organisation", one, two) == ([("a", "Example GmbH", ("b",))], False)


def test_two_answers_both_stand_with_their_sources():
    one, two = said("a", organisation="Example GmbH"), said("b", organisation="Other BV")
    assert on("Organisation", one, two)[0] == [("a", "Example GmbH", ()), ("b", "Other BV", ())]


def test_sources_that_cannot_both_be_right_are_disputed():
    here = said("a", city="Berlin", country="Germany", country_code="DE")
    there = said("b", country="Netherlands", country_code="NL")
    assert on("Place", here, there) == ([("a", "Berlin, Germany", ()), ("b", "Netherlands", ())], True)
    assert on("Network", said("a", asn=64500, as_name="ONE"), said("b", asn=64501))[1]


def test_who_says_less_and_nothing_else_agrees():
    here = said("a", city="Berlin", country="Germany", country_code="DE")
    less = said("b", country="Germany", country_code="DE")
    assert on("Place", here, less) == ([("a", "Berlin, Germany", ("b",))], False)
    named = on("Network", said("a", asn=64500, as_name="EXAMPLE"), said("b", asn=64500, as_name="Example, DE"))
    assert named == ([("a", "AS64500 EXAMPLE", ("b",))], False)


def test_who_says_more_stands_beside_it_without_a_dispute():
    less, more = (
        said("a", country="Germany", country_code="DE"),
        said("b", city="Berlin", country="Germany", country_code="DE"),
    )
    assert on("Place", less, more) == ([("a", "Germany", ()), ("b", "Berlin, Germany", ())], False)


def test_where_an_address_is_and_where_it_is_registered_are_two_things():
    labels = [line.label for line in told([said("a", country="Germany"), said("b", registered_country="NL")], IDENTITY)]
    assert labels == ["Place", "Registry"]


@pytest.mark.parametrize("state", [state for state in SourceState if state not in ("ok", "stale")])
def test_who_did_not_answer_says_nothing(state):
    assert told([said("a", state, country="Germany")], IDENTITY) == []


def test_a_no_is_an_answer_and_silence_is_none():
    assert in_words(said("a", is_tor_exit=False)) == ["No exit of the Tor network"]
    assert in_words(said("a", abuse_score=0, abuse_reports=0)) == ["Abuse score: 0 of 100, 0 reports"]
    assert in_words(said("a")) == []


def test_a_long_list_names_the_first_and_counts_the_rest():
    assert listed(range(MAX_LISTED + 3)).endswith("11 and 3 more")
    assert in_words(said("a", seen_ports=[22, 80])) == ["Ports: 22, 80"]


def test_every_fact_stands_on_a_line():
    shown = {name for line in LINES.values() for name in line.names} | {"country_code"}  # part of the place
    assert shown == {known.name for known in fields(Facts)}


VALUES = {
    "str | None": st.text(min_size=1, max_size=5),
    "int | None": st.integers(0, 3),
    "float | None": st.floats(-90, 90),
    "bool | None": st.booleans(),
    "tuple[str, ...] | None": st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=20),
    "tuple[int, ...] | None": st.lists(st.integers(1, 65535), min_size=1, max_size=20),
}
ANY_FACTS = st.fixed_dictionaries({}, optional={known.name: VALUES[str(known.type)] for known in fields(Facts)})


@given(st.lists(ANY_FACTS, min_size=1, max_size=4))
def test_no_answer_is_lost_whoever_gave_it(facts):
    sources = [said(str(at), **known) for at, known in enumerate(facts)]
    for found in told(sources, LINES.values()):
        named = [name for answer in found.answers for name in (answer.source["source"], *answer.agreeing)]
        assert sorted(named) == [s["source"] for s in sources if LINES[found.label].words(s["facts"])]
        assert all(answer.words for answer in found.answers)
