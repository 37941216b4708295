"""The rule pack: loads `rules.yaml` beside this file and refuses one that cannot be meant.

Adding a rule is one entry there. Whatever is wrong is a RuleError that names the rule and the field.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from scans.core.ports import catalogue
from scans.core.risk.levels import rank
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


class RuleError(ValueError):
    """A pack that cannot be meant; the text names the rule, the field and what is wrong with it."""


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
    rules: tuple[Rule, ...]


@cache
def default_pack() -> Pack:
    """The pack that ships with the scanner."""
    return load((Path(__file__).parent / "rules.yaml").read_text(encoding="utf-8"))


def load(text: str) -> Pack:
    """Read and check a pack. Raises RuleError."""
    try:
        raw = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - as safe; ten times as fast
    except yaml.YAMLError as error:
        raise RuleError(f"The pack is not YAML: {error}") from error
    top = _Entry("pack", raw)
    top.check_fields(required={"version", "levels", "facts", "rules"})
    facts = _facts(_Entry("facts", top.raw["facts"]))
    rules = tuple(_rule(entry, facts) for entry in top.entries("rules"))
    ids = [rule.id for rule in rules]
    if twice := sorted({rule_id for rule_id in ids if ids.count(rule_id) > 1}):
        raise RuleError(f"{twice[0]}: id: is there twice.")
    return Pack(version=top.text("version"), levels=_levels(top), rules=rules)


class _Entry:
    """One mapping of the pack, read field by field; every complaint names the entry and the field."""

    def __init__(self, name: str, raw: object) -> None:
        self.name = name
        if not isinstance(raw, dict):
            raise RuleError(f"{name}: is not a mapping.")
        self.raw: Mapping[str, object] = raw

    def wrong(self, field: str, problem: str) -> RuleError:
        return RuleError(f"{self.name}: {field}: {problem}.")

    def check_fields(self, *, required: set[str] | frozenset[str], optional: frozenset[str] = frozenset()) -> None:
        if missing := sorted(required - self.raw.keys()):
            raise self.wrong(missing[0], "is missing")
        if unknown := sorted(map(str, self.raw.keys() - required - optional)):
            raise self.wrong(unknown[0], "is not a field of this kind of entry")

    def text(self, field: str) -> str:
        value = self.raw[field]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(field, f"{value!r} is not text")
        return value.strip()

    def whole(self, field: str) -> int:
        value = self.raw[field]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(field, f"{value!r} is not a whole number")
        if value < 0:
            raise self.wrong(field, f"{value} is below 0: rules only add")
        return value

    def number(self, field: str) -> float:
        value = self.raw[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(field, f"{value!r} is not a number")
        return value

    def values(self, field: str) -> list[object]:
        value = self.raw[field]
        if not isinstance(value, list) or not value:
            raise self.wrong(field, "is not a list with something in it")
        return value

    def entries(self, field: str) -> list[_Entry]:
        return [_Entry(self._entry_name(field, n, raw), raw) for n, raw in enumerate(self.values(field), 1)]

    def level(self, field: str) -> Level:
        value = self.raw[field]
        known = [level.value for level in Level if level is not Level.UNKNOWN]
        if value not in known:
            raise self.wrong(field, f"{value!r} is none of {', '.join(known)}")
        return Level(str(value))

    def _entry_name(self, field: str, number: int, raw: object) -> str:
        if field == "rules" and isinstance(raw, dict) and isinstance(raw.get("id"), str):
            return str(raw["id"])
        return f"{self.name}: {field} {number}"


def _facts(entry: _Entry) -> Mapping[str, str]:
    for name, fact_type in entry.raw.items():
        if fact_type not in FACT_TYPES:
            raise entry.wrong(str(name), f"{fact_type!r} is none of {', '.join(FACT_TYPES)}")
    return {str(name): str(fact_type) for name, fact_type in entry.raw.items()}


def _levels(top: _Entry) -> tuple[tuple[Level, int], ...]:
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


def _rule(entry: _Entry, facts: Mapping[str, str]) -> Rule:
    kind = str(entry.raw.get("match"))
    shape = SHAPES.get(kind)
    if shape is None:
        raise entry.wrong("match", f"{kind!r} is none of {', '.join(SHAPES)}")
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


def _template(entry: _Entry, placeholders: frozenset[str]) -> str:
    """The evidence text. Only whole, plain placeholders: no attribute, index or format of them."""
    text = entry.text("evidence")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise entry.wrong("evidence", str(error)) from error
    for _, name, spec, conversion in parts:
        if name is not None and (name not in placeholders or spec or conversion):
            raise entry.wrong("evidence", f"{{{name}}} is none of {', '.join(sorted(placeholders))}")
    return text


def _categories(entry: _Entry) -> frozenset[str]:
    known = {info.category for info in catalogue().values()} | {"unknown"}
    categories = {str(value) for value in entry.values("categories")}
    if unknown := sorted(categories - known):
        raise entry.wrong("categories", f"{unknown[0]!r} is no category of the port catalogue")
    return frozenset(categories)


def _fact(entry: _Entry, facts: Mapping[str, str], fact_type: str) -> str:
    name = entry.text("fact")
    if facts.get(name) != fact_type:
        raise entry.wrong("fact", f"{name!r} is not declared under facts as a {fact_type}")
    return name


def _tiers(entry: _Entry) -> tuple[Tier, ...]:
    tiers = []
    for tier in entry.entries("tiers"):
        tier.check_fields(required={"at", "points"})
        tiers.append(Tier(at=tier.number("at"), points=tier.whole("points")))
    for lower, higher in pairwise(tiers):
        if higher.at <= lower.at or higher.points < lower.points:
            raise entry.wrong("tiers", f"the tier at {higher.at:g} does not rise above the one before it")
    return tuple(tiers)
