"""How much of what could be known is known, and what is not, in words.

Everything is counted for each address: 24 ports on two addresses are 48, so that the counts add up on a page.
A port that was asked for and not tested counts as tested without an answer, because it is one thing less known.
"""

from __future__ import annotations

from collections.abc import Sequence

from scans.core.risk.words import port_list
from scans.core.text import clean_text
from scans.core.types import AddressReport, Completeness, PortState, ServiceState, SourceState

ANSWERED_STATES = frozenset({PortState.OPEN, PortState.CLOSED})
NOT_ASKED_STATES = frozenset({SourceState.SKIPPED, SourceState.NOT_APPLICABLE})
SILENT_STATES = {
    PortState.FILTERED: "did not answer",
    PortState.UNREACHABLE: "could not be reached",
    PortState.ERROR: "could not be probed, an error on this machine",
    PortState.NOT_TESTED: "were not tested",
    PortState.REFUSED: "are outside the allowed scope",
}
SOURCE_DOUBTS = {  # ok and empty are answers, and a source that is not applicable is not missed
    SourceState.STALE: "did not answer, an older answer stands in",
    SourceState.RATE_LIMITED: "could not be asked",
    SourceState.UNAUTHORIZED: "refused the request",
    SourceState.FAILED: "failed",
    SourceState.SKIPPED: "was not asked",
}
MANY_OPEN_PORTS = 100  # above it a host more likely answers on every port than runs so many services
MAX_REASON_CHARS = 120


def completeness(addresses: Sequence[AddressReport]) -> Completeness:
    """Counts and doubts over all addresses of a target."""
    probes = [probe for address in addresses for probe in address.probes]
    asked = [s for address in addresses for s in address.sources if s.state not in NOT_ASKED_STATES]
    return Completeness(
        ports_answered=sum(probe.state in ANSWERED_STATES for probe in probes),
        ports_tested=len(probes),
        sources_answered=sum(s.state in (SourceState.OK, SourceState.EMPTY) for s in asked),
        sources_asked=len(asked),
        doubts=(
            *port_doubts(addresses),
            *service_doubts(addresses),
            *edge_doubts(addresses),
            *version_doubts(addresses),
            *source_doubts(addresses),
        ),
    )


def port_doubts(addresses: Sequence[AddressReport]) -> tuple[str, ...]:
    """One sentence for each reason why ports are unknown, named by address if there are several."""
    doubts = []
    for address in addresses:
        where = f"On {address.address}, " if len(addresses) > 1 else ""
        for state, words in SILENT_STATES.items():
            if ports := [probe.port for probe in address.probes if probe.state is state]:
                doubts.append(f"{where}{len(ports)} of {len(address.probes)} ports {words} ({port_list(ports)}).")
        if address.answers_everywhere:
            count, telling = sum(probe.state is PortState.OPEN for probe in address.probes), len(address.telling_ports)
            doubts.append(
                f"{where}{'the' if where else 'The'} host answers everywhere: every port accepts connections, also those "
                f"nobody uses. An open port counts only where a service said what it is: {telling} of {count}."
            )
        elif (count := sum(probe.state is PortState.OPEN for probe in address.probes)) > MANY_OPEN_PORTS:
            doubts.append(f"{where}{count} ports are open: the host may accept connections on every port.")
    return tuple(doubts)


def service_doubts(addresses: Sequence[AddressReport]) -> tuple[str, ...]:
    """One sentence for each address with open ports of which nobody knows what they are, if they were asked at all."""
    doubts = []
    for address in addresses:
        known = {service.port for service in address.services if service.state is ServiceState.IDENTIFIED}
        is_open = [probe.port for probe in address.probes if probe.state is PortState.OPEN]
        if address.answers_everywhere:
            continue  # said of all ports already
        if address.services and (unknown := [port for port in is_open if port not in known]):
            where = f"On {address.address}, " if len(addresses) > 1 else ""
            words = "open ports did not say what they are"
            doubts.append(f"{where}{len(unknown)} of {len(is_open)} {words} ({port_list(unknown)}).")
    return tuple(doubts)


def edge_doubts(addresses: Sequence[AddressReport]) -> tuple[str, ...]:
    """One sentence for each address that many sites share: what is found there is not the server's behind it."""
    doubts = []
    for address in addresses:
        said = [result.facts for result in address.sources if result.facts.is_cdn]
        if said:
            where = f"On {address.address}, the" if len(addresses) > 1 else "The"
            name = next((clean_text(facts.cloud_provider, limit=60) for facts in said if facts.cloud_provider), "")
            edge = f"{where} address is a shared edge of a content delivery network" + (f" ({name})" if name else "")
            doubts.append(f"{edge}: findings and reputation describe it and not the origin behind it.")
    return tuple(doubts)


def version_doubts(addresses: Sequence[AddressReport]) -> tuple[str, ...]:
    """Why what versions indicate may not be so: builds with repairs of their own, and what there is no list for."""
    doubts = []
    for address in addresses:
        where = f"On {address.address}, " if len(addresses) > 1 else ""
        known, ended = address.vulnerabilities or (), address.end_of_life or ()
        builders = {*(each.distribution for each in known), *(each.distribution for each in ended)}
        if named := sorted(filter(None, builders)):
            words = "repairs programs without a new version: what a version indicates may be repaired."
            doubts.append(f"{where}{clean_text(' and '.join(named), limit=80)} {words}")
        if unjudged := sum(each.is_exploited is None for each in known):
            cves = "the CVE named is" if unjudged == 1 else f"the {unjudged} CVEs named are"
            doubts.append(f"{where}whether {cves} exploited is not known: the list of those is not on this machine.")
    return tuple(doubt[0].upper() + doubt[1:] for doubt in doubts)


def source_doubts(addresses: Sequence[AddressReport]) -> tuple[str, ...]:
    """One sentence for each source and reason why its answer is missing or old."""
    concerned: dict[tuple[str, SourceState, str], list[str]] = {}
    asked: dict[str, int] = {}
    for address in addresses:
        for result in address.sources:
            asked[result.source] = asked.get(result.source, 0) + 1
            if result.state in SOURCE_DOUBTS:
                reason = clean_text(result.reason, limit=MAX_REASON_CHARS).rstrip(" .")
                concerned.setdefault((result.source, result.state, reason), []).append(str(address.address))
    return tuple(
        f"{clean_text(source, limit=40)} {SOURCE_DOUBTS[state]}"
        + ("" if len(names) == asked[source] else f" for {', '.join(names)}")
        + (f": {reason}." if reason else ".")
        for (source, state, reason), names in concerned.items()
    )
