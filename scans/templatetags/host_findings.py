"""What a finding rests on, in a tag: seen in an answer, inferred, or told by others; from its rule and the evidence.

fact of the rule            tag
what services answered      verified
CVEs and end of life        inferred from the version; known exploited, if that is what the rule is about
what sources say            told by others
open ports in all           verified: a handshake opened each of them
ports by their number       verified where the service behind one named itself as such, else inferred from the port number
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from django import template

from scans.conf import risk_pack
from scans.core.ports import catalogue
from scans.core.risk.words import port_list
from scans.core.types import ServiceState

register = template.Library()

Json = Mapping[str, Any]
EXPLOITED = "vulns.kev"
FROM_VERSIONS = ("vulns.", "eol_")
FROM_SOURCES = "intel."
_ALTERNATIVE = re.compile(r"-(?:alt|\d+)$")


class Ground(NamedTuple):
    """One tag; the look is a suffix of its class, empty for the plain one."""

    look: str
    words: str


@register.filter
def grounds(finding: Json, evidence: Json) -> list[Ground]:
    """The tags of a finding; none for a rule that is not in force any more, of which nobody can say."""
    rule = next((rule for rule in risk_pack().rules if rule.id == finding["rule_id"]), None)
    if rule is None:
        return []
    if rule.match == "ports":
        return list(_of_ports(finding["ports"], evidence, rule.categories))
    if rule.fact.startswith(FROM_SOURCES):
        return [Ground("", "told by others")]
    if rule.fact.startswith(FROM_VERSIONS):
        exploited = [Ground("strong", "known exploited")] if rule.fact == EXPLOITED else []
        return [*exploited, Ground("doubt", "inferred from the version")]
    return [Ground("", "verified")]


def _of_ports(ports: Collection[int], evidence: Json, categories: frozenset[str]) -> Iterable[Ground]:
    """Behind some of the ports something may have named itself as what the catalogue expects there, behind others not."""
    seen = {port for port, names in _named(evidence).items() if names & _names(categories)}
    verified = sorted(seen & set(ports))
    inferred = sorted(set(ports) - seen)
    if verified:
        yield Ground("", f"verified on {port_list(verified)}" if inferred else "verified")
    if inferred:
        yield Ground("doubt", f"inferred from the port number{f' on {port_list(inferred)}' if verified else ''}")


def _named(evidence: Json) -> dict[int, set[str]]:
    """By port, what the services at any address called themselves."""
    found: dict[int, set[str]] = {}
    for address in evidence["addresses"]:
        for service in address.get("services", ()):
            if service["state"] == ServiceState.IDENTIFIED:
                names = (service.get("protocol"), service.get("product"))
                found.setdefault(service["port"], set()).update(name.casefold() for name in names if name)
    return found


@cache
def _names(categories: frozenset[str]) -> frozenset[str]:
    """What the catalogue calls the services of these categories; `ssh-alt` and `vnc-1` are SSH and VNC."""
    return frozenset(
        _ALTERNATIVE.sub("", info.service.casefold()) for info in catalogue().values() if info.category in categories
    )
