"""What a host's page says of the stored evidence: verdict, identity, sources, findings, history. Words are in the templates.

Beside this: host_probes (ports), host_words (the model's), host_commands (to copy), host_evidence (the JSON itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from scans.core.risk import points
from scans.core.risk.words import port_list
from scans.core.said import IDENTITY, REPUTATION, SEEN, SPEAKING_STATES, Told, in_words, speaking, told
from scans.core.types import Finding, SourceState
from scans.core.vulnerabilities import ALL_SOURCES
from scans.selectors import Change, ChangeKind, HostHistory, HostScan, last_observed
from scans.templatetags.looks import PORT_LOOKS, SOURCE_LOOKS, Look, state_look

register = template.Library()

Json = Mapping[str, Any]

MAX_REASONS = 3
MAX_PORT_LINKS = 8
ALWAYS = ("Organisation", "Provider", "Network", "Place", "Kind of network")  # stand there, known or not
WHAT_A_SOURCE_GIVES = {kind.name: kind.gives for kind in ALL_SOURCES}
COSTLY_STATES = frozenset(
    {SourceState.RATE_LIMITED, SourceState.UNAUTHORIZED, SourceState.FAILED, SourceState.SKIPPED, SourceState.STALE}
)
NO_RESULT = {
    "resolve_failed": "the name could not be resolved",
    "cancelled": "the job was cancelled",
    "gave_up": "given up after several attempts",
}
CHANGE_LOOKS: dict[str, Look] = {
    ChangeKind.APPEARED: ("known", "plus", "appeared"),
    ChangeKind.DISAPPEARED: ("absent", "minus", "disappeared"),
    ChangeKind.CHANGED: ("known", "change", "changed"),
    ChangeKind.INCONCLUSIVE: ("doubt", "doubt", "inconclusive"),
    ChangeKind.COVERED: ("absent", "new", "newly covered"),
}
SUPPOSED_LOOKS: dict[str, Look] = {
    "gone": ("absent", "hollow", "goes away"),
    "eased": ("known", "half", "weighs less"),
    "same": ("known", "solid", "stays"),
}


@register.filter
def identity(address: Json) -> list[Told]:
    """Who and where: every line that a source says something on, and those that are missed where none does."""
    found = {line.label: line for line in told(address["sources"], IDENTITY)}
    return [found.get(line.label) or Told(label=line.label) for line in IDENTITY if line.label in {*found, *ALWAYS}]


@register.filter
def reputation(address: Json) -> list[Told]:
    """What sources have against it, or for it."""
    return told(address["sources"], REPUTATION)


@register.filter
def seen_by_others(address: Json) -> list[Told]:
    """What sources say they saw there."""
    return told(address["sources"], SEEN)


@register.filter
def why_not_said(address: Json) -> str:
    """Why a value is missing: which state each source is in; "no source was asked" if there is none."""
    states = {source["source"]: SOURCE_LOOKS[source["state"]][2] for source in address["sources"]}
    return ", ".join(f"{name}: {word}" for name, word in states.items()) or "no source was asked"


@register.filter
def count_speaking(address: Json) -> int:
    """How many sources said something."""
    return len(speaking(address["sources"]))


@register.filter
def what_it_says(source: Json) -> str:
    """One line of a source's answer: its facts, or why there are none."""
    if source["state"] in SPEAKING_STATES:
        return "; ".join(in_words(source)) or "nothing about this address"
    return str(source["reason"]) or "no reason given"


@register.filter
def what_it_costs(source: Json) -> str:
    """What a missing answer costs this report; "" for a source that answered, or that is not missed."""
    if source["state"] not in COSTLY_STATES:
        return ""
    given = WHAT_A_SOURCE_GIVES.get(source["source"], "what it knows")
    if source["state"] == SourceState.STALE:
        return f"{given} may be out of date"
    return f"It costs this report {given}. Its answer could only have raised the level."


@register.filter
def age(moment: datetime | str) -> str:
    """How long ago that was, as the page is read: "6 min", "2 days"."""
    then = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    minutes = max(0, int((timezone.now() - then).total_seconds() // 60))
    if minutes < 1:
        return "less than 1 min"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


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
def linked_ports(finding: Json) -> list[int]:
    """The ports of a finding that are worth a link each; of many there is only the list in its evidence."""
    return finding["ports"] if len(finding["ports"]) <= MAX_PORT_LINKS else []


@register.simple_tag
def waive_url(row: Any, finding: Json) -> str:
    """The form that accepts a finding of this host, filled in as narrowly as the finding allows."""
    wanted = {"rule": finding["rule_id"], "scope": row.evidence["target"]["host"]}
    if len(finding["ports"]) == 1:
        wanted["port"] = str(finding["ports"][0])
    back = f"{row.get_absolute_url()}#f-{finding['rule_id']}"
    return f"{reverse('waivers')}?{urlencode({**wanted, 'next': back})}#new"


@register.filter
def points_sum(findings: Sequence[Json]) -> int:
    """The points of all findings, which the score shows up to 100 of."""
    return sum(finding["points"] for finding in findings)


@register.filter
def points_total(findings: Sequence[Finding]) -> int:
    """The same of findings that were only now made."""
    return points(findings)


@register.filter
def relief_points(now: Sequence[Finding], then: Sequence[Finding]) -> int:
    """How many points fewer there would be."""
    return points(now) - points(then)


@register.simple_tag
def would_be(name: str) -> SafeString:
    """What would become of a finding."""
    return state_look(SUPPOSED_LOOKS[name])


@register.filter
def share(points: int) -> str:
    """Points as the width of a bar."""
    return f"{min(points, 100)}%"


@register.simple_tag
def change_state(change: Change) -> SafeString:
    """The kind of a change."""
    return state_look(CHANGE_LOOKS[change.kind])


@register.filter
def state_word(state: str) -> str:
    """A port's state in mid-sentence."""
    return PORT_LOOKS[state][2] if state in PORT_LOOKS else "not probed"


@register.filter
def last_seen(history: HostHistory) -> HostScan | None:
    """The last scan that did observe something."""
    return last_observed(history)


@register.filter
def why_no_result(error_code: str) -> str:
    """Why a scan ended without a result, in one clause."""
    if error_code.startswith("refused"):
        return "outside the allowed scope"
    return NO_RESULT.get(error_code, "the scan failed")
