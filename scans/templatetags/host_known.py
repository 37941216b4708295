"""What is known against the versions at an address, for its host's page. Words are in the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django import template
from django.utils.dateformat import format as formatted

from scans.core.vulnerabilities import NOTICE, Nvd
from scans.core.wire import known_against_dict

register = template.Library()

Json = Mapping[str, Any]

MAX_ROWS = 40  # of one address; the worst come first


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the section shows."""

    vulnerabilities: Sequence[Json]
    total: int
    was_asked: bool  # somebody could have named CVEs
    end_of_life: Sequence[Json] | None
    distributions: Sequence[str]

    @property
    def count(self) -> int:
        """Of both kinds together."""
        return self.total + len(self.end_of_life or ())

    @property
    def is_by_nvd(self) -> bool:
        """Whether any of it came from the NVD, whose terms ask for a notice."""
        return any(Nvd.name in (*each["named_by"], each["cvss_by"]) for each in self.vulnerabilities)

    @property
    def notice(self) -> str:
        """That notice."""
        return NOTICE

    @property
    def more(self) -> int:
        """CVEs that the page has no room for."""
        return self.total - len(self.vulnerabilities)


@register.simple_tag
def known_against(address: Json) -> Known | None:
    """What is known, each field there whether stored or not; None where nobody could say anything."""
    wired = known_against_dict(address)
    cves, ended = wired["vulnerabilities"], wired["end_of_life"]
    if cves is None and ended is None:
        return None
    builders = {each["distribution"] for each in (*(cves or ()), *(ended or ())) if each["distribution"]}
    return Known(
        vulnerabilities=(cves or [])[:MAX_ROWS],
        total=len(cves or ()),
        was_asked=cves is not None,
        end_of_life=ended,
        distributions=sorted(builders),
    )


@register.filter
def day(stored: str) -> str:
    """ "9 Dec 2026" of "2026-12-09"."""
    return formatted(date.fromisoformat(stored), "j M Y")


@register.filter
def percent(share: float) -> str:
    """ "76 %", and of little "0.04 %"."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
