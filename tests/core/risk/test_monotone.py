"""More exposure never lowers score or level: not by the built-in rules, and not by any that an operator may write."""

from __future__ import annotations

import os
import random
from functools import cache
from typing import Any

import pytest
import yaml

from scans.core.ports import catalogue
from scans.core.risk import Pack, RiskEvidence, default_pack, rate
from scans.core.risk.levels import rank
from scans.core.risk.operators import lay_over
from scans.core.risk.pack import known_categories
from tests.core.risk.test_scorer import SOMETHING, observed

PARTS = 16  # so that they can run side by side, and none takes long
PAIRS = 100_000 if os.environ.get("REQUIRE_ALL") == "1" else 8_000
OWN_PACKS = 8  # of each part
OWN_SHARE = 4  # every fourth pair is rated by an operator's rules as well
PORTS = (*catalogue(), 12345, 40000, 54321)
KINDS = default_pack().facts
FACTS = sorted(KINDS)
LEVELS = ("low", "medium", "high", "critical")

Seen = tuple[tuple[int, ...], dict[str, Any]]  # ports and facts


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(PARTS))
def test_more_exposure_never_lowers_score_or_level(part):
    """100,000 random pairs where everything is required, and a quarter of them by some operator's rules as well."""
    dice = random.Random(part)
    packs = own_packs(part)
    for n in range(PAIRS // PARTS):
        less, more = pair(dice)
        own = packs[n // OWN_SHARE % OWN_PACKS]
        for pack in (default_pack(), own) if n % OWN_SHARE == 0 else (default_pack(),):
            before, after = rate(less, pack), rate(more, pack)
            assert after.score >= before.score, (pack.version, less, more)
            assert rank(after.level) >= rank(before.level), (pack.version, less, more)


def test_the_random_packs_are_packs_of_all_kinds():
    packs = [pack for part in range(2) for pack in own_packs(part)]
    new = {rule.match for pack in packs for rule in pack.rules if rule.id.startswith("ORG")}
    assert new == {"ports", "ports_total", "flag", "tiers", "list"}
    assert len({pack.version for pack in packs}) == len(packs)
    built_in = {rule.id for rule in default_pack().rules}
    assert all(built_in - {rule.id for rule in pack.rules} for pack in packs)


# --- Pairs ---------------------------------------------------------------------------------------------------------


def pair(dice: random.Random) -> tuple[RiskEvidence, RiskEvidence]:
    """Some evidence, and the same with ports and facts added to it, of which some may have become public."""
    everywhere = seen(dice)
    public = part_of(dice, everywhere)
    wider = worse(dice, everywhere)
    return evidence(everywhere, public), evidence(wider, wider if dice.random() < 0.3 else worse_within(dice, public, wider))


def evidence(everywhere: Seen, public: Seen) -> RiskEvidence:
    return RiskEvidence(everywhere=observed(*everywhere), public=observed(*public), completeness=SOMETHING, is_observed=True)


def seen(dice: random.Random) -> Seen:
    facts = {name: some_value(dice, name) for name in dice.sample(FACTS, dice.randint(0, 8))}
    return tuple(dice.sample(PORTS, dice.randint(0, 25))), facts


def part_of(dice: random.Random, whole: Seen) -> Seen:
    """What public addresses show of it: all, nothing or some."""
    share = dice.choice((0.0, 0.5, 1.0))
    ports, facts = whole
    return tuple(p for p in ports if dice.random() < share), {n: v for n, v in facts.items() if dice.random() < share}


def worse(dice: random.Random, before: Seen) -> Seen:
    ports, facts = before
    more = {name: worse_value(dice, name, facts.get(name)) for name in dice.sample(FACTS, dice.randint(0, 3))}
    return (*ports, *dice.sample(PORTS, dice.randint(0, 3))), {**facts, **more}


def worse_within(dice: random.Random, before: Seen, whole: Seen) -> Seen:
    """What is public grows as well, by something of the whole."""
    ports, facts = before
    return (*ports, *(p for p in whole[0] if dice.random() < 0.2)), {
        **facts,
        **{name: value for name, value in whole[1].items() if name in facts or dice.random() < 0.2},
    }


def some_value(dice: random.Random, name: str) -> Any:
    if KINDS[name] == "flag":
        return dice.random() < 0.5
    if KINDS[name] == "number":
        return dice.choice((0, 0.1, 1, 3, 9.8, 25, 75, 100)) * dice.random()
    return [f"item {n}" for n in range(dice.randint(0, 4))]


def worse_value(dice: random.Random, name: str, value: Any) -> Any:
    if KINDS[name] == "flag":
        return True
    if KINDS[name] == "number":
        return (value or 0) + dice.choice((0.1, 1, 10, 100))
    return [*(value or []), *(f"more {n}" for n in range(dice.randint(1, 3)))]


# --- Packs ---------------------------------------------------------------------------------------------------------


@cache
def own_packs(part: int) -> list[Pack]:
    dice = random.Random(1000 + part)
    return [lay_over(yaml.safe_dump(own_rules(dice))) for _ in range(OWN_PACKS)]


def own_rules(dice: random.Random) -> dict[str, Any]:
    """Some rules off, some weighed anew, some of every kind that are new: all that a file can say."""
    chosen = dice.sample(default_pack().rules, 20)
    off, changed = chosen[: dice.randint(1, 8)], chosen[8:]
    new = [new_rule(dice, n, kind) for n, kind in enumerate(("ports", "ports_total", "flag", "tiers", "list") * 2)]
    return {"disable": [rule.id for rule in off], "rules": [*(change(dice, rule) for rule in changed), *new]}


def change(dice: random.Random, rule: Any) -> dict[str, Any]:
    return {"id": rule.id, "floor": dice.choice((*LEVELS, "none")), **weight(dice, rule.match)}


def new_rule(dice: random.Random, n: int, kind: str) -> dict[str, Any]:
    fact_type = {"flag": "flag", "tiers": "number", "list": "list"}.get(kind)
    rule = {"id": f"ORG-{n:03}", "match": kind, **weight(dice, kind)}
    if kind == "ports":
        rule["categories"] = dice.sample(sorted(known_categories()), dice.randint(1, 4))
    if fact_type:
        rule["fact"] = dice.choice([name for name in FACTS if KINDS[name] == fact_type])
    if dice.random() < 0.5:
        rule["floor"] = dice.choice(LEVELS)
    return {**rule, "title": "T", "evidence": "E", "remediation": "R", "reference": "H"}


def weight(dice: random.Random, kind: str) -> dict[str, Any]:
    if kind in ("ports_total", "tiers"):
        steps = sorted(dice.sample(range(1, 100), 3))
        return {
            "tiers": [
                {"at": at, "points": points} for at, points in zip(steps, sorted(dice.sample(range(60), 3)), strict=True)
            ]
        }
    points = dice.randint(0, 60)
    return {"points": points} if kind == "flag" else {"points": points, "cap": dice.randint(points, 100)}
