"""From what was seen to a level: the rule pack (data), its matchers and the scorer."""

from __future__ import annotations

from scans.core.risk.entry import RuleError
from scans.core.risk.evidence import RiskEvidence, gather
from scans.core.risk.operators import pack_of, read_pack
from scans.core.risk.pack import Pack, default_pack
from scans.core.risk.scorer import rate

__all__ = ["Pack", "RiskEvidence", "RuleError", "default_pack", "gather", "pack_of", "rate", "read_pack"]
