"""From what was seen to a level: the rule pack (data), its matchers and the scorer; and what if ports were closed."""

from __future__ import annotations

from scans.core.risk.entry import RuleError
from scans.core.risk.evidence import RiskEvidence, gather
from scans.core.risk.operators import pack_of, read_pack
from scans.core.risk.pack import Pack, Rule, default_pack
from scans.core.risk.scorer import actionability, rate, urgency
from scans.core.risk.what_if import Relief, best_relief, by_weight, points, rate_closed

__all__ = [
    "Pack",
    "Relief",
    "RiskEvidence",
    "Rule",
    "RuleError",
    "actionability",
    "best_relief",
    "by_weight",
    "default_pack",
    "gather",
    "pack_of",
    "points",
    "rate",
    "rate_closed",
    "read_pack",
    "urgency",
]
