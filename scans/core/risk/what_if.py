"""What if these ports were closed: the same evidence without them and their services, rated by the same scorer.

A closed port answers with a refusal, so what was observed stays observed: closing all of them gives `low`, never
`unknown`. What was followed from one port to another (a page that leads from 80 to 443) stays with the first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from scans.core.risk.evidence import gather
from scans.core.risk.levels import rank
from scans.core.risk.pack import Pack
from scans.core.risk.scorer import rate
from scans.core.types import AddressReport, EndOfLife, Finding, PortState, Probe, Verdict, Vulnerability

Known = TypeVar("Known", Vulnerability, EndOfLife)

MAX_CANDIDATES = 20  # ports that are tried one by one; each is one rating
MAX_TRIED_PORTS = 256  # open ones; of a host with more a single port says nothing, and each rating takes long


@dataclass(frozen=True, kw_only=True, slots=True)
class Relief:
    """What closing one port does."""

    port: int
    verdict: Verdict


def rate_closed(addresses: Sequence[AddressReport], ports: Collection[int], pack: Pack | None = None) -> Verdict:
    """The verdict if these ports were closed at every address. Ports that are not open change nothing."""
    return rate(gather([_closed(address, ports) for address in addresses]), pack)


def best_relief(addresses: Sequence[AddressReport], now: Verdict, pack: Pack | None = None) -> Relief | None:
    """The one port whose closing lowers the verdict most; None if none does, or if there are too many to try."""
    open_ports = {port for address in addresses for port in address.telling_ports}
    if not open_ports or len(open_ports) > MAX_TRIED_PORTS:
        return None
    candidates = by_weight(open_ports, addresses, now)[:MAX_CANDIDATES]
    tried = [Relief(port=port, verdict=rate_closed(addresses, {port}, pack)) for port in candidates]
    best = min(tried, key=lambda relief: (*_badness(relief.verdict), relief.port))
    return best if _badness(best.verdict) < _badness(now) else None


def by_weight(open_ports: Iterable[int], addresses: Iterable[AddressReport], now: Verdict) -> list[int]:
    """Open ports, those first that more can be said against: named by a finding, worst first, then asked, then the rest.

    The finding that counts all open ports names none in particular.
    """
    is_open = sorted(open_ports)
    named = [port for finding in now.findings if len(finding.ports) < len(is_open) for port in finding.ports]
    asked = [service.port for address in addresses for service in address.services if service.elapsed_ms is not None]
    known = set(is_open)
    return [port for port in dict.fromkeys([*named, *asked, *is_open]) if port in known]


def _badness(verdict: Verdict) -> tuple[int, int]:
    """Level, then points: above a hundred the score no longer tells two verdicts apart."""
    return rank(verdict.level), points(verdict.findings)


def points(findings: Iterable[Finding]) -> int:
    """Of all findings, which the score shows up to 100 of."""
    return sum(finding.points for finding in findings)


def _closed(address: AddressReport, ports: Collection[int]) -> AddressReport:
    probes = [_refused(probe) if _is_among(probe, ports) else probe for probe in address.probes]
    services = [service for service in address.services if service.port not in ports]
    return replace(
        address,
        probes=tuple(probes),
        services=tuple(services),
        vulnerabilities=_still_seen(address.vulnerabilities, ports),
        end_of_life=_still_seen(address.end_of_life, ports),
    )


def _still_seen(known: tuple[Known, ...] | None, ports: Collection[int]) -> tuple[Known, ...] | None:
    """Without what only these ports showed. What a source names without a port stays: nobody knows which one it is at."""
    if known is None:
        return None
    return tuple(each for each in known if not each.ports or not set(each.ports) <= set(ports))


def _is_among(probe: Probe, ports: Collection[int]) -> bool:
    return probe.state is PortState.OPEN and probe.port in ports


def _refused(probe: Probe) -> Probe:
    return probe._replace(state=PortState.CLOSED, reason="supposed")
