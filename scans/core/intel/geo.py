"""Location and network owner from MaxMind DB files (.mmdb) that an operator brings: none comes with the program.

GeoLite2 needs an account, its attribution and a refresh within 30 days, and may not be passed on; DB-IP Lite is CC BY 4.0;
IPinfo Lite is CC BY-SA 4.0. Two layouts: GeoLite2's, which DB-IP shares (nested, names by language), and IPinfo's (flat, one
file for both country and AS). The file says in its metadata which it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scans.core.feeds import Contents, Feed, FeedError, FeedMissingError
from scans.core.intel.base import LocalSource
from scans.core.intel.replies import mapping, number, text, whole
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress

MAX_BYTES = 256 << 20
REFRESH_SECONDS = 10 * 24 * 3600  # makers bring out a new one twice a week to once a month; overdue after three times this
TERMS = "GeoLite2: an account and attribution; DB-IP Lite: CC BY 4.0; IPinfo Lite: CC BY-SA 4.0"


class Database:
    """An open file, mapped into memory: it stays readable when another one takes its place."""

    def __init__(self, path: Path) -> None:
        import maxminddb

        try:
            self._reader = maxminddb.open_database(path)
        except maxminddb.InvalidDatabaseError as error:
            raise FeedError("it is not a MaxMind DB file, or cut off") from error
        self.about = self._reader.metadata()

    def get(self, address: IPAddress) -> Mapping[str, Any]:
        """What is said of an address; empty if nothing is. Raises InvalidDatabaseError for a broken file."""
        if address.version == 6 and self.about.ip_version == 4:
            return {}
        return mapping(self._reader.get(address))


class GeoFeed(Feed[Database]):
    """A database of one of some kinds."""

    def open(self, path: Path) -> Contents[Database]:
        """See Feed; it is not read into memory as a whole."""
        if path.stat().st_size > self.max_bytes:
            raise FeedError(f"it is larger than {self.max_bytes >> 20} MiB")
        database = Database(path)
        kind = database.about.database_type.lower()
        if not any(word in kind for word in KINDS[self.name]):
            wanted = " or ".join(KINDS[self.name])
            raise FeedError(f"it is a database of the type {clean_text(kind, limit=40)!r}, and {wanted} is wanted here")
        built_at = datetime.fromtimestamp(database.about.build_epoch, UTC)
        return Contents(table=database, entries=database.about.node_count, dated=built_at)


KINDS = {"geo-place": ("city", "country", "ipinfo"), "geo-asn": ("asn", "ipinfo")}


def _unread(body: bytes) -> Contents[Database]:
    raise FeedError("a database is opened by its path")


def _feed(name: str, title: str) -> GeoFeed:
    return GeoFeed(
        name=name,
        title=title,
        terms=TERMS,
        file_name=f"{name}.mmdb",
        read=_unread,
        homepage="https://dev.maxmind.com/geoip/geolite2-free-geolocation-data",
        refresh_seconds=REFRESH_SECONDS,
        max_bytes=MAX_BYTES,
        is_default=False,
    )


PLACE, ASN = _feed("geo-place", "a database of cities or countries"), _feed("geo-asn", "a database of networks (AS)")


class Geo(LocalSource):
    """What the databases that are here say."""

    name = "geo"
    title = "Geolocation databases"
    gives = "country, city, AS, from .mmdb files that you bring"
    terms = TERMS
    is_default = True
    feeds = (PLACE, ASN)

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource. One of the two databases is enough."""
        here = [feed for feed in (PLACE, ASN) if self.store.has(feed)]
        if not here:
            raise FeedMissingError("there is no database here: `manage.py feeds import` takes one in")
        facts, dates = Facts(), []
        for feed in here:
            loaded = self.store.load(feed)
            said = loaded.table.get(address)
            facts = _with_place(facts, said) if feed is PLACE else _with_network(facts, said)
            dates.append(loaded.of)
        return facts, min(filter(None, dates), default=None)


def _with_place(facts: Facts, said: Mapping[str, Any]) -> Facts:
    country, where = said.get("country"), mapping(said.get("location"))
    is_flat = isinstance(country, str)  # IPinfo's
    subdivisions = said.get("subdivisions")
    region = mapping(subdivisions[0]) if isinstance(subdivisions, list) and subdivisions else {}
    return replace(
        facts,
        country=text(said, "country") if is_flat else _name(country),
        country_code=_code(said.get("country_code") if is_flat else mapping(country).get("iso_code")),
        region=_name(region),
        city=_name(said.get("city")),
        latitude=number(where, "latitude", low=-90, high=90),
        longitude=number(where, "longitude", low=-180, high=180),
        timezone=text(where, "time_zone"),
        registered_country=_code(mapping(said.get("registered_country")).get("iso_code")),
    )


def _with_network(facts: Facts, said: Mapping[str, Any]) -> Facts:
    flat = re.fullmatch(r"AS(\d{1,10})", text(said, "asn") or "", re.ASCII)
    as_number = int(flat[1]) if flat else whole(said, "autonomous_system_number", low=1, high=2**32 - 1)
    owner = text(said, "as_name") or text(said, "autonomous_system_organization")
    return replace(facts, asn=as_number, as_name=owner, isp=owner)


def _name(said: object) -> str | None:
    """The English name of a place."""
    return text(mapping(mapping(said).get("names")), "en")


def _code(said: object) -> str | None:
    return said if isinstance(said, str) and re.fullmatch(r"[A-Z]{2}", said, re.ASCII) else None
