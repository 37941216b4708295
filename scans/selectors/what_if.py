"""What a host's page says of ports that could be closed. No query: all of it follows from the row's evidence.

Both verdicts that are compared are made here, by the rules of today: a row that was rated by older ones may say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scans.conf import risk_pack
from scans.core import risk
from scans.core.ports import service_name
from scans.core.risk import Relief
from scans.core.stored import UnreadableEvidenceError, stored_addresses
from scans.core.text import clean_text
from scans.core.types import AddressReport, Finding, Verdict
from scans.models import TargetResult

MAX_OFFERED = 40
MAX_OPEN_PORTS = 1000  # a host with more is rated in a second and not in milliseconds, and one port tells nothing there
MAX_NAMED = 5  # of what was asked for and is no open port
MAX_NAMED_CHARS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class PortChoice:
    """One open port that may be chosen."""

    port: int
    usual: str
    is_chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Eased:
    """A finding that stays with fewer points."""

    then: Finding
    points_now: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The verdict as it is and as it would be."""

    ports: tuple[int, ...]
    now: Verdict
    then: Verdict

    @property
    def gone(self) -> list[Finding]:
        """What would go away, worst first."""
        kept = {finding.rule_id for finding in self.then.findings}
        return [finding for finding in self.now.findings if finding.rule_id not in kept]

    @property
    def eased(self) -> list[Eased]:
        """What would stay and weigh less."""
        before = {finding.rule_id: finding.points for finding in self.now.findings}
        lighter = [finding for finding in self.then.findings if finding.points < before.get(finding.rule_id, 0)]
        return [Eased(then=finding, points_now=before[finding.rule_id]) for finding in lighter]

    @property
    def same(self) -> list[Finding]:
        """What would stay as it is."""
        eased = {each.then.rule_id for each in self.eased}
        return [finding for finding in self.then.findings if finding.rule_id not in eased]


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatIf:
    """The choice, what is advised, and what was asked for. Unreadable evidence leaves only the word that it is."""

    choices: tuple[PortChoice, ...] = ()
    more: int = 0  # open ports that are not offered
    now: Verdict | None = None
    relief: Relief | None = None
    comparison: Comparison | None = None
    ignored: tuple[str, ...] = ()  # what was asked for and is no open port
    more_ignored: int = 0
    is_too_many: bool = False  # more ports are open than are rated here
    is_rerated: bool = False  # the rules of today say something else than those that the row was rated by

    @property
    def is_readable(self) -> bool:
        """Whether the evidence could be rated again."""
        return self.now is not None


def what_if(row: TargetResult, asked: Sequence[str]) -> WhatIf | None:
    """What closing ports would do to a host's verdict; None if it has no open port, or none that tells of a service.

    `asked` is as a client wrote it.
    """
    if row.evidence is None or not row.open_ports:
        return None
    if row.open_ports > MAX_OPEN_PORTS:
        return WhatIf(is_too_many=True)
    try:
        addresses = stored_addresses(row.evidence)
    except UnreadableEvidenceError:
        return WhatIf()
    pack = risk_pack()
    now = risk.rate(risk.gather(addresses), pack)
    open_ports = {port for address in addresses for port in address.telling_ports}
    if not open_ports:
        return None
    chosen, ignored = _read(asked, open_ports)
    choices = _choices(addresses, now, open_ports, chosen)
    return WhatIf(
        choices=choices,
        more=len(open_ports) - len(choices),
        now=now,
        relief=risk.best_relief(addresses, now, pack),
        comparison=Comparison(ports=chosen, now=now, then=risk.rate_closed(addresses, set(chosen), pack))
        if chosen
        else None,
        ignored=tuple(clean_text(text, limit=MAX_NAMED_CHARS) or "nothing" for text in ignored[:MAX_NAMED]),
        more_ignored=max(0, len(ignored) - MAX_NAMED),
        is_rerated=(row.risk_level, row.risk_score) != (now.level.value, now.score),
    )


def _read(asked: Sequence[str], open_ports: set[int]) -> tuple[tuple[int, ...], list[str]]:
    """The open ports among what was asked for, ascending, and the rest of it."""
    numbers = {text: int(text) for text in dict.fromkeys(asked) if text.isascii() and text.isdigit() and len(text) <= 5}
    chosen = {number for number in numbers.values() if number in open_ports}
    return tuple(sorted(chosen)), [text for text in dict.fromkeys(asked) if numbers.get(text) not in chosen]


def _choices(
    addresses: Sequence[AddressReport], now: Verdict, open_ports: set[int], chosen: Sequence[int]
) -> tuple[PortChoice, ...]:
    """The weightiest ports in their order; a chosen one is always among them."""
    offered = {*risk.by_weight(open_ports, addresses, now)[:MAX_OFFERED], *chosen}
    return tuple(PortChoice(port=port, usual=service_name(port), is_chosen=port in chosen) for port in sorted(offered))
