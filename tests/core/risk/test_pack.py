"""The pack loads, and one that cannot be meant is refused with the rule and the field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from scans.core.ports import catalogue
from scans.core.risk import reputation, weaknesses
from scans.core.risk.entry import RuleError
from scans.core.risk.evidence import Observed, RiskEvidence
from scans.core.risk.matchers import MATCHERS
from scans.core.risk.pack import SHAPES, Pack, default_entries, default_pack, load
from scans.core.risk.scorer import rate
from scans.core.types import Completeness

RULESETS = Path(__file__).parent / "rulesets.txt"
COMMON = {"title": "A title", "evidence": "Seen", "remediation": "Repair it", "reference": "A standard"}
PORTS = {"id": "EXP-001", "match": "ports", "categories": ["database"], "points": 5, "cap": 10, **COMMON}
TOTAL = {"id": "EXP-001", "match": "ports_total", "tiers": [{"at": 1, "points": 1}], **COMMON}
FLAG = {"id": "REP-001", "match": "flag", "fact": "is_bad", "points": 5, **COMMON}
TIERS = {"id": "REP-002", "match": "tiers", "fact": "badness", "tiers": [{"at": 1, "points": 1}], **COMMON}
LIST = {"id": "REP-003", "match": "list", "fact": "evils", "points": 5, "cap": 10, **COMMON}
LEVELS = [{"name": "low", "min": 0}, {"name": "high", "min": 50}]
FACTS = {"is_bad": "flag", "badness": "number", "evils": "list"}


def pack_text(*rules: object, **top: object) -> str:
    return yaml.safe_dump({"version": "t", "levels": LEVELS, "facts": FACTS, "rules": list(rules), **top})


def without(entry: dict[str, object], field: str) -> dict[str, object]:
    return {name: value for name, value in entry.items() if name != field}


def test_the_shipped_pack_holds_forty_rules_or_more():
    assert len(default_pack().rules) >= 40
    assert default_pack() is default_pack()


def test_a_pack_that_says_anything_else_has_another_version():
    """A verdict names a version, by which one must be able to tell what the rules were. Comments do not count."""
    digest = hashlib.sha256(json.dumps(default_entries(), sort_keys=True).encode()).hexdigest()
    assert f"{default_pack().version} {digest}" in RULESETS.read_text().splitlines()


def test_one_rule_of_every_kind_loads():
    pack = load(pack_text({**PORTS, "id": "AAA-001"}, {**TOTAL, "id": "AAA-002"}, FLAG, TIERS, LIST))
    assert [rule.match for rule in pack.rules] == ["ports", "ports_total", "flag", "tiers", "list"]


def test_every_kind_of_rule_has_its_matcher():
    assert MATCHERS.keys() == SHAPES.keys()


def test_every_fact_that_is_gathered_is_one_a_rule_asks_for():
    assert {rule.fact for rule in default_pack().rules} >= reputation.FACT_NAMES | weaknesses.FACT_NAMES


def test_only_web_and_mail_are_worth_nothing():
    matched = {category for rule in default_pack().rules for category in rule.categories}
    assert {info.category for info in catalogue().values()} - matched == {"web", "mail"}


def test_a_rule_is_one_entry():
    more = {**FLAG, "id": "NEW-001", "match": "ports", "categories": ["web"], "points": 7, "cap": 7, "evidence": "{service}"}
    pack = load(pack_text(without(more, "fact")))
    seen = Observed(ports=(80,))
    nothing_else = Completeness(ports_answered=1, ports_tested=1, sources_answered=0, sources_asked=0)
    verdict = rate(RiskEvidence(everywhere=seen, public=seen, completeness=nothing_else, is_observed=True), pack)
    assert [(finding.rule_id, finding.points, finding.evidence) for finding in verdict.findings] == [("NEW-001", 7, "HTTP")]


BAD_RULES = {
    "an unknown field": ({**PORTS, "colour": "red"}, "EXP-001: colour: is not a field"),
    "a field of another kind of rule": ({**PORTS, "fact": "is_bad"}, "EXP-001: fact: is not a field"),
    "a missing field": (without(PORTS, "remediation"), "EXP-001: remediation: is missing"),
    "a missing cap": (without(PORTS, "cap"), "EXP-001: cap: is missing"),
    "an unknown matcher": ({**PORTS, "match": "vibes"}, "EXP-001: match: 'vibes' is none of"),
    "no matcher": (without(PORTS, "match"), "EXP-001: match: None is none of"),
    "an unhashable matcher": ({**PORTS, "match": ["ports"]}, "EXP-001: match:"),
    "an unknown category": ({**PORTS, "categories": ["databse"]}, "EXP-001: categories: 'databse' is no category"),
    "no category": ({**PORTS, "categories": []}, "EXP-001: categories: is not a list"),
    "negative points": ({**PORTS, "points": -1}, "EXP-001: points: -1 is below 0"),
    "half a point": ({**PORTS, "points": 1.5}, "EXP-001: points: 1.5 is not a whole number"),
    "yes as points": ({**PORTS, "points": True}, "EXP-001: points: True is not a whole number"),
    "a cap below one hit": ({**PORTS, "cap": 4}, "EXP-001: cap: 4 is below the 5 points"),
    "an unknown floor": ({**PORTS, "floor": "terrible"}, "EXP-001: floor: 'terrible' is none of"),
    "unknown as a floor": ({**PORTS, "floor": "unknown"}, "EXP-001: floor: 'unknown' is none of"),
    "a list as a floor": ({**PORTS, "floor": ["high"]}, "EXP-001: floor:"),
    "an undeclared fact": ({**FLAG, "fact": "is_odd"}, "REP-001: fact: 'is_odd' is not declared"),
    "a fact of another type": (
        {**FLAG, "fact": "badness"},
        "REP-001: fact: 'badness' is not declared under facts as a flag",
    ),
    "tiers that fall": (
        {**TIERS, "tiers": [{"at": 1, "points": 5}, {"at": 2, "points": 4}]},
        "REP-002: tiers: the tier at 2 does not rise",
    ),
    "tiers out of order": ({**TIERS, "tiers": [{"at": 2, "points": 1}, {"at": 1, "points": 4}]}, "REP-002: tiers:"),
    "a tier that is reached by nothing": (
        {**TOTAL, "tiers": [{"at": 0, "points": 1}]},
        "EXP-001: tiers: the first one does not",
    ),
    "more points than the scale has": ({**PORTS, "points": 101, "cap": 101}, "EXP-001: points: 101 is above 100"),
    "a text without end": ({**PORTS, "title": "x" * 501}, "EXP-001: title: is longer than 500 characters"),
    "a tier that is not a number": ({**TIERS, "tiers": [{"at": float("nan"), "points": 1}]}, "REP-002: tiers 1: at: nan"),
    "a tier below 0": ({**TIERS, "tiers": [{"at": 1, "points": -1}]}, "REP-002: tiers 1: points: -1 is below 0"),
    "a tier with more": ({**TIERS, "tiers": [{"at": 1, "points": 1, "x": 1}]}, "REP-002: tiers 1: x: is not a field"),
    "an id of another form": ({**PORTS, "id": "exposed"}, "exposed: id: is not three capitals"),
    "an id that is no text": ({**PORTS, "id": 7}, "id: 7 is not text"),
    "an empty title": ({**PORTS, "title": " "}, "EXP-001: title: ' ' is not text"),
    "a placeholder nobody fills": ({**PORTS, "evidence": "{banner}"}, "EXP-001: evidence: {banner} is none of"),
    "a placeholder that reaches inside": ({**PORTS, "evidence": "{ports.x}"}, "EXP-001: evidence: {ports.x} is none of"),
    "a placeholder with a format": ({**PORTS, "evidence": "{n:>99999}"}, "EXP-001: evidence: {n} is none of"),
    "a brace left open": ({**PORTS, "evidence": "{n"}, "EXP-001: evidence:"),
    "a rule that is text": ("EXP-001", "rules 1: is not a mapping"),
}


@pytest.mark.parametrize("case", BAD_RULES)
def test_a_bad_rule_is_refused_by_id_and_field(case):
    rule, complaint = BAD_RULES[case]
    with pytest.raises(RuleError) as caught:
        load(pack_text(rule))
    assert complaint in str(caught.value)


BAD_PACKS = {
    "an id twice": (pack_text(PORTS, TOTAL), "EXP-001: id: is there twice"),
    "no rules": (pack_text(), "pack: rules: is not a list with something in it"),
    "rules that are a mapping": (pack_text(rules={"EXP-001": PORTS}), "pack: rules: is not a list"),
    "an unknown part": (pack_text(PORTS, colour="red"), "pack: colour: is not a field"),
    "a version that is a number": (pack_text(PORTS, version=1), "pack: version: 1 is not text"),
    "an unknown level": (pack_text(PORTS, levels=[{"name": "meh", "min": 0}]), "levels 1: name: 'meh' is none of"),
    "unknown as a level": (pack_text(PORTS, levels=[{"name": "unknown", "min": 0}]), "levels 1: name: 'unknown' is none"),
    "levels that start late": (pack_text(PORTS, levels=[{"name": "low", "min": 5}]), "the first one does not start at 0"),
    "levels that fall": (pack_text(PORTS, levels=[*LEVELS[::-1]]), "levels: the first one does not start at 0"),
    "levels in disorder": (
        pack_text(PORTS, levels=[{"name": "high", "min": 0}, {"name": "low", "min": 9}]),
        "levels: low does not stand above high",
    ),
    "a type of fact nobody knows": (pack_text(PORTS, facts={"a": "colour"}), "facts: a: 'colour' is none of"),
    "not YAML": ("rules: [", "Not YAML"),
    "an object of Python": ("!!python/object/apply:os.getcwd []", "Not YAML"),
    "nothing": ("", "pack: is not a mapping"),
    "no version": (yaml.safe_dump({"rules": []}), "pack: facts: is missing"),
}


@pytest.mark.parametrize("case", BAD_PACKS)
def test_a_bad_pack_is_refused_with_the_reason(case):
    text, complaint = BAD_PACKS[case]
    with pytest.raises(RuleError) as caught:
        load(text)
    assert complaint in str(caught.value)


def test_what_is_checked_for_is_what_makes_a_pack_bad():
    assert isinstance(load(pack_text(PORTS)), Pack)
