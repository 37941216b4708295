"""What is known against the products of the addresses, as the facts that rules look at. None: nobody could say.

More only adds: lists are unions and numbers are the highest, so one more CVE or product never lowers a score. Days were
judged when the scan was made and lie in the evidence, so the same evidence gives the same verdict on any day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scans.core.risk.fact import Fact
from scans.core.types import AddressReport, EndOfLife, Vulnerability

FACT_NAMES = frozenset({"vulns.kev", "vulns.max_epss", "vulns.max_cvss", "eol_products"})


def weakness_facts(addresses: Iterable[AddressReport]) -> Mapping[str, Fact]:
    """The facts by the names that `rules.yaml` declares."""
    given = list(addresses)
    known = [each for address in given for each in address.vulnerabilities or ()]
    ended = [each for address in given for each in address.end_of_life or ()]
    stated = {
        "vulns.kev": _exploited(known),
        "vulns.max_epss": _highest([(each.epss, each.named_by) for each in known]),
        "vulns.max_cvss": _highest([(each.cvss, (each.cvss_by or "an unnamed source",)) for each in known]),
        "eol_products": _ended(ended) if any(address.end_of_life is not None for address in given) else None,
    }
    return {name: fact for name, fact in stated.items() if fact}


def _exploited(known: Iterable[Vulnerability]) -> Fact | None:
    judged = [each for each in known if each.is_exploited is not None]
    listed = [each for each in judged if each.is_exploited]
    who = {source for each in listed or judged for source in each.named_by}
    return Fact(value=tuple(sorted({each.cve for each in listed})), sources=tuple(sorted(who))) if judged else None


def _highest(said: Iterable[tuple[float | None, tuple[str, ...]]]) -> Fact | None:
    given = [(value, who) for value, who in said if value is not None]
    if not given:
        return None
    most = max(value for value, _ in given)
    return Fact(value=most, sources=tuple(sorted({source for value, who in given if value == most for source in who})))


def _ended(ended: Sequence[EndOfLife]) -> Fact:
    names = tuple(sorted({f"{each.product} {each.release}" for each in ended}))
    return Fact(value=names, sources=tuple(sorted({source for each in ended for source in each.named_by})))
