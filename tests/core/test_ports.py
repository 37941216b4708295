"""Port profiles and what users may write for ports."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scans.core.ports import (
    DEFAULT_SERVICES,
    PROFILES,
    PortError,
    catalogue,
    compact,
    count_ports,
    expand,
    expand_all,
    parse_ports,
    profile_of,
)

MOST_OFTEN_OPEN = (80, 23, 443, 21, 22, 25, 3389, 110, 445, 139, 143, 53, 135, 3306, 8080, 1723, 111, 995, 993, 5900)
UDP_ONLY = {69, 137, 161, 500, 623, 1434, 1900, 5683, 47808}


def test_top100_is_a_hundred_known_ports_that_hold_what_is_most_often_open_and_the_default_profile():
    top100 = PROFILES["top100"]
    assert len(top100) == len(set(top100)) == 100
    assert list(top100) == sorted(top100)
    assert set(top100) >= {*MOST_OFTEN_OPEN, *DEFAULT_SERVICES}
    assert set(top100) <= set(catalogue())


def test_top100_asks_no_industrial_controller_and_nothing_that_speaks_udp_only():
    assert not set(PROFILES["top100"]) & UDP_ONLY
    assert "ics" not in {catalogue()[port].category for port in PROFILES["top100"]}


def test_exposure_is_every_sensitive_port_of_the_catalogue():
    assert set(PROFILES["exposure"]) == {port for port, info in catalogue().items() if info.is_sensitive}
    assert {23, 445, 2375, 6379} <= set(PROFILES["exposure"])
    assert not {80, 443} & set(PROFILES["exposure"])


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_asked_for_by_its_name(name):
    assert parse_ports(f" {name} ") == tuple(PROFILES[name])
    assert profile_of(compact(PROFILES[name])) == name


@pytest.mark.parametrize(
    "spec", ["", "0", "65536", "22-", "9-1", "22,,80", "TOP100", "top100,22", "²", 22, None, [], [True], ["22"]]
)
def test_what_is_no_list_of_ports_is_an_error_that_names_it(spec):
    with pytest.raises(PortError, match=r"\S"):
        parse_ports(spec)


@given(st.sets(st.integers(1, 65535), min_size=1, max_size=200))
def test_what_compact_writes_reads_back_as_the_same_ports(ports):
    assert set(expand(compact(ports))) == ports
    if len(compact(ports)) <= 1000:
        assert parse_ports(compact(ports)) == tuple(sorted(ports))


# Sets with gaps and with long runs, which random numbers alone hardly ever have.
runs = st.lists(st.tuples(st.integers(1, 65535), st.integers(0, 40)), max_size=30)
port_sets = runs.map(lambda found: {port for first, more in found for port in range(first, min(first + more, 65535) + 1)})
EVERY_OTHER, PAIRS, ALL = set(range(1, 65536, 2)), {port for port in range(1, 65536) if port % 3}, set(range(1, 65536))


def parts_of(ports: set[int]) -> list[str]:
    """The parts of compact text as one would find them by hand: a run begins where the port before is missing."""
    firsts = sorted(port for port in ports if port - 1 not in ports)
    lasts = sorted(port for port in ports if port + 1 not in ports)
    return [f"{first}" if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)]


@given(port_sets)
@example(set())
@example({65535})
@example(EVERY_OTHER)
@example(PAIRS)
@example(ALL)
def test_compact_text_names_every_run_and_is_counted_and_expanded_to_the_same_ports(ports):
    text = compact(ports)
    assert text == ",".join(parts_of(ports))
    assert expand(text) == tuple(sorted(ports))
    assert count_ports(text) == len(ports)


@given(st.lists(st.integers(1, 65535), max_size=200))
def test_neither_order_nor_repeats_change_compact_text(ports):
    assert compact(ports) == compact(iter(sorted(ports))) == compact(set(ports))


@given(st.lists(port_sets, max_size=6))
@example([EVERY_OTHER, PAIRS, EVERY_OTHER])
def test_several_lists_together_hold_what_each_of_them_holds(several):
    assert expand_all(map(compact, several)) == {port for ports in several for port in ports}
