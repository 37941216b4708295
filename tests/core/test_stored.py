"""Stored evidence read back: as values it rates as it did before, and what cannot be read says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scans.core.risk import gather, rate
from scans.core.stored import UnreadableEvidenceError, stored_addresses
from scans.core.types import PortState, SourceState
from scans.core.wire import evidence_dict, verdict_dict
from tests.factories import make_address, make_report, make_services, make_source

SEEN = make_address(
    open_ports=[8080], filtered=[25], sources=[make_source(), make_source(SourceState.FAILED)], services=make_services()
)


def stored(*addresses):
    """As a database gives it back."""
    return json.loads(json.dumps(evidence_dict(make_report("127.66.0.1", *addresses))))


def rated(address):
    """Without the probes that no rule looks at: what is not open, and all that was refused but the first."""
    is_open = [probe for probe in address.probes if probe.state is PortState.OPEN]
    refused = [probe for probe in address.probes if probe.state is PortState.CLOSED]
    return replace(address, probes=(*is_open, *refused[:1]))


def judged(*addresses):
    verdict = rate(gather(addresses))
    return verdict.level, verdict.score, verdict.findings


def test_what_is_read_is_what_was_written_as_far_as_rules_look_at_it():
    assert stored_addresses(stored(SEEN)) == (rated(SEEN),)
    assert judged(*stored_addresses(stored(SEEN))) == judged(SEEN)


@pytest.mark.parametrize(
    "seen",
    [
        make_address(),
        make_address(open_ports=[22, 80], filtered=range(100, 5000), ports=range(1, 65_536)),
        make_address(open_ports=range(1, 2000), ports=()),
        make_address(filtered=[22, 80], ports=(), sources=[]),
        make_address(filtered=[22, 80], ports=(), sources=[make_source(SourceState.STALE)]),
        make_address(open_ports=[6379], is_global=False),
    ],
    ids=["closed", "all ports", "very many open", "silent", "an old answer", "not public"],
)
def test_it_rates_as_it_did_before(seen):
    assert judged(*stored_addresses(stored(seen))) == judged(seen)


@pytest.mark.parametrize(
    "seen",
    [
        SEEN,
        make_address(open_ports=[22, 80], filtered=range(100, 5000), ports=range(1, 65_536)),
        make_address(open_ports=range(1, 2000), ports=()),
        make_address(filtered=[22, 80], ports=(), sources=[make_source(SourceState.STALE)]),
        replace(make_address(open_ports=[22]), answers_everywhere=True),
    ],
    ids=["services", "all ports", "very many open", "silent", "answers everywhere"],
)
def test_in_full_it_gives_the_same_verdict_to_the_byte(seen):
    again = stored_addresses(stored(seen, other := make_address("127.66.0.2", filtered=[25])), in_full=True)
    assert json.dumps(verdict_dict(rate(gather(again)))) == json.dumps(verdict_dict(rate(gather([seen, other]))))


def test_what_an_older_version_did_not_store_was_not_said():
    bare = {"addresses": [{"address": "192.0.2.1"}, {"address": "192.0.2.2", "probes": [[22, "open", "", 1, None]]}]}
    first, second = stored_addresses(bare, in_full=True)
    assert (first.probes, first.sources, first.services, first.is_global) == ((), (), (), False)
    assert [(probe.port, probe.state) for probe in second.probes] == [(22, PortState.OPEN)]


@pytest.mark.parametrize("schema", [0, 3, "2", None, [1]])
def test_a_schema_that_is_not_known_is_named(schema):
    with pytest.raises(UnreadableEvidenceError, match=r"schema .+ is none of 1 to 2"):
        stored_addresses({"schema": schema, "addresses": []})


def test_a_row_from_before_services_were_asked_has_none():
    evidence = stored(SEEN)
    del evidence["addresses"][0]["services"]
    assert stored_addresses(evidence) == (replace(rated(SEEN), services=()),)


def test_what_a_later_version_says_more_is_left_out():
    evidence = stored(SEEN)
    evidence["addresses"][0]["services"][0]["mood"] = "good"
    evidence["addresses"][0]["sources"][0]["facts"]["weather"] = "fair"
    assert stored_addresses(evidence) == (rated(SEEN),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port_states", {"ajar": "22"}),
        ("probes", [[22, "ajar", "", 1, None]]),
        ("port_states", {"open": "twenty", "closed": ""}),
        ("probes", [[22]]),
        ("services", [{"port": 22, "state": "shy"}]),
        ("sources", [{}]),
        ("address", "nowhere"),
    ],
)
def test_what_is_not_known_here_is_an_error_that_names_it(name, value):
    evidence = stored(SEEN)
    evidence["addresses"][0][name] = value
    with pytest.raises(UnreadableEvidenceError):
        stored_addresses(evidence)
    with pytest.raises(UnreadableEvidenceError, match="addresses"):
        stored_addresses({})
