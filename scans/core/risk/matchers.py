"""What makes a rule fire. A rule is data; code is needed here only for a new kind of matcher.

A matcher is silent (None) on a fact that is not there: unknown is not false, and neither adds points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from scans.core.ports import category
from scans.core.risk.evidence import Observed
from scans.core.risk.fact import Fact
from scans.core.risk.pack import Rule, Tier
from scans.core.risk.words import name_list, port_list, service_list
from scans.core.text import clean_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Why a rule fired: the capped points it adds, the ports it saw, and words for its evidence text."""

    points: int
    ports: tuple[int, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


def match(rule: Rule, seen: Observed) -> Match | None:
    """Try one rule. None means that it stays silent."""
    return MATCHERS[rule.match](rule, seen)


def _ports(rule: Rule, seen: Observed) -> Match | None:
    """One hit per distinct open port of the rule's categories."""
    ports = tuple(port for port in seen.ports if category(port) in rule.categories)
    return Match(points=min(rule.cap, rule.points * len(ports)), ports=ports, words=_port_words(ports)) if ports else None


def _ports_total(rule: Rule, seen: Observed) -> Match | None:
    """Tiers over the number of distinct open ports."""
    tier = _reached(rule, len(seen.ports))
    return Match(points=tier.points, ports=seen.ports, words=_port_words(seen.ports)) if tier else None


def _flag(rule: Rule, seen: Observed) -> Match | None:
    """One hit while the named fact is true."""
    fact = seen.facts.get(rule.fact)
    return Match(points=rule.points, words=_source(fact)) if fact and fact.value is True else None


def _tiers(rule: Rule, seen: Observed) -> Match | None:
    """The highest tier that the named number reaches."""
    fact = seen.facts.get(rule.fact)
    if fact is None or isinstance(fact.value, bool | tuple):
        return None
    tier = _reached(rule, fact.value)
    return Match(points=tier.points, words={"value": f"{fact.value:g}", **_source(fact)}) if tier else None


def _list(rule: Rule, seen: Observed) -> Match | None:
    """One hit per distinct element of the named list."""
    fact = seen.facts.get(rule.fact)
    if fact is None or not isinstance(fact.value, tuple) or not fact.value:
        return None
    items = sorted(set(fact.value))
    words = {"items": name_list(clean_text(item, limit=60) for item in items), "n": str(len(items)), **_source(fact)}
    return Match(points=min(rule.cap, rule.points * len(items)), words=words)


MATCHERS: Mapping[str, Callable[[Rule, Observed], Match | None]] = {
    "ports": _ports,
    "ports_total": _ports_total,
    "flag": _flag,
    "tiers": _tiers,
    "list": _list,
}


def _reached(rule: Rule, value: float) -> Tier | None:
    reached = [tier for tier in rule.tiers if tier.at <= value]
    return reached[-1] if reached else None


def _port_words(ports: tuple[int, ...]) -> Mapping[str, str]:
    return {"service": service_list(ports), "ports": port_list(ports), "n": str(len(ports))}


def _source(fact: Fact) -> Mapping[str, str]:
    return {"source": clean_text(name_list(sorted(fact.sources)), limit=120) or "an unnamed source"}
