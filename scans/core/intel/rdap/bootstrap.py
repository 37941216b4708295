"""Which registry's RDAP service knows which block: IANA's bootstrap files (RFC 9224).

    {"publication": "2026-11-01T00:00:00Z", "services": [[["203.0.0.0/8", …], ["https://rdap.apnic.net/", …]], …]}

The files that come with the program are from 2019 and hold every block of that time; a block that has been handed out
since is asked about at FALLBACK, which redirects to the registry that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from scans.core.feeds import Contents, Feed, FeedError, NetworkTable, Sieve, Store, json_object, moment
from scans.core.types import IPAddress, IPNetwork

FALLBACK = "https://rdap.arin.net/registry"
NATIONAL = (  # not in IANA's list: registries of countries, to which APNIC and LACNIC hand over
    "https://rdap.registro.br",
    "https://jpnic.rdap.apnic.net",
    "https://krnic.rdap.apnic.net",
    "https://idnic.rdap.apnic.net",
    "https://twnic.rdap.apnic.net",
)
_BASE = re.compile(r"https://(?:[a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{1,62}(?::(?P<port>\d{1,5}))?(?:/[\w./-]*)?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The blocks of one file, and the base URLs that it names, without a slash at the end."""

    blocks: NetworkTable[str]
    bases: frozenset[str]


def read(body: bytes) -> Contents[Services]:
    """One file. Raises FeedError."""
    said, sieve = json_object(body), Sieve()
    listed = said.get("services")
    if not isinstance(listed, list):
        raise FeedError('line 1: there is no list "services" in it')
    entries = list(_entries(listed, sieve))
    table = Services(blocks=NetworkTable(entries), bases=frozenset(base for _, base in entries))
    return sieve.contents(table, len(entries), dated=moment(said.get("publication"), "%Y-%m-%dT%H:%M:%SZ"))


def _entries(listed: list[Any], sieve: Sieve) -> Iterator[tuple[IPNetwork, str]]:
    for number, service in enumerate(listed, start=1):
        where = f"service {number}"
        blocks, urls = service if isinstance(service, list) and len(service) == 2 else (None, None)
        if not isinstance(blocks, list) or not isinstance(urls, list):
            sieve.leave_out(where, service, "a list of blocks and a list of URLs")
            continue
        base = next((url for url in urls if isinstance(url, str) and _can_be_meant(url)), None)
        if base is None:
            sieve.leave_out(where, urls, "a list with an https URL")
            continue
        for block in blocks:
            try:
                yield ip_network(str(block)), base.rstrip("/")
            except ValueError:
                sieve.leave_out(where, block, "a network")


def _can_be_meant(url: str) -> bool:
    """The gate must be able to read each: one port that there is not would end every scan."""
    match = _BASE.fullmatch(url)
    return match is not None and (match["port"] is None or 1 <= int(match["port"]) <= 65535)


def _feed(version: int) -> Feed[Services]:
    return Feed(
        name=f"rdap-ipv{version}",
        title=f"IANA's list of RDAP services for IPv{version}",
        terms="free to use",
        file_name=f"rdap-ipv{version}.json",
        url=f"https://data.iana.org/rdap/ipv{version}.json",
        homepage="https://data.iana.org/rdap/",
        read=read,
        refresh_seconds=7 * 24 * 3600,
        max_bytes=1 << 20,
    )


FEEDS = {version: _feed(version) for version in (4, 6)}


def base_url(address: IPAddress, store: Store) -> str:
    """Where to ask about an address: by the longest prefix."""
    hit = next(_services(address.version, store).blocks.find(address), None)
    return hit.value if hit else FALLBACK


def all_bases(store: Store) -> frozenset[str]:
    """Wherever an address may be asked about, also after redirects."""
    return frozenset({FALLBACK, *NATIONAL}).union(*(_services(version, store).bases for version in FEEDS))


def _services(version: int, store: Store) -> Services:
    """Of the file that was imported; if that is bad, of the one that comes with the program."""
    try:
        return store.load(FEEDS[version]).table
    except FeedError:
        return Store("").load(FEEDS[version]).table
