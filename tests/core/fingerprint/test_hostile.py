"""Services that mean no good, all of them at once: each ends in time, in little memory, and in words."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from scans.core.types import PortState, Report, Service, ServiceState
from tests.core.fingerprint.asking import asked, lane, service_of, serving
from tests.core.fingerprint.clock import PatientClock
from tests.core.fingerprint.growth import scan_all
from tests.core.fingerprint.hostile_services import HOSTILE, Place, all_serving, by_address
from tests.patience import AT_ONCE, PATIENCE
from tests.servers import listening, refusing

SECONDS = 10.0  # for one service in these tests; of a hundred at once many have to be understood in it
MAX_GROWTH = 20 * 1024  # KiB


@pytest.fixture(scope="module")
def places():
    with all_serving() as found:
        yield found


@pytest.fixture(scope="module")
def found(places) -> dict[str, Service]:
    """What came of each, by name, asked as one lane asks many hosts."""
    with lane(clock=PatientClock(sees_servers=False), seconds=SECONDS) as (running, emitted):
        for address, ports in by_address(places).items():
            running.ask(asked(ports, address=address, key=address))
        hosts = [emitted.get(timeout=PATIENCE) for _ in by_address(places)]
    services = {(str(host.address), service.port): service for host in hosts for service in host.services}
    return {name: services[place] for name, place in places.items()}


def test_there_are_enough_of_them_and_none_shares_a_port(places):
    assert len(places) == len(HOSTILE) >= 60
    assert len(set(places.values())) == len(places)


@pytest.mark.parametrize("name", HOSTILE)
def test_it_ends_in_time_with_a_state_and_a_reason_in_plain_words(found, name):
    service = found[name]
    assert service.elapsed_ms is not None
    assert service.elapsed_ms < 1000 * AT_ONCE  # some would go on for ever
    assert service.state is ServiceState.IDENTIFIED or service.reason
    assert service.banner is None or (service.banner.isprintable() and len(service.banner) <= 500)
    assert service.evidence.isascii()
    assert service.evidence.isprintable() or not service.evidence


def test_they_are_not_all_taken_for_the_same(found):
    """The table would prove little if its services were cut off before they could do what they do."""
    states = {service.state for service in found.values()}
    assert {ServiceState.IDENTIFIED, ServiceState.UNRECOGNISED, ServiceState.FAILED} <= states
    assert found["drips headers"].elapsed_ms >= 1000 * SECONDS
    many = found["shows 10,000 names"].tls
    assert many is not None
    assert (len(many.names), many.names_count) == (100, 10_000)
    assert "handshake failed" in found["shows a chain of 1 MB"].reason
    bomb = found["sends a bomb"].http
    assert bomb is not None
    assert (bomb.status, bomb.title) == (200, None)
    for name in ("never stops its icon", "gives an icon too large", "gives a bomb for an icon"):
        http = found[name].http
        assert http is not None
        assert (http.title, http.favicon_hash) == ("a", None)
    acting = found["gives its page a title that acts"].http
    assert acting is not None
    assert (acting.title or "").startswith("<script>x()</script> [2J")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.startswith("leads ")])
def test_where_it_wants_to_lead_is_written_down_and_only_its_own_pages_are_asked_for(found, name):
    http = found[name].http
    assert http is not None
    assert http.status == 302
    assert len(http.redirects) == (3 if name == "leads on and on" else 0)


def test_one_scan_of_them_all_loses_no_result(places):
    began = time.monotonic()
    reports = scan_all(by_address(places), seconds=SECONDS)
    assert time.monotonic() - began < PATIENCE  # many of them would go on for ever
    assert set(reports) == set(by_address(places))
    for name, place in places.items():
        assert _state(reports[place.address], place) is PortState.OPEN, name
        service = _service(reports[place.address], place)
        assert service.state is ServiceState.IDENTIFIED or service.reason, name
        assert service.state is not ServiceState.NOT_ASKED, name


def _state(report: Report, place: Place) -> PortState:
    (address,) = report.addresses
    return next(probe.state for probe in address.probes if probe.port == place.port)


def _service(report: Report, place: Place) -> Service:
    (address,) = report.addresses
    return next(service for service in address.services if service.port == place.port)


def test_they_take_little_memory(places):
    """In a process of its own that has scanned before, by the most that it ever held."""
    child = [sys.executable, "-m", "tests.core.fingerprint.growth", json.dumps(by_address(places)), str(SECONDS)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=PATIENCE, check=True)
    grown, services = json.loads(done.stdout)
    assert services == len(places)
    assert grown < MAX_GROWTH


# -- One by one ------------------------------------------------------------------------------------------------------


def test_a_port_that_has_closed_since_is_a_failure_in_words():
    with refusing() as port:
        service = service_of(port)
    assert (service.state, service.reason) == (ServiceState.FAILED, "no connection: connection refused")


@pytest.mark.parametrize("name", ["resets at once", "closes its half"])
def test_one_that_hangs_up_on_everything_is_no_silent_one(name):
    with serving(HOSTILE[name]) as server:
        service = service_of(server.port)
    assert service.state is ServiceState.FAILED  # a reset may come so soon that there was no connection at all
    assert "without a word" in service.reason or "no connection" in service.reason


def test_a_port_that_only_accepts_is_silent():
    with listening() as port:
        service = service_of(port)
    assert (service.state, service.banner, service.evidence) == (ServiceState.SILENT, None, "")
