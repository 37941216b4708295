"""Score and level: the hosts worked out by hand, and what a verdict is made of. test_monotone.py has more exposure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from scans.core.ports import catalogue
from scans.core.risk.evidence import Observed, RiskEvidence
from scans.core.risk.fact import Fact
from scans.core.risk.pack import default_pack
from scans.core.risk.scorer import MAX_FINDING_PORTS, rate
from scans.core.types import Completeness, Level

WORKED_HOSTS = yaml.safe_load((Path(__file__).parent / "worked_hosts.yaml").read_text(encoding="utf-8"))
NOTHING = Completeness(ports_answered=0, ports_tested=0, sources_answered=0, sources_asked=0)
SOMETHING = Completeness(ports_answered=24, ports_tested=24, sources_answered=1, sources_asked=1)
FACT_RULES = {rule.fact: rule for rule in default_pack().rules if rule.fact}


def observed(ports=(), facts: Mapping[str, object] | None = None) -> Observed:
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in (facts or {}).items()}
    return Observed(ports=tuple(sorted(set(ports))), facts={n: Fact(value=v, sources=("test",)) for n, v in values.items()})


def evidence(ports=(), facts: Mapping[str, object] | None = None, *, public: bool = True, known=SOMETHING) -> RiskEvidence:
    seen = observed(ports, facts)
    is_observed = known.ports_answered > 0 or known.sources_answered > 0
    return RiskEvidence(everywhere=seen, public=seen if public else Observed(), completeness=known, is_observed=is_observed)


@pytest.mark.parametrize("host", WORKED_HOSTS, ids=lambda host: host["name"])
def test_a_worked_host_has_exactly_its_score_and_level(host):
    facts = dict(host["facts"])
    public, ports = facts.pop("public"), facts.pop("ports")
    known = replace(
        SOMETHING,
        ports_answered=facts.pop("probes_answered", 24),
        sources_answered=facts.pop("sources_answered", 1),
    )
    verdict = rate(evidence(ports, facts, public=public, known=known))
    assert (verdict.score, verdict.level) == (host["expect"]["score"], host["expect"]["level"])


def test_there_are_nineteen_worked_hosts_or_more():
    assert len(WORKED_HOSTS) >= 19


def test_a_private_address_beside_a_public_one_adds_points_but_no_floor():
    both = RiskEvidence(everywhere=observed((22, 5432)), public=observed((22,)), completeness=SOMETHING, is_observed=True)
    verdict = rate(both)
    assert (verdict.score, verdict.level) == (34, Level.MEDIUM)
    assert all(finding.floor is None for finding in verdict.findings)


def test_every_rule_is_silent_on_empty_evidence():
    verdict = rate(evidence())
    assert (verdict.findings, verdict.score, verdict.level) == ((), 0, Level.LOW)


@pytest.mark.parametrize("name", sorted(FACT_RULES))
def test_a_fact_that_is_denied_adds_nothing(name):
    denial = {"flag": False, "tiers": 0, "list": []}[FACT_RULES[name].match]
    assert rate(evidence(facts={name: denial})).findings == ()


@pytest.mark.parametrize("name", sorted(FACT_RULES))
@pytest.mark.parametrize("value", [True, 10**6, float("nan"), ["x"], []], ids=str)
def test_a_fact_of_the_wrong_type_is_no_hit_and_no_error(name, value):
    right_type = {"flag": bool, "tiers": int, "list": list}[FACT_RULES[name].match]
    fires = type(value) is right_type and value != []
    assert bool(rate(evidence(facts={name: value})).findings) is fires


def test_nothing_observed_is_unknown_and_never_low():
    assert rate(evidence(known=NOTHING)).level is Level.UNKNOWN
    assert rate(evidence(known=replace(NOTHING, ports_tested=24, sources_asked=1))).level is Level.UNKNOWN


@pytest.mark.parametrize("one", ["ports_answered", "sources_answered"])
def test_one_answer_of_any_kind_is_an_observation(one):
    assert rate(evidence(known=replace(NOTHING, **{one: 1}))).level is Level.LOW


def test_a_rule_that_fires_is_an_observation():
    """An old answer of a source that is down today is no answer, but what it says still counts."""
    verdict = rate(evidence(facts={"intel.anonymiser": True}, known=NOTHING))
    assert (verdict.level, verdict.score) == (Level.LOW, 8)


def test_the_points_of_the_findings_add_up_to_the_score():
    verdict = rate(evidence((21, 22, 80, 443, 2083, 2087, 3306)))
    assert sum(finding.points for finding in verdict.findings) == verdict.score == 69


def test_the_score_is_clipped_at_100_and_the_points_are_not():
    verdict = rate(evidence((23, 445, 502, 2375, 3306, 3389, 6379)))
    assert verdict.score == 100
    assert sum(finding.points for finding in verdict.findings) > 100


def test_mail_and_web_count_only_as_open_ports():
    assert [finding.rule_id for finding in rate(evidence((25, 80, 443, 465, 587, 993, 995))).findings] == ["EXP-001"]


def test_the_worst_finding_stands_first():
    findings = rate(evidence((22, 80, 2083, 2087, 8443, 3306, 6443))).findings
    assert [finding.rule_id for finding in findings][:3] == ["EXP-008", "EXP-011", "EXP-018"]


def test_what_can_be_acted_on_stands_before_what_only_weighs_more():
    facts = {"unauthenticated_services": ["Redis"], "vulns.kev": ["CVE-2099-0001"], "vulns.max_epss": 0.2}
    findings = rate(evidence((3306, 3389), facts)).findings
    assert [finding.rule_id for finding in findings][:4] == ["ACC-001", "VUL-001", "VUL-002", "EXP-003"]
    assert [finding.points for finding in findings][2:4] == [6, 35]


def test_the_order_in_which_ports_were_seen_changes_nothing():
    ports = list(catalogue())[:60]
    shuffled = random.Random(1).sample(ports, len(ports))
    assert repr(rate(evidence(ports))) == repr(rate(evidence(shuffled)))


def test_no_placeholder_is_left_in_any_evidence_text():
    facts = {n: {"flag": True, "tiers": 10**6, "list": ["a", "b"]}[rule.match] for n, rule in FACT_RULES.items()}
    findings = rate(evidence(range(1, 65536), facts)).findings
    assert len(findings) == len(default_pack().rules)
    assert not [finding.evidence for finding in findings if "{" in finding.evidence or not finding.evidence]


def test_the_evidence_names_services_and_ports():
    assert rate(evidence((3306, 5432))).findings[0].evidence == "MySQL, PostgreSQL on 3306, 5432"


def test_a_hostile_element_is_cleaned_and_capped():
    finding = rate(evidence(facts={"eol_products": ["\x1b[31m{source}\x00\u202e" + "x" * 5000]})).findings[0]
    assert finding.evidence.isprintable()
    assert "{source}" in finding.evidence  # a placeholder in a value is text, not a placeholder
    assert len(finding.evidence) < 100


def test_a_host_that_answers_everywhere_does_not_fill_the_row():
    findings = rate(evidence(range(1, 65536))).findings
    assert max(len(finding.ports) for finding in findings) == MAX_FINDING_PORTS
    assert max(len(finding.evidence) for finding in findings) <= 300
