"""From evidence to a verdict.

1. Every rule is tried on what was seen anywhere; its capped points become its finding's points.
2. The score is the sum of the findings' points, clipped at 100: above it the findings add up to more than the score.
3. The level is the one the score reaches, raised to the highest floor. A floor holds only if its rule also fires
   on what was seen at public addresses; a finding without `floor` did not raise the level by itself.
4. The findings stand in the order in which they want acting on: URGENT, then by floor, then by points.
5. Nothing observed (no probe answered, no source said anything, no rule fired) is `unknown`, never `low`.
"""

from __future__ import annotations

from collections.abc import Mapping

from scans.core.risk.evidence import RiskEvidence
from scans.core.risk.levels import rank
from scans.core.risk.matchers import match
from scans.core.risk.pack import Pack, Rule, default_pack
from scans.core.text import clean_text
from scans.core.types import Finding, Level, Verdict

MAX_SCORE = 100
MAX_FINDING_PORTS = 1000  # a host that answers on every port would otherwise fill a row with them
MAX_EVIDENCE_CHARS = 300
# In this order: nobody has to guess; somebody exploits it already; somebody soon will.
URGENT = ("unauthenticated_services", "vulns.kev", "vulns.max_epss")


def rate(evidence: RiskEvidence, pack: Pack | None = None) -> Verdict:
    """Rate one target. The same evidence and pack give the same verdict, what wants acting on most first."""
    pack = pack or default_pack()
    found = [finding for rule in pack.rules if (finding := _finding(rule, evidence))]
    places = urgency(pack)
    found.sort(key=lambda f: actionability(f.rule_id, floor=f.floor, points=f.points, places=places))
    score = min(MAX_SCORE, sum(finding.points for finding in found))
    is_observed = bool(found) or evidence.is_observed
    return Verdict(
        level=_level(score, found, pack) if is_observed else Level.UNKNOWN,
        score=score,
        ruleset=pack.version,
        findings=tuple(found),
        completeness=evidence.completeness,
    )


def urgency(pack: Pack | None = None) -> dict[str, int]:
    """The rules whose findings want acting on first, whatever they weigh, and the place of each; the others have none."""
    return {rule.id: URGENT.index(rule.fact) for rule in (pack or default_pack()).rules if rule.fact in URGENT}


def actionability(rule_id: str, *, floor: Level | None, points: int, places: Mapping[str, int]) -> tuple[int, int, int, str]:
    """What to sort findings by; `places` comes from `urgency`. The last part only settles ties, always alike."""
    return places.get(rule_id, len(URGENT)), -rank(floor), -points, rule_id


def _finding(rule: Rule, evidence: RiskEvidence) -> Finding | None:
    hit = match(rule, evidence.everywhere)
    if hit is None:
        return None
    return Finding(
        rule_id=rule.id,
        title=rule.title,
        points=hit.points,
        ports=hit.ports[:MAX_FINDING_PORTS],
        evidence=clean_text(rule.evidence.format_map(hit.words), limit=MAX_EVIDENCE_CHARS),
        remediation=rule.remediation,
        reference=rule.reference,
        floor=rule.floor if rule.floor and match(rule, evidence.public) else None,
    )


def _level(score: int, findings: list[Finding], pack: Pack) -> Level:
    reached = [level for level, least in pack.levels if score >= least][-1]
    return max([reached, *(finding.floor for finding in findings if finding.floor)], key=rank)
