"""Shared by the tests of the probe engine: plans in short, and a run to its end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from ipaddress import ip_address
from pathlib import Path

from scans.core.options import ProbeOptions
from scans.core.probe import HostPlan, HostResult, ProbeEngine
from scans.core.probe.network import KERNEL, Network


def plan(
    ports: Sequence[int], *, key: Hashable = "host", address: str = "127.0.0.1", is_paced: bool = False, **more
) -> HostPlan:
    return HostPlan(key=key, address=ip_address(address), ports=ports, is_paced=is_paced, **more)


def engine_for(*plans: HostPlan, may_connect=lambda address: True, network: Network = KERNEL, **options) -> ProbeEngine:
    """An engine with these hosts and no others to come."""
    engine = ProbeEngine(ProbeOptions(**options), may_connect=may_connect, network=network)
    for one in plans:
        engine.submit(one)
    engine.finish()
    return engine


def collect(engine: ProbeEngine) -> dict[Hashable, HostResult]:
    results = [result for batch in engine.run() for result in batch]
    assert len({result.key for result in results}) == len(results), "a host was reported twice"
    return {result.key: result for result in results}


def probe(*plans: HostPlan, **options) -> dict[Hashable, HostResult]:
    return collect(engine_for(*plans, **options))


def states(result: HostResult) -> dict[int, str]:
    return {probe.port: str(probe.state) for probe in result.probes}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
