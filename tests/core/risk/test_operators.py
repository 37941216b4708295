"""An operator's file lies over the built-in pack, is traced by its digest, and one that cannot be meant says where."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.risk import RuleError, default_pack, pack_of, rate, read_pack
from scans.core.risk.operators import MAX_FILE_BYTES, lay_over
from scans.core.types import Level
from tests.core.risk.test_scorer import evidence

ROOT = Path(__file__).resolve().parents[3]
NEW = (
    "{id: ORG-001, title: T, match: ports, categories: [web], points: 7, cap: 9, evidence: '{service}', "
    "remediation: R, reference: H}"
)


def rules(*entries: str) -> str:
    return "\n".join(["rules:", *(f"  - {entry}" for entry in entries)])


def fired(text: str, ports, facts=None) -> dict[str, int]:
    return {finding.rule_id: finding.points for finding in rate(evidence(ports, facts), lay_over(text)).findings}


def test_a_rule_is_switched_off():
    assert fired("disable: [EXP-002, HDR-003]", [22], {"http.version_disclosed": True}) == {"EXP-001": 1}


def test_a_rule_is_weighed_anew_and_keeps_the_rest():
    pack = lay_over(rules("{id: EXP-008, points: 40, cap: 45, title: A database, remediation: Move it}"))
    (rule,) = [rule for rule in pack.rules if rule.id == "EXP-008"]
    (old,) = [rule for rule in default_pack().rules if rule.id == "EXP-008"]
    assert (rule.points, rule.cap, rule.title, rule.remediation) == (40, 45, "A database", "Move it")
    assert (rule.floor, rule.categories, rule.evidence, rule.reference) == (
        old.floor, old.categories, old.evidence, old.reference,
    )  # fmt: skip
    assert fired(rules("{id: EXP-008, points: 40, cap: 45}"), [3306, 5432])["EXP-008"] == 45


def test_tiers_are_weighed_anew():
    text = rules("{id: EXP-001, tiers: [{at: 2, points: 50}]}")
    assert (fired(text, [80]), fired(text, [80, 443])) == ({}, {"EXP-001": 50})


def test_a_floor_is_set_and_taken_away():
    assert rate(evidence([22]), lay_over(rules("{id: EXP-002, floor: critical}"))).level is Level.CRITICAL
    assert rate(evidence([5432]), lay_over(rules("{id: EXP-008, floor: none}"))).level is Level.MEDIUM


def test_a_new_rule_stands_behind_the_others():
    assert lay_over(rules(NEW)).rules[-1].id == "ORG-001"
    assert fired(rules(NEW), [80, 443]) == {"EXP-001": 1, "ORG-001": 9}


def test_every_rule_that_is_not_named_stays_as_it_is():
    assert lay_over(rules(NEW)).rules[:-1] == default_pack().rules


def test_the_version_names_the_pack_and_the_very_file(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_bytes(f"# ours\r\n{rules(NEW)}".encode())
    pack, text = read_pack(str(file))
    assert pack.version == f"{default_pack().version}+{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    assert text.encode() == file.read_bytes()
    assert rate(evidence([22]), pack).ruleset == pack.version


def test_without_a_file_it_is_the_built_in_pack():
    assert pack_of("") is default_pack()


def test_the_example_of_the_page_is_one():
    (example,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "docs/risk.md").read_text(), re.DOTALL)
    pack = lay_over(example)
    assert len(pack.rules) == len(default_pack().rules)  # one off, one new
    assert {rule.id: rule.floor for rule in pack.rules}["EXP-012"] is Level.CRITICAL


BAD = {
    "nothing": ("", "the file: is not a mapping"),
    "nothing to do": ("{}", "holds neither disable nor rules"),
    "an unknown part": (
        "levels: []",
        "line 1: the file: levels: is not a field of this kind of entry, which has disable, rules",
    ),
    "a version of its own": ("version: '2'", "line 1: the file: version: is not a field"),
    "an unknown rule off": ("\ndisable: [EXP-099]", "line 2: the file: disable: 'EXP-099' is no rule of the built-in pack"),
    "a new rule off": (f"disable: [ORG-001]\n{rules(NEW)}", "line 1: the file: disable: 'ORG-001' is no rule"),
    "off that is text": ("disable: EXP-002", "disable: is not a list"),
    "off and changed": (
        f"disable: [EXP-002]\n{rules('{id: EXP-002, points: 3}')}",
        "line 3: EXP-002: id: is disabled in the same file",
    ),
    "a rule twice": (rules("{id: EXP-002, points: 1}", "{id: EXP-002, points: 2}"), "line 3: EXP-002: id: is there twice"),
    "a rule without id": (rules("{points: 3}"), "line 2: the file: rules 1: id: is missing"),
    "points that lower": (rules("id: EXP-003\n    points: -4"), "line 3: EXP-003: points: -4 is below 0: rules only add"),
    "points off the scale": (rules("{id: EXP-003, points: 101}"), "line 2: EXP-003: points: 101 is above 100"),
    "points above the cap": (
        rules("{id: EXP-003, points: 60}"),
        "line 2: EXP-003: cap: 50 is below the 60 points of one hit",
    ),
    "points of tiers": (
        rules("{id: EXP-001, points: 2}"),
        "EXP-001: points: is not a field of this kind of entry, which has evidence,",
    ),
    "tiers that fall": (
        rules("{id: EXP-001, tiers: [{at: 1, points: 5}, {at: 2, points: 4}]}"),
        "EXP-001: tiers: the tier at 2 does not rise",
    ),
    "tiers of nothing": (
        rules("{id: EXP-001, tiers: [{at: 0, points: 5}]}"),
        "EXP-001: tiers: the first one does not begin above 0",
    ),
    "a cap without end": (rules("{id: EXP-003, cap: .inf}"), "EXP-003: cap: inf is not a whole number"),
    "another match": (rules("{id: EXP-003, match: flag}"), "EXP-003: match: cannot be changed: disable EXP-003, and add"),
    "other categories": (rules("{id: EXP-003, categories: [web]}"), "EXP-003: categories: cannot be changed"),
    "no change": (rules("{id: EXP-003}"), "EXP-003: id: nothing of it is changed; what can be: cap, evidence, floor,"),
    "an unknown floor": (
        rules("{id: EXP-003, floor: mild}"),
        "EXP-003: floor: 'mild' is none of low, medium, high, critical",
    ),
    "half a new rule": (rules("{id: ORG-001, match: ports, points: 3}"), "line 2: ORG-001: cap: is missing"),
    "an id of another form": (rules(NEW.replace("ORG-001", "ours")), "line 2: ours: id: is not three capitals"),
    "an unknown matcher": (rules(NEW.replace("match: ports", "match: regex")), "ORG-001: match: 'regex' is none of ports,"),
    "an unknown category": (
        rules(NEW.replace("[web]", "[webb]")),
        "ORG-001: categories: 'webb' is no category of the port catalogue: ",
    ),
    "a placeholder nobody fills": (
        rules(NEW.replace("{service}", "{banner}")),
        "ORG-001: evidence: {banner} is none of n, ports,",
    ),
    "a key twice": (
        rules("{id: EXP-003, points: 2, points: 3}"),
        "Not YAML: line 2: 'points' is there twice, first on line 2",
    ),
    "a bomb": (
        "a: &a [x, x]\nb: &b [*a, *a]\ndisable: [*b, *b]",
        "Not YAML: line 1: anchors (&) and aliases (*) are not allowed",
    ),
    "a tower": ("[" * 20, "Not YAML: line 1: is nested deeper than 8 levels"),
    "a high tower": ("[" * 100_000, "Not YAML: line 1: "),
    "a crowd": ("disable: [" + "x," * 30_000 + "]", "the file holds more than 20,000 parts"),
    "many rules": (rules(*["{id: EXP-002, points: 1}"] * 501), "the file: rules: holds 501 entries, more than 500"),
    "a number without end": (rules("{id: EXP-003, points: " + "9" * 5000 + "}"), "Not YAML: line 2: Exceeds the limit"),
    "a long number": (
        rules("{id: EXP-003, points: 0x" + "f" * 5000 + "}"),
        "EXP-003: points: a number of many digits is above 100",
    ),
    "a long number as a tier": (
        rules("{id: EXP-001, tiers: [{at: 0x" + "f" * 5000 + ", points: 1}]}"),
        "at: a number of many digits is not a number",
    ),
    "a long title": (rules("{id: EXP-003, title: " + "x" * 501 + "}"), "EXP-003: title: is longer than 500 characters"),
    "no day": ("disable: 2026-02-31", "Not YAML: line 1: day is out of range"),
    "an object of Python": ("disable: !!python/object/apply:os.getcwd []", "Not YAML: line 1: tag:yaml.org,2002:python"),
    "two documents": ("disable: [EXP-002]\n---\ndisable: [EXP-002]", "Not YAML: line 2"),
    "a NUL": ("disable: [\x00]", "Not YAML: unacceptable character"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_meant_is_refused_with_the_place(case, tmp_path):
    text, complaint = BAD[case]
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(RuleError) as caught:
        read_pack(str(file))
    said = str(caught.value)
    assert said.startswith(f"{file}: ")
    assert complaint in said
    assert len(said) < len(str(file)) + 700
    assert said.isprintable()


def test_a_file_that_is_none_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"disable: [\xff]")
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    for name, complaint in {
        "gone": "is not there", ".": "is not a file", "pipe": "is not a file", "binary": "is not UTF-8: byte 11",
        "large": "is larger than 256 kB",
    }.items():  # fmt: skip
        with pytest.raises(RuleError, match=complaint):
            read_pack(str(tmp_path / name))


@given(st.text(alphabet=st.sampled_from("abc:[]{}-,&*!|>%#'\" \n01.~?<")) | st.text())
def test_no_text_is_anything_but_a_pack_or_a_rule_error(text):
    with suppress(RuleError):
        assert lay_over(text).rules
