"""Writes docs/sources.md and docs/risk.md from the sources and the rules themselves; a test keeps them fresh."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scans.core.budgets import BREAKING_FAILURES, BROKEN_SECONDS  # noqa: E402
from scans.core.feeds import AnyFeed  # noqa: E402
from scans.core.intel import SOURCES, LocalSource, RemoteSource, Source  # noqa: E402
from scans.core.intel.base import KeyUse  # noqa: E402
from scans.core.intel.choice import setting  # noqa: E402
from scans.core.risk.entry import MAX_POINTS  # noqa: E402
from scans.core.risk.operators import CHANGEABLE, DIGEST_CHARS, MAX_FILE_BYTES  # noqa: E402
from scans.core.risk.pack import SHAPES, Rule, default_pack, known_categories  # noqa: E402
from scans.core.risk.what_if import MAX_CANDIDATES, MAX_TRIED_PORTS  # noqa: E402
from scans.core.tools import STALE_SECONDS  # noqa: E402
from scans.core.vulnerabilities import ALL_FEEDS, ALL_SOURCES, FEEDS  # noqa: E402
from scans.core.vulnerabilities.known import MAX_CVES_ASKED, MAX_PRODUCTS_ASKED, MAX_VULNERABILITIES  # noqa: E402
from scans.core.vulnerabilities.nvd import MAX_CVES, WITH_KEY, WITHOUT_KEY  # noqa: E402

OWN_RULES = """disable: [HDR-003]                 # versions may be shown here
rules:
  - id: EXP-008                    # a database counts for more than it does by default
    points: 40
    cap: 60
  - {id: EXP-012, floor: critical}
  - id: ORG-001                    # a rule of your own
    title: Printer of the office
    match: ports
    categories: [printer_media]
    points: 20
    cap: 40
    floor: high
    evidence: "{service} on {ports}"
    remediation: Printers belong into the printer network.
    reference: House rule 7
"""


def sources_page() -> str:
    """Every source that a scan may ask."""
    chosen = [f"| {kind.name} | {kind.gives} | {_when_on(kind)} | {_told(kind)} | {kind.terms} |" for kind in ALL_SOURCES]
    asked = [
        f"| {kind.name} | {kind.batch_size}{', IPv4 only' if kind.is_ipv4_only else ''} "
        f"| {', '.join(limit.words for limit in kind.limits)} "
        f"| {_hours(kind.lifetime_seconds)} | {_hours(kind.empty_lifetime_seconds)} |"
        for kind in SOURCES
        if issubclass(kind, RemoteSource)
    ]
    return f"""# Intelligence sources

Written by `make docs` from `scans/core/intel/`.

| source | what it knows | asked | who is told what | terms |
| --- | --- | --- | --- | --- |
{chr(10).join(chosen)}

`INTEL_SOURCES` says which are asked ([configuration.md](configuration.md)).

| source | addresses per request | requests | answers are kept | "knows nothing" is kept |
| --- | --- | --- | --- | --- |
{chr(10).join(asked)}

All processes share these limits. A source whose quota is used up is left alone until the end that it names, or for a minute,
doubling up to an hour; one that fails {BREAKING_FAILURES} times in a row for {BROKEN_SECONDS / 60:g} minutes. Where no new
answer comes, one whose time is over by up to {STALE_SECONDS // 86400} days stands in, marked `stale`.

Only public addresses are asked about, as addresses, never as names. Each answer becomes one state: `ok`, `empty` (it knows
nothing), `stale`, `rate_limited`, `unauthorized`, `failed`, `skipped` (switched off, or `OFFLINE=1`) or `not_applicable`
(an address that no service is asked about). A source that fails costs its own fields only, and the report says so.

## Files

Sources that are read on this machine need a file each, or several; [feeds.md](feeds.md) says how they get there.

| feed | what | published at | asked for at most once in | terms | comes with the program |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(map(_feed_row, ALL_FEEDS))}

## What is known against products

What services say they are, and what sources name, is looked up in lists on this machine
({", ".join(f"`{feed.name}`" for feed in FEEDS)}); that tells nobody anything.

CVEs are those that a source names for the address (InternetDB), and where the NVD is on, those that it names for products
that services are for certain (with a CPE name), if the CVE's own ranges hold their version: {MAX_CVES} of one product at
most. It is asked about {MAX_PRODUCTS_ASKED} products of an address and for the scores of its worst {MAX_CVES_ASKED} CVEs,
{WITHOUT_KEY.words} without a key and {WITH_KEY.words} with one, of the 5 and 50 that the service allows; about
products at public addresses only, and never about an address. Each process keeps its answers for a day. The worst
{MAX_VULNERABILITIES} CVEs of an address are kept, those that CISA lists as exploited first. Where that list is missing it is
not known whether a CVE is exploited, and the report says so.

A product is past its end of life if the release that its version belongs to had ended on the day of the scan. It is found by
its CPE name, and what a page is made with by its name. All of it is a version match only: nothing is tried. Builds of
distributions carry repairs without a new version; where a service says whose build it is, the report says that it may be
repaired.

To add a source, see [CONTRIBUTING.md](../CONTRIBUTING.md).
"""


def _feed_row(feed: AnyFeed) -> str:
    where = f"<{feed.url}>" if feed.url else f"no fixed address: <{feed.homepage}>"
    dated = feed.open(feed.seed).dated if feed.seed else None
    seed = f"of {dated:%Y-%m-%d}" if dated else ""
    return f"| {feed.name} | {feed.title} | {where} | {_hours(feed.refresh_seconds)} | {feed.terms} | {seed} |"


def _when_on(kind: type[Source]) -> str:
    if issubclass(kind, LocalSource):
        return "by default, where its file is" if kind.is_default else "if named, where its file is"
    if kind.key is KeyUse.REQUIRED:
        return f"with a key (`{setting(kind.name, 'KEY')}`)"
    if kind.key is KeyUse.OPTIONAL and kind.is_default:
        return f"by default; a key is optional (`{setting(kind.name, 'KEY')}`)"
    if kind.key is KeyUse.OPTIONAL:
        return f"if named, or with a key (`{setting(kind.name, 'KEY')}`)"
    return "by default" if kind.is_default else "if named"


def _told(kind: type[Source]) -> str:
    if not issubclass(kind, RemoteSource):
        return "nobody: it is read on this machine"
    return f"{kind.base_url or 'the resolver'}: {kind.tells}"


def _hours(seconds: int) -> str:
    return f"{seconds // 3600} h" if seconds < 3 * 86400 else f"{seconds // 86400} d"


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

A host's page can suppose open ports to be closed: the same scorer rates the stored evidence without them and the services
on them. Nothing is sent or written. It also names the one port whose closing lowers the verdict most: {MAX_CANDIDATES} are
tried at most, and none where more than {MAX_TRIED_PORTS} are open. Such a port counts as refused, so all closed is `low`.

| rule | title | fires on | points | cap | floor | what to do |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rule_row(rule) for rule in pack.rules)}

## Rules of your own

`RISK_RULES` names a file that lies over these rules; it is read at start ([configuration.md](configuration.md)).

```yaml
{OWN_RULES}```

- `disable` switches built-in rules off. Under `rules`, the id of a built-in rule changes it: what is named is replaced,
  the rest stays. Where a rule has them, these can be changed: {names(CHANGEABLE)};
  `floor: none` takes a floor away. What a rule matches cannot: disable it and add one with an id of your own.
- A new rule has an id of three capitals, a hyphen and three digits, `title`, `match`, `evidence`, `remediation`,
  `reference`, the fields of its kind, and `floor` where one is wanted. Points go from 0 to {MAX_POINTS}: rules only add, so
  more exposure never lowers a score, whatever the file says.
- Results name the rules they were rated by: `{pack.version}` are the built-in ones; with a file a plus sign follows and the
  first {DIGEST_CHARS} digits of its SHA-256 (`sha256sum FILE`). Older results keep their verdict;
  `manage.py rescore` shows beside it what it would be.
- A file that cannot be meant stops the start and names file, line, rule and field. It may hold
  {MAX_FILE_BYTES // 1024} kB, and no anchors or aliases.

| match | fires on | fields of its kind | placeholders of `evidence` |
| --- | --- | --- | --- |
{chr(10).join(kind_row(kind) for kind in SHAPES)}

{fill(f"Categories: {names(known_categories())}.", 120)}

{fill(f"Facts: {', '.join(f'`{name}` ({kind})' for name, kind in sorted(pack.facts.items()))}.", 120)}
"""


def names(given: Iterable[str]) -> str:
    """In order and as code."""
    return ", ".join(f"`{name}`" for name in sorted(given))


FIRES_ON = {
    "ports": "each open port of these categories",
    "ports_total": "the number of open ports: the highest tier reached",
    "flag": "a fact that is true",
    "tiers": "a fact that is a number: the highest tier reached",
    "list": "each element of a fact that is a list",
}


def kind_row(kind: str) -> str:
    """One kind of matcher."""
    shape = SHAPES[kind]
    return f"| `{kind}` | {FIRES_ON[kind]} | {names(shape.fields)} | {names(shape.placeholders)} |"


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
