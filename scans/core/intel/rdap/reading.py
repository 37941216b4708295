"""A registry's answer about a network (RFC 9083, 5.4) to facts.

Of persons nothing is kept: names come from contacts that say of themselves to be an organisation or a group, and of
the others only the mailbox for abuse. A vCard without a kind is an individual's (RFC 6350, 6.1.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, summarize_address_range
from typing import Any

from scans.core.intel.base import SourceError
from scans.core.intel.replies import MAX_TEXT_CHARS, mapping, text
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress, IPNetwork, SourceState

MAX_ENTITIES = 100
MAX_PROPERTIES = 100  # of one vCard
REGISTRIES = {  # by the end of the whois server's name, and as others call them
    "afrinic.net": "afrinic",
    "apnic.net": "apnic",
    "arin.net": "arin",
    "lacnic.net": "lacnic",
    "ripe.net": "ripencc",
}
_MAILBOX = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.)+[\w-]{2,63}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}")


def read_network(said: Mapping[str, Any], address: IPAddress) -> Facts:
    """What an answer says. Raises SourceError if it is about something else."""
    network = _network(said, address)
    if network.prefixlen == 0:  # all there is stands for "not ours"
        raise SourceError(SourceState.EMPTY, "not registered")
    country = (text(said, "country") or "").upper()
    return Facts(
        organisation=_organisation(said),
        network=str(network),
        network_name=text(said, "name"),
        registry=REGISTRIES.get(".".join((text(said, "port43") or "").lower().split(".")[-2:])),
        registered_country=country if _COUNTRY.fullmatch(country) else None,
        abuse_contact=_abuse_contact(said),
    )


def _network(said: Mapping[str, Any], address: IPAddress) -> IPNetwork:
    """The registered network around the address: one of those that its range is made of."""
    first, last = _address(said, "startAddress"), _address(said, "endAddress")
    if first is None or last is None or not first.version == last.version == address.version:
        raise SourceError(SourceState.FAILED, "the answer names no range of addresses")
    if not int(first) <= int(address) <= int(last):
        raise SourceError(SourceState.FAILED, "the answer is about another address")
    parts: Iterator[IPNetwork] = summarize_address_range(first, last)
    return next(part for part in parts if address in part)


def _address(said: Mapping[str, Any], name: str) -> IPAddress | None:
    try:
        return ip_address(
            (text(said, name) or "").partition("/")[0].partition("%")[0]
        )  # some write a prefix length behind it
    except ValueError:
        return None


def _organisation(said: Mapping[str, Any]) -> str | None:
    """The registrant's name, if it is no person."""
    for entity in _entities(said, "registrant"):
        if next(_values(entity, "kind"), "").lower() in ("org", "group"):
            names = (clean_text(name, limit=MAX_TEXT_CHARS) for wanted in ("org", "fn") for name in _values(entity, wanted))
            if name := next(filter(None, names), None):
                return name
    return None


def _abuse_contact(said: Mapping[str, Any]) -> str | None:
    for entity in _entities(said, "abuse"):
        for value in _values(entity, "email"):
            mailbox = value.removeprefix("mailto:").strip()
            if len(mailbox) <= MAX_TEXT_CHARS and _MAILBOX.fullmatch(mailbox):
                return mailbox
    return None


def _entities(said: Mapping[str, Any], role: str) -> Iterator[Mapping[str, Any]]:
    """Those with this role, the outer ones first: they nest."""
    level, seen = [said], 0
    while level:
        inner: list[Mapping[str, Any]] = []
        for around in level:
            listed = around.get("entities")
            for entity in map(mapping, listed if isinstance(listed, list) else ()):
                if (seen := seen + 1) > MAX_ENTITIES:
                    return
                inner.append(entity)
                roles = entity.get("roles")
                if isinstance(roles, list) and role in roles:
                    yield entity
        level = inner


def _values(entity: Mapping[str, Any], name: str) -> Iterator[str]:
    """The values of a vCard's property, as jCard writes them: ["vcard", [["fn", {}, "text", "Example"], …]] (RFC 7095)."""
    card = entity.get("vcardArray")
    properties = card[1] if isinstance(card, list) and len(card) > 1 and isinstance(card[1], list) else []
    for listed in properties[:MAX_PROPERTIES]:
        if isinstance(listed, list) and len(listed) > 3 and isinstance(listed[0], str) and listed[0].lower() == name:
            value = (
                listed[3][0] if isinstance(listed[3], list) and listed[3] else listed[3]
            )  # a structured one: its first part
            if isinstance(value, str):
                yield value
