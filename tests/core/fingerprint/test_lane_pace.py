"""New connections of the lane keep to the pace of the probes; who waits for it loses nothing but time, and not its own."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_network

import pytest

from scans.core import pipeline
from scans.core.options import FingerprintOptions, Options, ProbeOptions, ScopeOptions
from scans.core.pipeline import Item
from scans.core.probe.pacing import TokenBucket
from scans.core.probe.politeness import PolitePace
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import PortState, Report, ServiceState
from tests.core.fingerprint.asking import asked, lane, saying, serving
from tests.fakes import wait_until
from tests.patience import PATIENCE
from tests.servers import public, refusing

SSH = b"SSH-2.0-OpenSSH_9.2p1\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<title>Hello</title>"
LOOPBACK, PUBLIC = ip_network("127.0.0.0/8"), ip_network("127.66.0.0/16")


class Gate(PolitePace):
    """A pace that grants nothing until it is opened, and knows who waits."""

    def __init__(self) -> None:
        super().__init__(TokenBucket(per_second=0), None)
        self.is_open = False
        self.asked = 0
        self.waiting: set[object] = set()

    def take_beside(self, who, address, *, now):
        self.asked += 1
        if self.is_open:
            return super().take_beside(who, address, now=now)
        self.waiting.add(who)
        return 0.01

    def leave(self, who):
        self.waiting.discard(who)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def clock():
    """The real time and as much as is added."""

    class Clock:
        added = 0.0

        def __call__(self) -> float:
            return time.monotonic() + self.added

    return Clock()


def test_the_connection_that_the_probe_made_costs_nothing(gate):
    with serving(saying(SSH)) as server, lane(pace=gate) as (running, emitted):
        connection = socket.create_connection(("127.0.0.1", server.port))
        running.ask(asked([server.port], connections={server.port: connection}, is_paced=True))
        (service,) = emitted.get(timeout=PATIENCE).services
        assert (service.protocol, server.count, gate.asked) == ("SSH", 1, 0)


def test_an_address_that_is_not_paced_waits_for_nobody(gate):
    with serving(saying(SSH)) as server, lane(pace=gate, max_inflight=1) as (running, emitted):
        running.ask(asked([server.port], key="held", is_paced=True))
        assert wait_until(lambda: gate.waiting)
        running.ask(asked([server.port], key="free"))  # though no more than one may be under way
        assert emitted.get(timeout=PATIENCE).key == "free"
        assert server.count == 1


def test_while_a_conversation_waits_its_time_stands_still(gate, clock):
    with serving(saying(SSH)) as server, lane(pace=gate, clock=clock, seconds=1000) as (running, emitted):
        running.ask(asked([server.port], is_paced=True))
        assert wait_until(lambda: gate.waiting)
        clock.added = 1500  # more than it has, and less than all of a host have together
        before = gate.asked
        assert wait_until(lambda: gate.asked > before)
        assert (server.count, emitted.empty()) == (0, True)
        gate.is_open = True
        (service,) = emitted.get(timeout=PATIENCE).services
        assert service.protocol == "SSH"
        assert service.elapsed_ms < 1000 * 1000  # nor is it said to have taken long
        assert not gate.waiting


def test_a_host_does_not_wait_for_ever(gate, clock):
    with serving(saying(SSH)) as server, lane(pace=gate, clock=clock, seconds=1000) as (running, emitted):
        running.ask(asked([server.port], is_paced=True))
        assert wait_until(lambda: gate.waiting)
        clock.added = 2001
        (service,) = emitted.get(timeout=PATIENCE).services
        reason = "no connection: the rate of connections left it no turn in time"
        assert (service.state, service.reason, server.count) == (ServiceState.FAILED, reason, 0)
        assert not gate.waiting


def test_what_was_found_before_the_wait_is_kept(gate, clock):
    """The page came over the connection that the probe made; for its icon there would have to be another."""
    page = saying(PAGE, wait_for=b"\r\n\r\n")
    with serving(page, public(89), 8080) as server, lane(pace=gate, clock=clock, seconds=1000) as (running, emitted):
        connection = socket.create_connection((public(89), 8080))
        running.ask(asked([8080], address=public(89), is_paced=True, connections={8080: connection}))
        assert wait_until(lambda: gate.waiting)
        clock.added = 2001
        (service,) = emitted.get(timeout=PATIENCE).services
        assert (service.state, service.protocol, server.count) == (ServiceState.IDENTIFIED, "HTTP", 1)
        assert service.http.title == "Hello"


def test_nobody_waits_once_the_lane_is_closed_or_the_host_is_dropped(gate):
    with serving(saying(SSH)) as server, lane(pace=gate) as (running, emitted):
        running.ask(asked([server.port], key="dropped", is_paced=True))
        assert wait_until(lambda: gate.waiting)
        running.drop(["dropped"])
        assert wait_until(lambda: not gate.waiting)
        running.ask(asked([server.port], key="closed", is_paced=True))
        assert wait_until(lambda: gate.waiting)
    assert not gate.waiting
    assert (server.count, emitted.empty()) == (0, True)


@pytest.mark.parametrize(
    "rates", [{"rate_per_second": 40, "network_per_second": 0}, {"rate_per_second": 0, "network_per_second": 40}]
)
def test_probes_and_conversations_together_keep_to_the_rate(rates):
    hosts = [public(n) for n in range(80, 88)]
    servers = [serving(lambda connection: None, host) for host in hosts]  # leaves at once, so each question connects anew
    started = [server.__enter__() for server in servers]
    try:
        with refusing() as closed:
            ports = (*(server.port for server in started), closed)
            before = time.monotonic()
            reports = scan(hosts, ports, **rates)
            seconds = time.monotonic() - before
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    probes = [probe for report in reports for address in report.addresses for probe in address.probes]
    is_open = sum(probe.state is PortState.OPEN for probe in probes)
    asked_again = sum(server.count for server in started) - is_open
    connections = sum(probe.attempts for probe in probes) + asked_again
    assert is_open >= len(hosts)
    assert asked_again >= 2 * len(hosts)
    assert connections <= 40 * (seconds + 0.1) + 2  # a machine that stalls has the more seconds
    services = [service for report in reports for address in report.addresses for service in address.services]
    assert not any(service.state is ServiceState.TIMED_OUT or "in time" in service.reason for service in services)


def test_without_a_rate_no_conversation_waits(monkeypatch):
    waits = []
    take = PolitePace.take_beside
    monkeypatch.setattr(PolitePace, "take_beside", lambda *one, **more: waits.append(take(*one, **more)) or waits[-1])
    with serving(lambda connection: None, public(88)) as server:
        scan([public(88)], (server.port,), rate_per_second=0, network_per_second=0)
    assert len(waits) == server.count - 1 > 0
    assert set(waits) == {0.0}


def scan(hosts: list[str], ports: tuple[int, ...], **rates: float) -> list[Report]:
    options = Options(
        scope=ScopeOptions(allow=(LOOPBACK,), treat_as_global=(PUBLIC,)),
        probe=ProbeOptions(**rates),
        fingerprint=FingerprintOptions(seconds=30),
    )
    items = [Item(key=host, target=parse_target(host), ports=tuple(sorted(ports))) for host in hosts]
    reports = [report for _, report in pipeline.scan(items, Tools(options=options), sources=())]
    assert all(isinstance(report, Report) for report in reports)
    return reports
