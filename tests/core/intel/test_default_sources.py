"""A scan with the sources that are on by default: what each adds, and that none of them can hold it up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_network

from scans.core import pipeline
from scans.core.options import FingerprintOptions, IntelOptions, Options, ScopeOptions
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Report, SourceState
from tests.core.intel.over_dns import zone
from tests.fakes import Answer, FakeService, Request, ip_api, service
from tests.name_servers import NameServer, Says, name_server, no_server
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import refusing

PUBLIC, PRIVATE = "127.66.0.1", "127.0.0.1"
OVER_NETWORK = ("ip-api", "rdap", "cymru", "reverse-dns")
RECORDS = {
    "1.0.66.127.in-addr.arpa PTR": ["host.example."],
    "host.example A": [PUBLIC],
    "1.0.66.127.origin.asn.cymru.com TXT": ["64500 | 127.66.0.0/16 | DE | ripencc | 2014-03-01"],
    "AS64500.asn.cymru.com TXT": ["64500 | DE | ripencc | 2014-03-01 | EXAMPLE-HOSTING, DE"],
}


def registry(_: Request) -> Answer:
    return Answer.json({"startAddress": "127.66.0.0", "endAddress": "127.66.0.255", "name": "EXAMPLE-NET", "country": "DE"})


def scan(
    texts: Sequence[str], ip_api_url: str, rdap_url: str, server: tuple[str, int], *, seconds: float, grace_seconds: float
) -> list[Report]:
    """With the default sources that are asked over the network."""
    intel = IntelOptions(
        sources=("default", "-cloud"),
        urls={"ip-api": ip_api_url, "rdap": rdap_url},
        dns_servers=(server,),
        connect_timeout_seconds=seconds,
        read_timeout_seconds=seconds,
        dns_timeout_seconds=seconds,
        grace_seconds=grace_seconds,
    )
    scope = ScopeOptions(allow=(ip_network("127.0.0.0/8"),), treat_as_global=(ip_network("127.66.0.0/16"),))
    options = Options(intel=intel, scope=scope, fingerprint=FingerprintOptions(is_on=False))
    with refusing() as port:
        items = [Item(key=n, target=parse_target(text), ports=(port,)) for n, text in enumerate(texts)]
        found = dict(pipeline.scan(items, Tools(options=options)))
    return [report for _, report in sorted(found.items()) if isinstance(report, Report)]


class World:
    """Servers for everything that the default sources ask."""

    def __init__(self, stack: ExitStack) -> None:
        self.ip_api: FakeService = stack.enter_context(service(ip_api))
        self.registry: FakeService = stack.enter_context(service(registry))
        self.names: NameServer = stack.enter_context(name_server(zone(RECORDS)))

    def scan(self, *texts: str) -> list[Report]:
        urls = (self.ip_api.base_url, self.registry.base_url)
        return scan(texts, *urls, self.names.address, seconds=PATIENCE, grace_seconds=PATIENCE)


def test_each_adds_what_it_knows():
    with ExitStack() as stack:
        (report,) = World(stack).scan(PUBLIC)
    said = {result.source: result for result in report.addresses[0].sources}
    assert tuple(said) == OVER_NETWORK
    assert {result.state for result in said.values()} == {SourceState.OK}
    assert said["rdap"].facts.network_name == "EXAMPLE-NET"
    assert (said["cymru"].facts.asn, said["cymru"].facts.as_name) == (64500, "EXAMPLE-HOSTING")
    assert said["reverse-dns"].facts.host_names == ("host.example",)


def test_a_network_is_asked_about_once_and_addresses_in_batches():
    with ExitStack() as stack:
        world = World(stack)
        reports = world.scan(*(f"127.66.0.{n}" for n in range(1, 41)))
        assert len(world.registry.requests) <= 4  # which may be on their way at once
        assert len([kind for _, kind in world.names.questions if kind == "PTR"]) == 40
    registered = [r for report in reports for r in report.addresses[0].sources if r.source == "rdap"]
    assert {result.facts.network for result in registered} == {"127.66.0.0/24"}


def test_nobody_is_asked_about_an_address_that_is_not_public():
    with ExitStack() as stack:
        world = World(stack)
        (report,) = world.scan(PRIVATE)
        assert (world.ip_api.requests, world.registry.requests, world.names.questions) == ([], [], [])
    assert {result.state for result in report.addresses[0].sources} == {SourceState.NOT_APPLICABLE}


def test_a_machine_without_a_network_gets_its_reports_and_is_told_why_they_lack_something():
    with refusing() as port, no_server() as nobody:
        nowhere = f"http://127.0.0.1:{port}"
        (report,) = scan([PUBLIC], nowhere, nowhere, nobody, seconds=AGES, grace_seconds=AGES)
    said = {result.source: (result.state, result.reason) for result in report.addresses[0].sources}
    assert said["ip-api"] == said["rdap"] == (SourceState.FAILED, "no connection")
    assert said["cymru"] == said["reverse-dns"] == (SourceState.FAILED, "the resolver cannot be reached")


def test_services_that_never_answer_cost_a_scan_no_more_than_its_grace():
    silence = Answer(delay_seconds=AGES)
    with service(lambda _: silence) as fake, name_server(lambda *_: Says.SILENCE) as server:
        began = time.monotonic()
        (report,) = scan([PUBLIC], fake.base_url, fake.base_url, server.address, seconds=AGES, grace_seconds=0.5)
        elapsed = time.monotonic() - began
    assert elapsed < AT_ONCE
    said = {(result.state, result.reason) for result in report.addresses[0].sources}
    assert said <= {(SourceState.FAILED, "no answer in time"), (SourceState.RATE_LIMITED, _NO_TURN)}


_NO_TURN = "its turn did not come in time: others are asked about first"
