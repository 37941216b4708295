"""Writes docs/sources.md and docs/risk.md from the sources and the rules themselves; a test keeps them fresh."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scans.core.intel import SOURCES  # noqa: E402
from scans.core.risk.pack import Rule, default_pack  # noqa: E402


def sources_page() -> str:
    """Every source that a scan may ask."""
    rows = [
        f"| {source.name} | {source.terms} | {source.batch_size} | {source.requests_per_minute:g} "
        f"| {source.lifetime_seconds // 3600} h | {source.empty_lifetime_seconds // 3600} h |"
        for source in SOURCES
    ]
    return f"""# Intelligence sources

Written by `make docs` from `scans/core/intel/`.

| source | terms | addresses per request | requests per minute | answers are kept | "knows nothing" is kept |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Only public addresses are asked about, as addresses, never as names. Each answer becomes one state: `ok`, `empty` (it knows
nothing), `stale`, `rate_limited`, `unauthorized`, `failed`, `skipped` (switched off, or `OFFLINE=1`) or `not_applicable`
(an address that no service is asked about). A source that fails costs its own fields only, and the report says so.

To add one, see [CONTRIBUTING.md](../CONTRIBUTING.md).
"""


def risk_page() -> str:
    """Every rule."""
    pack = default_pack()
    levels = ", ".join(f"`{level}` from {least}" for level, least in pack.levels)
    return f"""# Risk rules

Written by `make docs` from `scans/core/risk/rules.yaml`, version {pack.version}.

The score is the sum of the points of the rules that fired, each up to its cap, clipped at 100. The level is {levels};
or the highest floor of a rule that fired on a public address, if that is higher. Facts only add points: more
exposure never lowers score or level. Where nothing was observed at all the level is `unknown`, which is not a low one.
A fact that no stage fills yet stays unknown, and its rule silent.

| rule | title | fires on | points | cap | floor | what to do |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rule_row(rule) for rule in pack.rules)}
"""


def rule_row(rule: Rule) -> str:
    """One line of the table."""
    fires_on = {
        "ports": "open ports: " + ", ".join(sorted(rule.categories)),
        "ports_total": "the number of open ports",
    }.get(rule.match, f"`{rule.fact}`")
    points = ", ".join(f"{tier.points} from {tier.at:g}" for tier in rule.tiers) or str(rule.points)
    return (
        f"| {rule.id} | {rule.title} | {fires_on} | {points} | {rule.cap or ''} | {rule.floor or ''} | {rule.remediation} |"
    )


PAGES = {"docs/sources.md": sources_page, "docs/risk.md": risk_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), encoding="utf-8")
