"""What a host's page shows of the stored evidence, arranged for reading; the words are in the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import template

from scans.core.ports import compact, count_ports, service_name
from scans.core.risk.words import port_list
from scans.core.types import PortState, SummaryState
from scans.core.wire import MAX_LISTED_PORTS, SPEAKING_STATES

register = template.Library()

Json = Mapping[str, Any]

MAX_REASONS = 3
MAX_STRIP_PORTS = 48  # above it a strip says nothing that the counts do not
STRIP_PITCH = 11
STRIP_HEIGHT = 22
STRIP_LOOKS = {PortState.OPEN: "open", PortState.CLOSED: "closed", PortState.NOT_TESTED: "wait"}
HOW_WE_KNOW = {
    "syn-ack": "accepted the connection",
    "conn-refused": "refused the connection (RST)",
    "timeout": "no reply to any attempt; a firewall, or nobody there",
    "no-route": "this machine has no route to it",
}
FLAG_WORDS = {
    ("is_hosting", True): "hosting",
    ("is_hosting", False): "not hosting",
    ("is_proxy", True): "proxy, VPN or Tor exit",
    ("is_proxy", False): "no proxy or VPN",
    ("is_mobile", True): "mobile",
    ("is_mobile", False): "not mobile",
}
NO_WORDS = {
    SummaryState.DETERMINISTIC: "No model was asked for this job.",
    SummaryState.NO_KEY: "No key for the model is configured: the operator sets GEMINI_API_KEY.",
    SummaryState.SKIPPED: "The model was not asked.",
    SummaryState.RATE_LIMITED: "The model's service answered “too many requests”.",
    SummaryState.UNAUTHORIZED: "The model's service refused the key.",
    SummaryState.REJECTED: "The model wrote something that the facts do not bear, so its words were thrown away.",
    SummaryState.FAILED: "The model could not be asked, or did not answer.",
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
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityValue:
    """One thing that is known about an address, and who says so."""

    label: str
    value: str
    source: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One port in the exposure strip."""

    look: str
    x: int


@register.filter
def every_probe(address: Json) -> list[ProbeRow]:
    """All probes of an address one by one; none where they are too many, of which only the open ones are stored anyway."""
    is_short = _count(address["port_states"]) <= MAX_LISTED_PORTS
    return [_probe(probe) for probe in address["probes"]] if is_short else []


@register.filter
def open_probes(address: Json) -> list[ProbeRow]:
    """The open ones."""
    return [_probe(probe) for probe in address["probes"] if probe[1] == PortState.OPEN]


@register.filter
def open_count(address: Json) -> int:
    """How many ports are open; of more than a thousand the evidence lists only the first."""
    return count_ports(address["port_states"]["open"])


def _probe(stored: Sequence[Any]) -> ProbeRow:
    port, state, reason, attempts, latency_ms = stored
    name = service_name(port)
    return ProbeRow(port=port, service=name, state=state, reason=reason, attempts=attempts, latency_ms=latency_ms)


@register.filter
def probe_groups(address: Json) -> list[ProbeGroup]:
    """All ports of an address by state, and by reason where the probes are stored. The counts add up to all of them."""
    groups: list[ProbeGroup] = []
    for state, ports in address["port_states"].items():
        by_reason: dict[str, list[int]] = {}
        for probe in address["probes"]:
            if probe[1] == state:
                by_reason.setdefault(probe[2], []).append(probe[0])
        if by_reason:
            groups += [ProbeGroup(state=state, ports=compact(p), how=how_we_know(r)) for r, p in sorted(by_reason.items())]
        elif ports:
            groups.append(ProbeGroup(state=state, ports=ports, how=""))
    return groups


@register.filter
def how_we_know(reason: str) -> str:
    """The engine's reason in words; one without words of ours is shown as it is."""
    return HOW_WE_KNOW.get(reason, reason)


@register.filter
def identity(address: Json) -> list[IdentityValue]:
    """What the sources say about an address, each value from the first source that has it."""
    found: dict[str, IdentityValue] = {}
    for source in address["sources"]:
        if source["state"] in SPEAKING_STATES:
            for label, value in _values(source["facts"]).items():
                found.setdefault(label, IdentityValue(label=label, value=value, source=source))
    return list(found.values())


def _values(facts: Json) -> dict[str, str]:
    """The facts of one source as lines for people; what it did not say has no line."""
    number = f"AS{facts['asn']}" if facts.get("asn") else ""
    lines = {
        "Organisation": facts.get("organisation"),
        "Provider": facts.get("isp"),
        "Network": " ".join(part for part in (number, facts.get("as_name")) if part),
        "Place": ", ".join(str(facts[name]) for name in ("city", "region", "country") if facts.get(name)),
        "Kind of network": _kind(facts),
    }
    return {label: str(value) for label, value in lines.items() if value}


def _kind(facts: Json) -> str:
    """Flags as words; what a source did not say is neither yes nor no, and has none."""
    words = [
        FLAG_WORDS[flag, facts[flag]] for flag in ("is_hosting", "is_proxy", "is_mobile") if facts.get(flag) is not None
    ]
    text = ", ".join(words)
    return text[:1].upper() + text[1:]


@register.filter
def what_it_says(source: Json) -> str:
    """One line of a source's answer: its facts, or why there are none."""
    if source["state"] in SPEAKING_STATES:
        return "; ".join(_values(source["facts"]).values()) or "nothing about this address"
    return str(source["reason"]) or "no reason given"


@register.filter
def worst_reasons(findings: Sequence[Json]) -> list[Json]:
    """The findings that the verdict names: the worst, without those whose ports a worse one has already named."""
    reasons: list[Json] = []
    named: set[int] = set()
    for finding in findings:
        if not finding["ports"] or not named.issuperset(finding["ports"]):
            reasons.append(finding)
            named.update(finding["ports"])
    return reasons[:MAX_REASONS]


@register.filter
def mid_sentence(title: str) -> str:
    """A title that does not begin the sentence; an acronym keeps its capitals."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


@register.filter
def finding_ports(finding: Json) -> str:
    """The ports of a finding as a short list."""
    return port_list(finding["ports"])


@register.filter
def points_sum(findings: Sequence[Json]) -> int:
    """The points of all findings, which the score shows up to 100 of."""
    return sum(finding["points"] for finding in findings)


@register.filter
def share(points: int) -> str:
    """Points as the width of a bar."""
    return f"{min(points, 100)}%"


@register.filter
def why_no_words(state: str) -> str:
    """Why the model's words are missing."""
    return NO_WORDS[SummaryState(state)]


@register.filter
def has_model_words(state: str) -> bool:
    """Whether the summary was written by the model."""
    return state == SummaryState.WRITTEN


@register.inclusion_tag("scans/_strip.html")
def exposure(result: Json) -> dict[str, Any]:
    """One tick per tested port, in port order; nothing where there are too many, or not all are stored."""
    tests = result["accessibility_tests"]
    shown = tests if len(tests) <= MAX_STRIP_PORTS and len(tests) == _count(result["port_states"]) else []
    ticks = [Tick(look=STRIP_LOOKS.get(test["state"], "doubt"), x=i * STRIP_PITCH) for i, test in enumerate(shown)]
    words = {"open": "open", "closed": "closed", "doubt": "without an answer", "wait": "not tested"}
    counts = {word: sum(tick.look == look for tick in ticks) for look, word in words.items()}
    return {
        "ticks": ticks,
        "width": len(ticks) * STRIP_PITCH,
        "height": STRIP_HEIGHT,
        "label": ", ".join(f"{n} {word}" for word, n in counts.items() if n),
        "ports": [test["port"] for test in shown],
        "open_ports": result["port_states"]["open"],
    }


def _count(port_states: Mapping[str, str]) -> int:
    return sum(map(count_ports, port_states.values()))
