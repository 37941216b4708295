"""The rule pack: loads `rules.yaml` beside this file and refuses one that cannot be meant.

Adding a rule is one entry there. Whatever is wrong is a RuleError that names the line, the rule and the field.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from scans.core.ports import catalogue
from scans.core.risk.entry import Entry, RuleError, shown
from scans.core.risk.levels import rank
from scans.core.risk.yaml_lines import YamlError, read_yaml
from scans.core.text import clean_text
from scans.core.types import Level

FACT_TYPES = ("flag", "number", "list")
_RULE_FIELDS = frozenset({"id", "title", "match", "evidence", "remediation", "reference"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a rule of one kind of matcher says beside the common fields."""

    fields: frozenset[str]
    placeholders: frozenset[str]  # that its evidence text may hold
    fact_type: str | None = None


_PORT_WORDS = frozenset({"service", "ports", "n"})
SHAPES = {
    "ports": Shape(fields=frozenset({"categories", "points", "cap"}), placeholders=_PORT_WORDS),
    "ports_total": Shape(fields=frozenset({"tiers"}), placeholders=_PORT_WORDS),
    "flag": Shape(fields=frozenset({"fact", "points"}), placeholders=frozenset({"source"}), fact_type="flag"),
    "tiers": Shape(fields=frozenset({"fact", "tiers"}), placeholders=frozenset({"value", "source"}), fact_type="number"),
    "list": Shape(
        fields=frozenset({"fact", "points", "cap"}), placeholders=frozenset({"items", "n", "source"}), fact_type="list"
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """From `at` on, these points."""

    at: float
    points: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One entry of the pack. Fields that its matcher does not use are empty."""

    id: str
    title: str
    match: str
    evidence: str
    remediation: str
    reference: str
    points: int = 0
    cap: int = 0
    floor: Level | None = None
    categories: frozenset[str] = frozenset()
    fact: str = ""
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """A whole, checked pack."""

    version: str
    levels: tuple[tuple[Level, int], ...]  # ascending; from which score on
    facts: Mapping[str, str]  # what rules may name, each with its type
    rules: tuple[Rule, ...]


@cache
def default_pack() -> Pack:
    """The pack that ships with the scanner."""
    return build(default_entries())


def default_entries() -> object:
    """The same as it stands in its file, for others to be laid over it."""
    return read((Path(__file__).parent / "rules.yaml").read_text(encoding="utf-8"))


def load(text: str) -> Pack:
    """Read and check a pack. Raises RuleError."""
    return build(read(text))


def read(text: str) -> object:
    """The text of a pack, or of a part of one, as plain data. Raises RuleError."""
    try:
        return read_yaml(text)
    except YamlError as error:
        raise RuleError(f"Not YAML: {error}.") from error


def build(raw: object) -> Pack:
    """Check a pack. Raises RuleError."""
    top = Entry("pack", raw)
    top.check_fields(required={"version", "levels", "facts", "rules"})
    facts = _facts(Entry("facts", top.raw["facts"]))
    rules = tuple(_rule(entry, facts) for entry in top.entries("rules"))
    ids = [rule.id for rule in rules]
    if twice := sorted({rule_id for rule_id in ids if ids.count(rule_id) > 1}):
        raise RuleError(f"{twice[0]}: id: is there twice.")
    return Pack(version=top.text("version"), levels=_levels(top), facts=facts, rules=rules)


def _facts(entry: Entry) -> Mapping[str, str]:
    for name, fact_type in entry.raw.items():
        if fact_type not in FACT_TYPES:
            raise entry.wrong(name, f"{shown(fact_type)} is none of {', '.join(FACT_TYPES)}")
    return {name: str(fact_type) for name, fact_type in entry.raw.items()}


def _levels(top: Entry) -> tuple[tuple[Level, int], ...]:
    levels = []
    for entry in top.entries("levels"):
        entry.check_fields(required={"name", "min"})
        levels.append((entry.level("name"), entry.whole("min")))
    if levels[0][1] != 0:
        raise top.wrong("levels", "the first one does not start at 0")
    for (lower, low_min), (higher, high_min) in pairwise(levels):
        if high_min <= low_min or rank(higher) <= rank(lower):
            raise top.wrong("levels", f"{higher} does not stand above {lower}")
    return tuple(levels)


def _rule(entry: Entry, facts: Mapping[str, str]) -> Rule:
    kind = entry.raw.get("match")
    if not isinstance(kind, str) or kind not in SHAPES:
        raise entry.wrong("match", f"{shown(kind)} is none of {', '.join(SHAPES)}")
    shape = SHAPES[kind]
    entry.check_fields(required=_RULE_FIELDS | shape.fields, optional=frozenset({"floor"}))
    if not re.fullmatch(r"[A-Z]{3}-\d{3}", entry.text("id"), re.ASCII):
        raise entry.wrong("id", "is not three capitals, a hyphen and three digits")
    points = entry.whole("points") if "points" in shape.fields else 0
    cap = entry.whole("cap") if "cap" in shape.fields else points
    if cap < points:
        raise entry.wrong("cap", f"{cap} is below the {points} points of one hit")
    return Rule(
        id=entry.text("id"),
        title=entry.text("title"),
        match=kind,
        evidence=_template(entry, shape.placeholders),
        remediation=entry.text("remediation"),
        reference=entry.text("reference"),
        points=points,
        cap=cap,
        floor=entry.level("floor") if "floor" in entry.raw else None,
        categories=_categories(entry) if "categories" in shape.fields else frozenset(),
        fact=_fact(entry, facts, shape.fact_type) if shape.fact_type else "",
        tiers=_tiers(entry) if "tiers" in shape.fields else (),
    )


def _template(entry: Entry, placeholders: frozenset[str]) -> str:
    """The evidence text. Only whole, plain placeholders: no attribute, index or format of them."""
    text = entry.text("evidence")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise entry.wrong("evidence", str(error)) from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in placeholders or spec or conversion):
            raise entry.wrong("evidence", f"{{{clean_text(name, limit=60)}}} is none of {', '.join(sorted(placeholders))}")
    return text


def known_categories() -> frozenset[str]:
    """What `categories` may name: those of the catalogue, and `unknown` for a port that is not in it."""
    return frozenset({"unknown", *(info.category for info in catalogue().values())})


def _categories(entry: Entry) -> frozenset[str]:
    known, values = known_categories(), entry.values("categories")
    for value in values:
        if not isinstance(value, str) or value not in known:
            raise entry.wrong(
                "categories", f"{shown(value)} is no category of the port catalogue: {', '.join(sorted(known))}"
            )
    return frozenset(map(str, values))


def _fact(entry: Entry, facts: Mapping[str, str], fact_type: str) -> str:
    name = entry.text("fact")
    if facts.get(name) != fact_type:
        named = ", ".join(sorted(known for known, its_type in facts.items() if its_type == fact_type))
        raise entry.wrong("fact", f"{shown(name)} is not declared under facts as a {fact_type}: {named}")
    return name


def _tiers(entry: Entry) -> tuple[Tier, ...]:
    tiers = []
    for tier in entry.entries("tiers"):
        tier.check_fields(required={"at", "points"})
        tiers.append(Tier(at=tier.number("at"), points=tier.whole("points")))
    if tiers[0].at <= 0:
        raise entry.wrong("tiers", "the first one does not begin above 0: the rule would fire where nothing was seen")
    for lower, higher in pairwise(tiers):
        if higher.at <= lower.at or higher.points < lower.points:
            raise entry.wrong("tiers", f"the tier at {higher.at:g} does not rise above the one before it")
    return tuple(tiers)
