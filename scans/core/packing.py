"""Probes as short JSON lists, for reports that are saved half done.

65,535 silent ports are one line: probes that share state, reason and attempts become one compact port list.
Latencies are kept for open ports only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scans.core.ports import compact, expand
from scans.core.types import PortState, Probe

PackedProbes = list[list[str | int | float | None]]


def pack_probes(probes: Iterable[Probe]) -> PackedProbes:
    """Rows of [ports, state, reason, attempts, latency_ms]."""
    groups: dict[tuple[PortState, str, int, float | None], list[int]] = {}
    for probe in probes:
        latency_ms = probe.latency_ms if probe.state is PortState.OPEN else None
        groups.setdefault((probe.state, probe.reason, probe.attempts, latency_ms), []).append(probe.port)
    return [[compact(ports), *group] for group, ports in groups.items()]


def unpack_probes(rows: Sequence[Sequence[str | int | float | None]]) -> tuple[Probe, ...]:
    """The probes again, ascending by port."""
    return tuple(
        sorted(
            Probe(port, PortState(str(state)), str(reason), int(attempts or 0), None if latency is None else float(latency))
            for ports, state, reason, attempts, latency in rows
            for port in expand(str(ports))
        )
    )
