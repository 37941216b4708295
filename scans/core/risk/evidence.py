"""What the rules look at: one frozen value, gathered from the addresses of a target.

A target with several addresses is rated as one. Its ports are those open on any of its addresses, each counted
once; its public ports are those open on a public address. Points come from the first, floors from the second.
Both only grow when an address is added or becomes public, so the rating of the whole is monotone, too.

Of a host that accepts connections on every port an open one is no evidence of a service, unless one was identified there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scans.core.risk.completeness import completeness
from scans.core.risk.fact import Fact
from scans.core.risk.reputation import reputation_facts
from scans.core.risk.services import service_facts
from scans.core.risk.weaknesses import weakness_facts
from scans.core.types import AddressReport, Completeness, PortState, SourceState


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
    """An old answer counts where a rule fires on it, and is no observation by itself; nor is what accepts everything."""
    answered = any(probe.state is PortState.CLOSED for probe in address.probes) or bool(address.telling_ports)
    return answered or any(result.state is SourceState.OK for result in address.sources)


def _observed(addresses: Sequence[AddressReport]) -> Observed:
    open_ports = {port for address in addresses for port in address.telling_ports}
    services = [service for address in addresses for service in address.services]
    facts = {**reputation_facts(addresses), **service_facts(services), **weakness_facts(addresses)}
    return Observed(ports=tuple(sorted(open_ports)), facts=facts)
