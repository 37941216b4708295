"""What the rules look at: one frozen value, gathered from the addresses of a target.

A target with several addresses is rated as one. Its ports are those open on any of its addresses, each counted
once; its public ports are those open on a public address. Points come from the first, floors from the second.
Both only grow when an address is added or becomes public, so the rating of the whole is monotone, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scans.core.risk.completeness import ANSWERED_STATES, completeness
from scans.core.risk.fact import Fact
from scans.core.risk.services import service_facts
from scans.core.types import AddressReport, Completeness, PortState, SourceState

SPEAKING_STATES = frozenset({SourceState.OK, SourceState.STALE})  # their facts count, an old answer's too
FLAGS = {"intel.anonymiser": "is_proxy"}  # a rule's name for what sources say


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What was seen on some addresses: open ports, ascending, and named facts."""

    ports: tuple[int, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskEvidence:
    """Everything a verdict rests on. It holds no time, so the same evidence gives the same verdict on any day."""

    everywhere: Observed
    public: Observed  # the part of it seen on public addresses
    completeness: Completeness
    is_observed: bool  # something answered; a source that knows nothing of an address has told nothing about it


def gather(addresses: Sequence[AddressReport]) -> RiskEvidence:
    """The evidence of one target."""
    return RiskEvidence(
        everywhere=_observed(addresses),
        public=_observed([address for address in addresses if address.is_global]),
        completeness=completeness(addresses),
        is_observed=any(map(_is_observed, addresses)),
    )


def _is_observed(address: AddressReport) -> bool:
    """An old answer counts where a rule fires on it, and is no observation by itself."""
    answered = any(probe.state in ANSWERED_STATES for probe in address.probes)
    return answered or any(result.state is SourceState.OK for result in address.sources)


def _observed(addresses: Sequence[AddressReport]) -> Observed:
    open_ports = {probe.port for address in addresses for probe in address.probes if probe.state is PortState.OPEN}
    stated = {name: _flag(addresses, attribute) for name, attribute in FLAGS.items()}
    flags = {name: fact for name, fact in stated.items() if fact}
    services = [service for address in addresses for service in address.services]
    return Observed(ports=tuple(sorted(open_ports)), facts={**flags, **service_facts(services)})


def _flag(addresses: Iterable[AddressReport], attribute: str) -> Fact | None:
    """True if any source says so, false if one denies it and none confirms, None if none says anything."""
    said: dict[bool, set[str]] = {}
    for address in addresses:
        for result in address.sources:
            value = getattr(result.facts, attribute) if result.state in SPEAKING_STATES else None
            if value is not None:
                said.setdefault(value, set()).add(result.source)
    if not said:
        return None
    value = True in said
    return Fact(value=value, sources=tuple(sorted(said[value])))
