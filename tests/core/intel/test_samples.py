"""Every sample of every source becomes what it says, over real HTTP on the loopback."""

from __future__ import annotations

from dataclasses import asdict
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import pytest

from scans.core.egress import Egress
from scans.core.intel import (
    AbuseIpDb,
    GreyNoise,
    InternetDb,
    IpApi,
    IpInfo,
    Otx,
    RemoteSource,
    VirusTotal,
    consult,
)
from scans.core.intel.base import KeyUse, SourceSettings
from scans.core.options import IntelOptions, Options
from scans.core.types import SourceResult
from tests.core.intel.asking import KEY, Sample, ask, good_samples, samples
from tests.fakes import Answer, service

HEADERS = {  # where a key goes
    AbuseIpDb: ("Key", KEY),
    GreyNoise: ("key", KEY),
    VirusTotal: ("x-apikey", KEY),
    Otx: ("X-OTX-API-KEY", KEY),
    IpInfo: ("Authorization", f"Bearer {KEY}"),
}
PATHS = {  # what is asked for, with a key
    AbuseIpDb: "/api/v2/check?ipAddress=203.0.113.10&maxAgeInDays=90",
    GreyNoise: "/v3/community/198.51.100.77",
    InternetDb: "/203.0.113.10",
    IpApi: "/batch?fields=status%2Cmessage%2Cquery%2Ccountry%2CcountryCode%2CregionName%2Ccity%2Clat%2Clon%2Ctimezone"
    f"%2Cisp%2Corg%2Cas%2Casname%2Cmobile%2Cproxy%2Chosting&key={KEY}",
    IpInfo: "/lite/203.0.113.10",
    Otx: "/api/v1/indicators/IPv4/198.51.100.77/general",
    VirusTotal: "/api/v3/ip_addresses/198.51.100.77",
}


def said(result: SourceResult) -> dict[str, Any]:
    """A result as a sample writes it."""
    facts = {name: value for name, value in asdict(result.facts).items() if value is not None}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
    return {"state": str(result.state), "reason": result.reason, "facts": lists}


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_a_sample_becomes_what_it_says(sample: Sample):
    with service(lambda _: sample.answer) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url)
    assert len(fake.requests) == 1
    for address, expected in zip(sample.asked, sample.becomes, strict=True):
        wanted = {"reason": "", "facts": {}, **expected}
        resets = wanted.pop("resets_in_seconds", None)
        assert said(consultation.results[address]) == wanted
        if resets is not None:
            assert consultation.quota is not None
            assert (consultation.quota.remaining, consultation.quota.resets_in_seconds) == (0, resets)


@pytest.mark.parametrize("sample", good_samples(), ids=lambda sample: sample.kind.name)
def test_who_is_told_is_written_down(sample: Sample):
    with service(lambda _: sample.answer) as fake:
        results = ask(sample.kind, sample.asked, fake.base_url).results.values()
    assert {result.contacted for result in results} == {(fake.base_url.removeprefix("http://"),)}
    assert all(result.elapsed_ms is not None and result.observed_at is not None for result in results)


@pytest.mark.parametrize("kind", PATHS, ids=lambda kind: kind.name)
def test_a_request_names_the_address_and_its_key_stands_where_the_service_wants_it(kind: type[RemoteSource]):
    (sample,) = (sample for sample in good_samples() if sample.kind is kind)
    with service(lambda _: sample.answer) as fake:
        ask(kind, sample.asked, fake.base_url)
    (request,) = fake.requests
    assert request.path == PATHS[kind]
    header, value = HEADERS.get(kind, ("User-Agent", request.headers["User-Agent"]))
    assert request.headers[header] == value
    assert kind is IpApi or KEY not in request.path


def test_greynoise_is_asked_without_a_key_too():
    (sample,) = (sample for sample in good_samples() if sample.kind is GreyNoise)
    intel = IntelOptions()
    with service(lambda _: sample.answer) as fake:
        source = GreyNoise(SourceSettings(base_url=fake.base_url))
        results = consult(source, sample.asked, Egress(Options(intel=intel), source.services), intel).results
    assert "key" not in fake.requests[0].headers
    assert results[sample.asked[0]].facts.classification == "malicious"


@pytest.mark.parametrize("kind", [k for k in PATHS if not k.is_ipv4_only], ids=lambda kind: kind.name)
def test_ipv6_is_asked_about_in_its_short_form(kind: type[RemoteSource]):
    with service(lambda _: Answer(status=500)) as fake:
        ask(kind, [ip_address("2001:0DB8::0010")], fake.base_url)
    asked = unquote(fake.requests[0].path) + fake.requests[0].body.decode()
    assert "2001:db8::10" in asked
    assert kind is not Otx or "/IPv6/" in asked


def test_a_key_never_leaves_over_plain_http_by_itself():
    for kind in (sample.kind for sample in good_samples()):
        source = kind(SourceSettings(key="" if kind.key is KeyUse.NONE else KEY))
        assert source.url.startswith("https://"), kind.name
    assert IpApi(SourceSettings()).url == "http://ip-api.com"


def test_a_key_buys_more_requests():
    for kind in (IpApi, GreyNoise):
        (free,), (keyed,) = kind(SourceSettings()).limits, kind(SourceSettings(key=KEY)).limits
        assert keyed.requests > free.requests
        assert keyed.seconds == free.seconds
