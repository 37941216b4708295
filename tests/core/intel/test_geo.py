"""Databases of places and networks: the three layouts, as real files that a writer of the format makes."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from scans.core.feeds import FeedError, Store
from scans.core.feeds import store as store_module
from scans.core.intel import FEEDS, Geo, look_up
from scans.core.intel.base import SourceSettings
from scans.core.types import Facts, SourceState

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FEED = {feed.name: feed for feed in FEEDS}
BERLIN = {
    "continent": {"code": "EU"},
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "registered_country": {"iso_code": "NL", "names": {"en": "Netherlands"}},
    "subdivisions": [{"iso_code": "BE", "names": {"en": "State of Berlin"}}],
    "city": {"geoname_id": 1, "names": {"en": "Berlin"}},
    "location": {"latitude": 52.52, "longitude": 13.4, "time_zone": "Europe/Berlin", "accuracy_radius": 20},
}
CARRIER = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Carrier AG"}
LITE = {
    "asn": "AS64500", "as_name": "Example Carrier AG", "as_domain": "carrier.invalid", "country": "Germany",
    "country_code": "DE", "continent": "Europe", "continent_code": "EU",
}  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(store_module, "CHECK_SECONDS", -1.0)
    return Store(str(tmp_path / "intel"))


def database(directory: Path, kind: str, records: dict[str, dict[str, Any]], *, ip_version: int = 6) -> bytes:
    writer = MMDBWriter(ip_version=ip_version, ipv4_compatible=ip_version == 6, database_type=kind)
    for network, said in records.items():
        writer.insert_network(IPSet([network]), said)
    writer.to_db_file(str(directory / "made.mmdb"))
    return (directory / "made.mmdb").read_bytes()


def put(store: Store, name: str, body: bytes):
    return store.put(FEED[name], body, origin="a test", at=NOW)


def ask(store: Store, address: str):
    return look_up(Geo(SourceSettings(directory=str(store.directory))), ip_address(address))


@pytest.mark.parametrize("kind", ["GeoLite2-City", "DBIP-City-Lite"])
@pytest.mark.parametrize("address", ["203.0.113.5", "::ffff:203.0.113.5", "2001:db8:5::1"])
def test_a_city_database_says_where_an_address_is(kind, address, store, tmp_path):
    put(store, "geo-place", database(tmp_path, kind, {"203.0.113.0/24": BERLIN, "2001:db8:5::/48": BERLIN}))
    result = ask(store, address)
    assert result.facts == Facts(
        country="Germany",
        country_code="DE",
        region="State of Berlin",
        city="Berlin",
        latitude=52.52,
        longitude=13.4,
        timezone="Europe/Berlin",
        registered_country="NL",
    )
    assert result.observed_at == store.record(FEED["geo-place"]).dated


def test_an_asn_database_says_whose_network_it_is(store, tmp_path):
    put(store, "geo-asn", database(tmp_path, "GeoLite2-ASN", {"203.0.113.0/24": CARRIER}))
    assert ask(store, "203.0.113.5").facts == Facts(asn=64500, as_name="Example Carrier AG", isp="Example Carrier AG")


def test_both_together_say_both(store, tmp_path):
    put(store, "geo-asn", database(tmp_path, "DBIP-ASN-Lite (compat=GeoLite2-ASN)", {"203.0.113.0/24": CARRIER}))
    put(store, "geo-place", database(tmp_path, "DBIP-Country-Lite", {"203.0.113.0/24": {"country": BERLIN["country"]}}))
    facts = ask(store, "203.0.113.5").facts
    assert (facts.country_code, facts.asn, facts.city) == ("DE", 64500, None)


def test_the_flat_layout_may_be_either(store, tmp_path):
    body = database(tmp_path, "ipinfo generic_lite.mmdb", {"203.0.113.0/24": LITE})
    put(store, "geo-place", body)
    assert ask(store, "203.0.113.5").facts == Facts(country="Germany", country_code="DE")
    put(store, "geo-asn", body)
    assert ask(store, "203.0.113.5").facts.asn == 64500


def test_an_address_that_is_not_there_is_not_known(store, tmp_path):
    put(store, "geo-place", database(tmp_path, "GeoLite2-City", {"203.0.113.0/24": BERLIN}, ip_version=4))
    assert ask(store, "198.51.100.1").state is SourceState.EMPTY
    assert ask(store, "2001:db8::1").state is SourceState.EMPTY  # the file is of IPv4 only


def test_without_a_database_it_is_not_on_and_says_why_if_it_was_named(store):
    assert not Geo.is_available(str(store.directory))
    result = ask(store, "203.0.113.5")
    assert (result.state, result.reason) == (
        SourceState.SKIPPED,
        "there is no database here: `manage.py feeds import` takes one in",
    )


@pytest.mark.parametrize(
    "spoil",
    [lambda body: b"", lambda body: b"<html>", lambda body: body[: len(body) // 2], lambda body: b"\0" * 5000],
    ids=["empty", "html", "cut off", "nul"],
)
def test_what_is_no_database_is_refused_and_the_last_good_one_stays(spoil, store, tmp_path):
    body = database(tmp_path, "GeoLite2-City", {"203.0.113.0/24": BERLIN})
    put(store, "geo-place", body)
    with pytest.raises(FeedError, match="not a MaxMind DB file, or cut off"):
        put(store, "geo-place", spoil(body))
    assert ask(store, "203.0.113.5").facts.city == "Berlin"


def test_a_database_of_another_kind_is_refused_with_its_kind(store, tmp_path):
    body = database(tmp_path, "GeoLite2-ASN", {"203.0.113.0/24": CARRIER})
    with pytest.raises(FeedError, match="of the type 'geolite2-asn', and city or country or ipinfo is wanted here"):
        put(store, "geo-place", body)


def test_one_that_takes_the_place_of_another_is_read_at_once(store, tmp_path):
    put(store, "geo-asn", database(tmp_path, "GeoLite2-ASN", {"203.0.113.0/24": CARRIER}))
    assert ask(store, "203.0.113.5").facts.asn == 64500
    put(
        store,
        "geo-asn",
        database(tmp_path, "GeoLite2-ASN", {"203.0.113.0/24": {**CARRIER, "autonomous_system_number": 64501}}),
    )
    assert ask(store, "203.0.113.5").facts.asn == 64501


def test_hostile_records_are_cleaned_and_what_has_another_shape_is_not_known(store, tmp_path):
    hostile = {
        "country": {"iso_code": "<b>", "names": {"en": "\x1b[31mGer\u202emany\x00" + "x" * 300}},
        "subdivisions": [["no"], 7],
        "city": "text",
        "location": {"latitude": 95.0, "longitude": "east", "time_zone": {"a": "b"}},
        "registered_country": [1],
    }
    put(store, "geo-place", database(tmp_path, "GeoLite2-City", {"203.0.113.0/24": hostile}))
    facts = ask(store, "203.0.113.5").facts
    assert facts.country is not None
    assert facts.country.startswith("[31mGer many xxx")
    assert facts == Facts(country=facts.country)


def test_a_broken_record_is_a_recorded_failure(store, tmp_path):
    body = bytearray(database(tmp_path, "GeoLite2-City", {"203.0.113.0/24": BERLIN}))
    at = body.index(b"country") - 40
    body[at : at + 200] = b"\xff" * 200
    put(store, "geo-place", bytes(body))
    result = ask(store, "203.0.113.5")
    assert (result.state, result.reason) == (SourceState.FAILED, "its file could not be read")
