"""The ports of a host: listed, grouped by state, and drawn as a strip. However many were probed, a page stays small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import template

from scans.core.ports import compact, count_ports, expand, service_name
from scans.core.types import PortState

register = template.Library()

Json = Mapping[str, Any]

MAX_ROWS = 200  # of single probes on one page: shared by all addresses; a row takes some 450 bytes
MAX_SHORT_LIST = 100  # up to so many every probe has a row, above it only those that did not answer "closed"
MAX_STRIP_PORTS = 48  # above it only the ports that are not closed are drawn
STRIP_PITCH = 11
STRIP_HEIGHT = 22
STRIP_LOOKS = {PortState.OPEN: "open", PortState.CLOSED: "closed", PortState.NOT_TESTED: "wait"}
STRIP_WORDS = {"open": "open", "closed": "closed", "doubt": "without an answer", "wait": "not tested"}
HOW_WE_KNOW = {
    "syn-ack": "accepted the connection",
    "conn-refused": "refused the connection (RST)",
    "timeout": "no reply to any attempt; a firewall, or nobody there",
    "no-route": "this machine has no route to it",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeRow:
    """One port, as stored."""

    port: int
    service: str
    state: str
    reason: str
    attempts: int
    latency_ms: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeGroup:
    """The ports of one address that share a state and a reason."""

    state: str
    ports: str
    count: int
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One port in the exposure strip."""

    look: str
    x: int


@register.filter
def listed_probes(address: Json, addresses: int) -> list[ProbeRow]:
    """The probes of one of so many addresses that are worth a row, in port order."""
    probes = address["probes"]
    if len(probes) > MAX_SHORT_LIST:
        probes = [probe for probe in probes if probe[1] != PortState.CLOSED]
    return _rows(probes[: MAX_ROWS // max(1, addresses)])


@register.filter
def answers_everywhere(addresses: Iterable[Json]) -> bool:
    """Whether one of them accepts connections on every port."""
    return any(address.get("answers_everywhere") for address in addresses)


@register.filter
def open_count(address: Json) -> int:
    """How many ports are open; of more than a thousand the evidence lists only the first."""
    return count_ports(address["port_states"]["open"])


def _rows(probes: Iterable[Sequence[Any]]) -> list[ProbeRow]:
    return [
        ProbeRow(port=port, service=service_name(port), state=state, reason=reason, attempts=attempts, latency_ms=latency)
        for port, state, reason, attempts, latency in probes
    ]


@register.filter
def probe_groups(address: Json) -> list[ProbeGroup]:
    """All ports of an address by state, and by reason where the probes are stored. The counts add up to all of them."""
    by_reason: dict[tuple[str, str], list[int]] = {}
    for port, state, reason, *_ in address["probes"]:
        by_reason.setdefault((state, reason), []).append(port)
    groups: list[ProbeGroup] = []
    for state, ports in address["port_states"].items():
        count = count_ports(ports)
        reasons = {reason: found for (its, reason), found in sorted(by_reason.items()) if its == state}
        if sum(map(len, reasons.values())) == count:
            groups += [_group(state, reason, found) for reason, found in reasons.items()]
        else:  # of a host with very many ports only some probes are stored
            groups.append(ProbeGroup(state=state, ports=ports, count=count, how=""))
    return groups


def _group(state: str, reason: str, ports: Sequence[int]) -> ProbeGroup:
    return ProbeGroup(state=state, ports=compact(ports), count=len(ports), how=how_we_know(reason))


@register.filter
def total_ports(groups: Sequence[ProbeGroup]) -> int:
    """How many ports were probed in all."""
    return sum(group.count for group in groups)


@register.filter
def how_we_know(reason: str) -> str:
    """The engine's reason in words; one without words of ours is shown as it is."""
    return HOW_WE_KNOW.get(reason, reason)


@register.inclusion_tag("scans/_strip.html")
def exposure(result: Json) -> dict[str, Any]:
    """One tick per port in port order; above 48 ports only for those that are not closed, and none if these are too many."""
    states = result["port_states"]
    how_many = {state: count_ports(ports) for state, ports in states.items()}
    is_whole = sum(how_many.values()) <= MAX_STRIP_PORTS
    drawn = [state for state in states if is_whole or state != PortState.CLOSED]
    is_drawn = sum(how_many[state] for state in drawn) <= MAX_STRIP_PORTS
    found = sorted((port, state) for state in drawn for port in expand(states[state])) if is_drawn else []
    ticks = [Tick(look=STRIP_LOOKS.get(PortState(state), "doubt"), x=i * STRIP_PITCH) for i, (_, state) in enumerate(found)]
    counts = dict.fromkeys(STRIP_WORDS, 0)
    for state, n in how_many.items():
        counts[STRIP_LOOKS.get(PortState(state), "doubt")] += n
    return {
        "ticks": ticks,
        "is_whole": is_whole,
        "width": len(ticks) * STRIP_PITCH,
        "height": STRIP_HEIGHT,
        "label": ", ".join(f"{n:,} {STRIP_WORDS[look]}" for look, n in counts.items() if n),
        "ports": [port for port, _ in found],
        "open_ports": states["open"],
        "has_ports": any(how_many.values()),
    }
