"""What a host's page shows beside its own report: the other scans of its addresses and of its name.

Two queries, however many addresses a host has and however many scans there were. The first finds the newest few rows by
each address (index `address_history`) and by the name (index `target_host`); the second reads of those rows only what is
compared, never their lists of probes, which may be megabytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.fields.json import KT
from django.urls import reverse

from scans.core.ports import compact, expand_all
from scans.core.said import speaking
from scans.core.types import Level
from scans.models import TargetAddress, TargetResult, TargetState
from scans.selectors.access import visible_jobs
from scans.selectors.host_changes import (
    Change,
    ChangeKind,
    SeenAddress,
    count_compared,
    level_change,
    port_changes,
    service_values,
    value_changes,
)

MAX_EARLIER = 20
MAX_ADDRESSES = 8  # of a target; the resolver keeps no more
READ_ROWS = 50  # at a time; the services of a row are 64 kB at most
MAX_COMPARED_PORTS = 200_000  # on one page, some 200 ms; all ports of many addresses would take seconds
COMPARED_FACTS = {
    "Organisation": "organisation", "Provider": "isp", "Network": "asn", "Country": "country", "Address range": "network",
    "Host names": "host_names",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class HostScan:
    """One scan in a host's history, and what is different from the scan before it."""

    pk: int
    token: str  # of its job
    number: int  # of its target
    target: str
    host: str
    scanned_at: datetime
    level: str
    error_code: str
    open_ports: int
    addresses: tuple[SeenAddress, ...]
    changes: tuple[Change, ...] = ()
    compared_with: HostScan | None = None  # None: nothing earlier that could be compared
    is_too_large: bool = False  # to be compared on a page

    @property
    def url(self) -> str:
        """The host's page of this scan."""
        return reverse("host", args=[self.token, self.number])

    @property
    def open_list(self) -> str:
        """The ports open at any of its addresses, compact."""
        texts = [seen.port_states["open"] for seen in self.addresses]
        return texts[0] if len(texts) == 1 else compact(expand_all(texts))


@dataclass(frozen=True, kw_only=True, slots=True)
class HostHistory:
    """The scan that the page shows and the earlier ones, newest first."""

    scans: tuple[HostScan, ...] = ()
    newer: HostScan | None = None  # the newest of all, if it is not the page's own
    has_more: bool = False


def host_history(row: TargetResult, user: User | AnonymousUser) -> HostHistory:
    """The other scans that this user may see of the same addresses or the same name. Two queries."""
    found = sorted(read_scans(_other_rows(row, user)), key=lambda scan: scan.scanned_at, reverse=True)
    until = row.scanned_at
    if until is None:  # no result of its own yet
        earlier, newer = found, None
    else:
        earlier = [scan for scan in found if scan.scanned_at <= until]
        newer = next((scan for scan in found if scan.scanned_at > until), None)
    own = [] if until is None else [_own_scan(row, until)]
    scans = _compared([*own, *earlier[: MAX_EARLIER + 1]])[: len(own) + MAX_EARLIER]
    return HostHistory(scans=tuple(scans), newer=newer, has_more=len(earlier) > MAX_EARLIER)


# Finding the rows


def _other_rows(row: TargetResult, user: User | AnonymousUser) -> list[int]:
    """The primary keys of the newest rows by each address and by the name: the earlier ones, and the newest of all.

    A union whose parts are limited; neither SQLite nor Django lets a part of a union have a limit of its own, so each
    part picks its rows by a limited subquery.
    """
    may_see = visible_jobs(user)  # asked row by row: as a list it would be all jobs, each time
    addresses = [seen["address"] for seen in row.evidence["addresses"]] if row.evidence else []
    at_address = TargetAddress.objects.filter(Exists(may_see.filter(pk=OuterRef("result__job_id"))))
    at_address = at_address.exclude(result=row.pk).order_by("-observed_at")
    by_name = TargetResult.objects.filter(Exists(may_see.filter(pk=OuterRef("job_id"))), host=row.host)
    by_name = by_name.filter(scanned_at__isnull=False).exclude(pk=row.pk).exclude(state=TargetState.CANCELLED)
    by_name = by_name.order_by("-job_id")
    parts: list[QuerySet[Any, Any]] = [_picked_rows(by_name.filter(job__lte=row.job_id)[: MAX_EARLIER + 1])]
    if row.scanned_at:
        parts.append(_picked_rows(by_name.filter(scanned_at__gt=row.scanned_at)[:1]))
    for address in addresses[:MAX_ADDRESSES]:
        seen = at_address.filter(address=address)
        parts.append(_picked_addresses(seen.filter(observed_at__lte=row.scanned_at)[: MAX_EARLIER + 1]))
        parts.append(_picked_addresses(seen.filter(observed_at__gt=row.scanned_at)[:1]))
    # Flat, for SQLite's parser gives up on eighteen nested ones.
    return [pk for (pk,) in parts[0].union(*parts[1:])]


def _picked_rows(rows: QuerySet[TargetResult]) -> QuerySet[TargetResult, tuple[int]]:
    return TargetResult.objects.filter(pk__in=rows.values("pk")).order_by().values_list("pk")


def _picked_addresses(rows: QuerySet[TargetAddress]) -> QuerySet[TargetAddress, tuple[int]]:
    return TargetAddress.objects.filter(pk__in=rows.values("pk")).order_by().values_list("result_id")


# Reading them


def read_scans(keys: Iterable[int], *, addresses: int = MAX_ADDRESSES, told: bool = True) -> Iterator[HostScan]:
    """Of each row single values of its first addresses; its JSON stays in the database. One query, the rows in any order.

    Without `told` what sources said is left out.
    """
    names = [name for name in _PARTS if told or name != "sources"]
    parts = {f"{name}{at}": KT(f"evidence__addresses__{at}__{name}") for at in range(addresses) for name in names}
    rows = TargetResult.objects.filter(pk__in=keys).annotate(**parts, token=F("job__token"))
    columns = ("pk", "token", "ordinal", "target", "host", "scanned_at", "risk_level", "error_code", "open_ports")
    for row in rows.order_by().values(*columns, *parts).iterator(chunk_size=READ_ROWS):
        yield HostScan(
            pk=row["pk"],
            token=row["token"],
            number=row["ordinal"] + 1,
            target=row["target"],
            host=row["host"],
            scanned_at=row["scanned_at"],
            level=row["risk_level"],
            error_code=row["error_code"],
            open_ports=row["open_ports"],
            addresses=tuple(_seen(row, at) for at in range(addresses) if row[f"address{at}"]),
        )


_PARTS = ("address", "port_states", "services", "sources")  # services up to 64 kB: 22 scans of 8 full addresses take 300 ms


def _seen(row: Mapping[str, Any], at: int) -> SeenAddress:
    states, services, sources = (json.loads(row.get(f"{name}{at}") or "[]") for name in _PARTS[1:])
    return SeenAddress(address=row[f"address{at}"], port_states=states, said=service_values(services), told=_told(sources))


def _own_scan(row: TargetResult, scanned_at: datetime) -> HostScan:
    evidence, *_ = row.parts
    seen = [
        SeenAddress(
            address=known["address"],
            port_states=known["port_states"],
            said=service_values(known.get("services", ())),
            told=_told(known["sources"]),
        )
        for known in evidence["addresses"]
    ]
    return HostScan(
        pk=row.pk,
        token=row.job.token,
        number=row.ordinal + 1,
        target=row.target,
        host=row.host,
        scanned_at=scanned_at,
        level=row.risk_level,
        error_code=row.error_code,
        open_ports=row.open_ports,
        addresses=tuple(seen),
    )


def _told(sources: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, str]]:
    """What each source said about an address: a scan that one source did not answer must not look like a change."""
    found: dict[str, dict[str, str]] = {}
    for source in speaking(sources):
        for label, name in COMPARED_FACTS.items():
            if value := source["facts"].get(name):
                found.setdefault(label, {})[source["source"]] = _as_text(name, value)
    return found


def _as_text(name: str, value: Any) -> str:
    if name == "asn":
        return f"AS{value}"
    return ", ".join(sorted(value)) if isinstance(value, list) else str(value)


# Comparing them


def _compared(scans: Sequence[HostScan]) -> list[HostScan]:
    """Each scan with what is different from the next earlier one that looked at one of its addresses."""
    budget = MAX_COMPARED_PORTS
    compared = []
    for at, scan in enumerate(scans):
        earlier = next((other for other in scans[at + 1 :] if _has_common(scan, other)), None)
        if earlier is None:
            compared.append(scan)
            continue
        budget -= comparing_cost(earlier, scan)
        changes = tuple(changes_between(earlier, scan)) if budget >= 0 else ()
        compared.append(replace(scan, changes=changes, compared_with=earlier, is_too_large=budget < 0))
    return compared


def _has_common(scan: HostScan, other: HostScan) -> bool:
    if scan.error_code or other.error_code:
        return False
    return not {seen.address for seen in scan.addresses}.isdisjoint(seen.address for seen in other.addresses)


def comparing_cost(earlier: HostScan, scan: HostScan) -> int:
    """How many ports `changes_between` has to look at, for MAX_COMPARED_PORTS."""
    return sum(count_compared(then.port_states, now.port_states) for then, now in _common(earlier, scan))


def changes_between(earlier: HostScan, scan: HostScan) -> Iterator[Change]:
    """What is different in the later of two scans: the level, and at each address that both looked at."""
    yield from level_change(earlier.level, scan.level)
    for then, now in _common(earlier, scan):
        where = now.address if len(scan.addresses) > 1 else ""
        yield from port_changes(then.port_states, now.port_states, address=where)
        yield from value_changes(then, now, address=where)
    if earlier.host == scan.host:  # the same name, so that its addresses can be compared
        yield from _address_changes(earlier, scan)


def _common(earlier: HostScan, scan: HostScan) -> list[tuple[SeenAddress, SeenAddress]]:
    then = {seen.address: seen for seen in earlier.addresses}
    return [(then[now.address], now) for now in scan.addresses if now.address in then]


def _address_changes(earlier: HostScan, scan: HostScan) -> Iterator[Change]:
    """Which addresses the name had: both scans asked, and got their answer."""
    then, now = ([seen.address for seen in side.addresses] for side in (earlier, scan))
    if set(then) != set(now):
        yield Change(kind=ChangeKind.CHANGED, what="Addresses", then=", ".join(then), now=", ".join(now))


def last_observed(history: HostHistory) -> HostScan | None:
    """The last scan that did observe something, for a host of which nothing is known now."""
    return next((scan for scan in history.scans[1:] if scan.level not in (Level.UNKNOWN, "")), None)
