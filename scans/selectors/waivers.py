"""Accepted risks: which are in force, which finding each of them marks, and who may accept one.

A waiver marks a finding if all of it is accepted, and never half of one:

1. the rule is the same;
2. its scope is the target's host name, or an address or network in which every address of the target lies;
3. it names no port, or the only port that the finding names.

One query brings those in force, at most MAX_IN_FORCE; the rest is a few look-ups for each finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone

from scans.core.types import IPNetwork
from scans.models import Waiver
from scans.selectors.access import sees_all_jobs

MAX_IN_FORCE = 1000  # services/waivers.py accepts no more
MAX_ENDED = 50  # on the page; the admin has all

Json = Mapping[str, Any]
_Size = tuple[int, int]  # of a network: the version, and how many bits its addresses differ in


class WaiversInForce:
    """The waivers that hold at one moment, by what is looked for."""

    def __init__(self, waivers: Iterable[Waiver]) -> None:
        self._by_name: dict[tuple[str, str], list[Waiver]] = {}
        self._by_network: dict[str, dict[_Size, dict[int, list[Waiver]]]] = {}
        for waiver in waivers:
            if network := as_network(waiver.scope):
                size = network.version, network.max_prefixlen - network.prefixlen
                alike = self._by_network.setdefault(waiver.rule_id, {}).setdefault(size, {})
                alike.setdefault(int(network.network_address) >> size[1], []).append(waiver)
            else:
                self._by_name.setdefault((waiver.rule_id, waiver.scope), []).append(waiver)

    def __bool__(self) -> bool:
        return bool(self._by_name or self._by_network)

    def of(self, finding: Json, *, host: str, addresses: Sequence[str]) -> Waiver | None:
        """The waiver that marks this finding of a target; of several the one that ends last."""
        about = self._about(finding["rule_id"], host, addresses)
        marking = (waiver for waiver in about if waiver.port is None or finding["ports"] == [waiver.port])
        return max(marking, key=lambda waiver: (waiver.expires_at, waiver.pk), default=None)

    def _about(self, rule_id: str, host: str, addresses: Sequence[str]) -> Iterator[Waiver]:
        yield from self._by_name.get((rule_id, host), ())
        sizes = self._by_network.get(rule_id)
        seen = [ip_address(address) for address in addresses] if sizes else []
        for (version, bits), networks in (sizes or {}).items():
            prefixes = {int(address) >> bits if address.version == version else None for address in seen}
            prefix = prefixes.pop() if len(prefixes) == 1 else None  # else they do not all lie in one
            if prefix is not None:
                yield from networks.get(prefix, ())


def as_network(scope: str) -> IPNetwork | None:
    """A stored scope as a network, an address as one of a single address; None for a name."""
    try:
        return ip_network(scope)
    except ValueError:
        return None


def in_force(at: datetime) -> QuerySet[Waiver]:
    """Those that hold at this moment."""
    return Waiver.objects.filter(withdrawn_at=None, expires_at__gt=at)


def waivers_in_force() -> WaiversInForce:
    """Those that hold now. One query."""
    return WaiversInForce(in_force(timezone.now())[:MAX_IN_FORCE])


def waivers_mark() -> str:
    """Changes whenever a waiver begins to hold or ceases to, by whatever way; part of the version of what shows them."""
    now = timezone.now()
    held = Count("pk", filter=Q(withdrawn_at=None, expires_at__gt=now))
    last, holding = Waiver.objects.aggregate(last=Max("pk"), holding=held).values()
    return f"{last or 0}-{holding}"


def marked_findings(findings: Iterable[Json], evidence: Json, waivers: WaiversInForce) -> list[dict[str, Any]]:
    """The findings of one stored verdict, each with its waiver or None. The verdict itself stays as it is."""
    host = evidence["target"]["host"]
    addresses = [seen["address"] for seen in evidence["addresses"]]
    return [{**each, "waiver": _wired(waivers.of(each, host=host, addresses=addresses))} for each in findings]


def _wired(waiver: Waiver | None) -> dict[str, Any] | None:
    if waiver is None:
        return None
    return {
        "id": waiver.pk,
        "scope": waiver.scope,
        "port": waiver.port,
        "owner": waiver.owner,
        "reason": waiver.reason,
        "entered_by": waiver.entered_by or None,
        "created_at": _timestamp(waiver.created_at),
        "expires_at": _timestamp(waiver.expires_at),
    }


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def listed_waivers() -> tuple[list[Waiver], list[Waiver]]:
    """Those in force, those that end next first; and the newest of those that have ended. Two queries."""
    now = timezone.now()
    holding = in_force(now).order_by("expires_at", "pk")[:MAX_IN_FORCE]
    ended = Waiver.objects.filter(Q(expires_at__lte=now) | Q(withdrawn_at__isnull=False)).order_by("-pk")[:MAX_ENDED]
    return list(holding), list(ended)


def may_waive(user: User | AnonymousUser) -> bool:
    """Who may accept a risk for everybody: staff, and on one's own machine whoever is there."""
    return settings.IS_LOCAL or sees_all_jobs(user)
