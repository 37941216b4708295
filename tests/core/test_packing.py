"""Packed probes come back as they were, whatever the mixture."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scans.core.packing import pack_probes, unpack_probes
from scans.core.ports import compact, expand
from scans.core.types import PortState, Probe

PROBES = st.builds(
    lambda port, state, attempts: Probe(port, state, "reason", attempts, 1.5 if state is PortState.OPEN else None),
    st.integers(1, 65535),
    st.sampled_from(PortState),
    st.integers(0, 10),
)


@given(st.lists(PROBES, unique_by=lambda probe: probe.port, max_size=60))
def test_packing_loses_nothing(probes):
    assert unpack_probes(pack_probes(probes)) == tuple(sorted(probes))


@given(st.sets(st.integers(1, 65535), max_size=80))
def test_compact_text_expands_to_the_same_ports(ports):
    assert expand(compact(ports)) == tuple(sorted(ports))


def test_the_longest_mixture_there_is_can_be_packed():
    probes = tuple(Probe(p, PortState.CLOSED if p % 2 else PortState.FILTERED, "x", 1, None) for p in range(1, 65536))
    assert unpack_probes(pack_probes(probes)) == probes


def test_a_silent_host_is_one_row():
    probes = [Probe(p, PortState.FILTERED, "timeout", 2, None) for p in range(1, 65536)]
    assert pack_probes(probes) == [["1-65535", PortState.FILTERED, "timeout", 2, None]]
