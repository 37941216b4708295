"""The order of the risk levels. `unknown` stands below all of them: nothing was observed, so nothing is claimed."""

from __future__ import annotations

from scans.core.types import Level

_ORDER = (Level.UNKNOWN, Level.LOW, Level.MEDIUM, Level.HIGH, Level.CRITICAL)


def rank(level: Level | None) -> int:
    """Higher is worse; no level at all ranks like `unknown`."""
    return _ORDER.index(level) if level else 0
