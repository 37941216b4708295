"""What changed between two scans of a host. A change is asserted only of what both saw.

    then ╲ now   open            closed        silent         not probed
    open         ·               disappeared   inconclusive   inconclusive
    closed       appeared        ·             inconclusive   ·
    silent       inconclusive    ·             ·              ·
    not probed   newly covered   ·             ·              ·

Silent is every state but open and closed: nobody answered, or nobody asked. A dot is not worth a line. The same holds
for everything else that is compared: a level only if both scans observed something, a fact only if the same source told it
to both, and what a service is only if both asked the port and understood the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from scans.core.ports import compact, count_ports, expand
from scans.core.types import Level, PortState, ServiceState

NOT_PROBED = "not_probed"
ANSWERED = frozenset({PortState.OPEN, PortState.CLOSED})
PortStates = Mapping[str, str]  # state: compact ports


class ChangeKind(StrEnum):
    """What may be said about a difference between two scans."""

    APPEARED = "appeared"
    DISAPPEARED = "disappeared"
    CHANGED = "changed"
    INCONCLUSIVE = "inconclusive"  # one of the two did not see it
    COVERED = "covered"  # the earlier one did not look


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference: of ports that share it, or of a named value."""

    kind: ChangeKind
    then: str
    now: str
    ports: str = ""  # compact; "" if it is about the value that `what` names
    what: str = ""
    address: str = ""  # where, if the host has several


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenAddress:
    """What one scan saw at one address, and was told about it."""

    address: str
    port_states: PortStates
    said: Mapping[str, str]  # by its services; label: value
    told: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # about it; label: source: value


def service_values(services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the services of an address say that is worth comparing, by labels that name the port.

    The version is one of its product, so that two products do not have their versions compared. Of a certificate the
    fingerprint decides; the name and the last day beside it follow from it.
    """
    values: dict[str, str] = {}
    for service in services:
        if service["state"] != ServiceState.IDENTIFIED:
            continue
        port, product, tls = service["port"], service.get("product"), service.get("tls", {})
        values[f"Service on {port}"] = service["protocol"]
        if product:
            values[f"Product on {port}"] = product
        if "version" in service:
            values[f"Version of {product or service['protocol']} on {port}"] = service["version"]
        if "fingerprint" in tls:
            day = datetime.fromisoformat(tls["not_after"]).strftime("%-d %b %Y")
            values[f"Certificate on {port}"] = f"{tls['subject']} until {day} (SHA-256 {tls['fingerprint'][:16]}…)"
    return values


def port_changes(then: PortStates, now: PortStates, *, address: str = "") -> list[Change]:
    """The ports of one address, grouped by what became of them; by kind, and in it first what was or is open."""
    was, has_become = _moved(then, now), _moved(now, then)
    moves: dict[tuple[str, str], list[int]] = {}
    for port in was.keys() | has_become.keys():
        moves.setdefault((was.get(port, NOT_PROBED), has_become.get(port, NOT_PROBED)), []).append(port)
    changes = [
        Change(kind=kind, then=before, now=after, ports=compact(ports), address=address)
        for (before, after), ports in moves.items()
        if (kind := _kind(before, after))
    ]
    return sorted(changes, key=_weight)


def count_compared(then: PortStates, now: PortStates) -> int:
    """How many ports `port_changes` has to look at: it skips a state that holds the same ports in both."""
    return sum(count_ports(side.get(state, "")) for state in _differing(then, now) for side in (then, now))


def value_changes(then: SeenAddress, now: SeenAddress, *, address: str = "") -> Iterator[Change]:
    """What both scans were told by the same source, or by the services, and that differs; one change for each label."""
    for label, by_source in now.told.items():
        told = then.told.get(label, {})
        differ = [(told[source], value) for source, value in by_source.items() if told.get(source, value) != value]
        if differ:
            yield Change(kind=ChangeKind.CHANGED, what=label, then=differ[0][0], now=differ[0][1], address=address)
    for label, value in now.said.items():
        before = then.said.get(label)
        if before is not None and before != value:
            yield Change(kind=ChangeKind.CHANGED, what=label, then=before, now=value, address=address)


def level_change(then: str, now: str) -> list[Change]:
    """A level that both scans reached by observing; `unknown` is not one of them."""
    if then == now or Level.UNKNOWN in (then, now):
        return []
    return [Change(kind=ChangeKind.CHANGED, what="Level", then=then, now=now)]


def _weight(change: Change) -> tuple[int, bool, str, str]:
    return list(ChangeKind).index(change.kind), PortState.OPEN not in (change.then, change.now), change.then, change.now


def _kind(then: str, now: str) -> ChangeKind | None:
    if then in ANSWERED and now in ANSWERED:
        return ChangeKind.APPEARED if now == PortState.OPEN else ChangeKind.DISAPPEARED
    if then == NOT_PROBED:
        return ChangeKind.COVERED if now == PortState.OPEN else None
    if PortState.OPEN in (then, now) or (then == PortState.CLOSED and now != NOT_PROBED):
        return ChangeKind.INCONCLUSIVE
    return None


def _moved(these: PortStates, others: PortStates) -> dict[int, str]:
    """The ports whose state differs on the other side, with their state on this one."""
    return {
        port: state
        for state in _differing(these, others)
        for port in set(expand(these.get(state, ""))) - set(expand(others.get(state, "")))
    }


def _differing(then: PortStates, now: PortStates) -> list[str]:
    return [state for state in PortState if then.get(state, "") != now.get(state, "")]
