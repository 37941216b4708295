"""Team Cymru's origin service over DNS: which AS announces the address, in which network, and where that is registered.

    10.113.0.203.origin.asn.cymru.com TXT    "64500 64501 | 203.0.113.0/24 | DE | ripencc | 2014-03-01"
    <32 nibbles>.origin6.asn.cymru.com TXT   the same for IPv6
    AS64500.asn.cymru.com TXT                "64500 | DE | ripencc | 2014-03-01 | EXAMPLE-HOSTING, DE"

The zones are those that ipwhois asks (its net.py); NXDOMAIN: nobody announces it. Of several records the one with the
longest prefix counts, of several ASes the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import NamedTuple

from scans.core.budgets import Limit
from scans.core.dns import DnsState, Question, Records
from scans.core.intel.base import Answers, Outside, RemoteSource, SourceError
from scans.core.intel.replies import MAX_TEXT_CHARS
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress, IPNetwork, SourceState

ZONES = {4: "origin.asn.cymru.com", 6: "origin6.asn.cymru.com"}
_AS_NUMBER = re.compile(r"[1-9]\d{0,9}", re.ASCII)
_REGISTRY = re.compile(r"[a-z]{2,12}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_COUNTRY_AT_END = re.compile(r",\s*[A-Z]{2}$")


class Origin(NamedTuple):
    """One record of the origin zones."""

    network: IPNetwork
    asn: int | None
    country: str | None
    registry: str | None


class Cymru(RemoteSource):
    """The origin zones."""

    name = "cymru"
    title = "Team Cymru IP to ASN"
    gives = "AS and announced network, registry and country of the registration"
    terms = "free; not for looking up addresses in bulk"
    is_default = True
    tells = "the address, as a question to asn.cymru.com"
    batch_size = 64
    max_requests = 1  # each has many sockets open at once
    limits = (Limit(60, 60),)
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 6 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about all addresses at once, and then about all their ASes."""
        said = dict(zip(addresses, outside.dns.ask([_question(address) for address in addresses]), strict=True))
        origins = {address: _origin(records, address) for address, records in said.items()}
        as_numbers = list(dict.fromkeys(origin.asn for origin in origins.values() if origin and origin.asn))
        told = outside.dns.ask([Question(f"AS{asn}.asn.cymru.com", "TXT") for asn in as_numbers])
        names = {asn: as_name(records.texts) for asn, records in zip(as_numbers, told, strict=True)}
        return Answers(facts={a: _facts(said[a], origins[a], names) for a in addresses})


def read_origin(said: str, address: IPAddress) -> Origin | None:
    """What one record says; None if it cannot be read, or is about another address."""
    fields = [field.strip() for field in said.split("|")]
    try:
        network = ip_network(fields[1])
    except (IndexError, ValueError):
        return None
    if network.version != address.version or address not in network:
        return None
    first = next(iter(fields[0].split()), "")
    asn = int(first) if _AS_NUMBER.fullmatch(first) and int(first) < 2**32 else None
    country, registry = (*fields[2:4], "", "")[:2]
    return Origin(
        network=network,
        asn=asn,
        country=country if _COUNTRY.fullmatch(country) else None,
        registry=registry if _REGISTRY.fullmatch(registry) else None,
    )


def as_name(texts: Sequence[str]) -> str | None:
    """The name that a record about an AS ends with, without the country behind it."""
    fields = texts[0].split("|") if texts else []
    name = clean_text(fields[4], limit=MAX_TEXT_CHARS) if len(fields) > 4 else ""
    return _COUNTRY_AT_END.sub("", name) or None


def _question(address: IPAddress) -> Question:
    reversed_digits = address.reverse_pointer.rsplit(".", 2)[0]  # in-addr.arpa and ip6.arpa
    return Question(f"{reversed_digits}.{ZONES[address.version]}", "TXT")


def _origin(records: Records, address: IPAddress) -> Origin | None:
    found = [origin for text in records.texts if (origin := read_origin(text, address))]
    return max(found, key=lambda origin: origin.network.prefixlen, default=None)


def _facts(records: Records, origin: Origin | None, names: Mapping[int, str | None]) -> Facts | SourceError:
    if records.state is DnsState.FAILED:
        return SourceError(SourceState.FAILED, records.reason)
    if records.state is DnsState.NOTHING:
        return SourceError(SourceState.EMPTY, "nobody announces it")
    if origin is None:
        return SourceError(SourceState.FAILED, "the answer could not be read")
    return Facts(
        asn=origin.asn,
        as_name=names.get(origin.asn) if origin.asn else None,
        network=str(origin.network),
        registry=origin.registry,
        registered_country=origin.country,
    )
