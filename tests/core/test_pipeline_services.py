"""The pipeline with its fingerprint lane: from a listening port to the result that a client reads."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from scans.core import pipeline, wire
from scans.core.fingerprint import FingerprintLane, HostQuestion
from scans.core.options import (
    FingerprintOptions,
    IntelOptions,
    OptionError,
    Options,
    ProbeOptions,
    ResolveOptions,
    ScopeOptions,
)
from scans.core.output import WRITERS
from scans.core.pipeline import Interrupted, Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Level, Report, ServiceState
from tests.core.fingerprint.asking import hear, saying, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.core.fingerprint.clock import PatientClock
from tests.core.probe.driving import open_descriptors
from tests.fakes import ip_api, service, wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import listening, public, refusing, silent

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PUBLIC = ip_network("127.66.0.0/16")
SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
LOGIN = b"<title>Sign in</title><input type=password>"
PAGE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN
)


@pytest.fixture(autouse=True)
def patient_lane(monkeypatch):
    """No time of the lane runs out because a server did not get its turn."""
    monkeypatch.setattr(pipeline, "FingerprintLane", PatientLane)
    monkeypatch.setattr(pipeline, "FINGERPRINT_GRACE_SECONDS", AGES)


class PatientLane(FingerprintLane):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, clock=PatientClock(), **named)


def when_asked(monkeypatch, then: Callable[[], None]) -> None:
    """Do it as soon as the lane has its first question."""

    class Asked(PatientLane):
        def ask(self, host: HostQuestion) -> None:
            super().ask(host)
            then()

    monkeypatch.setattr(pipeline, "FingerprintLane", Asked)


def tools(*, base_url: str = "http://127.0.0.1:9", grace_seconds: float = 0.5, **fingerprint) -> Tools:
    patient = {"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE}
    return Tools(
        options=Options(
            scope=ScopeOptions(allow=LOOPBACK, treat_as_global=(PUBLIC,)),
            probe=ProbeOptions(rate_per_second=0),
            fingerprint=FingerprintOptions(**fingerprint),
            resolve=ResolveOptions(timeout_seconds=PATIENCE),
            intel=IntelOptions(sources=("ip-api",), urls={"ip-api": base_url}, grace_seconds=grace_seconds, **patient),
        )
    )


def scan(text: str, *ports: int, kit: Tools | None = None) -> Report:
    item = Item(key=0, target=parse_target(text), ports=tuple(sorted(ports)))
    ((_, report),) = pipeline.scan([item], kit or tools())
    assert isinstance(report, Report)
    return report


def served(report: Report) -> dict:
    """As a client reads it, by way of JSON text, as the database keeps it."""
    parts = (wire.evidence_dict(report), wire.verdict_dict(report.verdict), wire.summary_dict(report.summary))
    return wire.wire_result(*(json.loads(json.dumps(part, allow_nan=False)) for part in parts))


def test_a_port_that_says_what_it_is_has_a_service_in_the_result():
    with serving(saying(SSH)) as server, refusing() as closed:
        result = served(scan("127.0.0.1", server.port, closed))
        assert server.count == 1  # the probe's own connection was enough
    (found,) = result["addresses"][0]["services"]
    assert found == {
        **found,
        "port": server.port, "state": "identified", "protocol": "SSH", "product": "OpenSSH", "version": "9.2p1",
        "cpe": "cpe:2.3:a:openbsd:openssh:9.2:p1:*:*:*:*:*:*", "banner": "SSH-2.0-OpenSSH_9.2p1 Debian-2",
        "reason": "", "is_tls": False, "access": None, "http": None, "tls": None,
    }  # fmt: skip
    assert result["testing_techniques"] == ["SSH Banner"]
    assert result["schema_version"] == 2


def test_https_shows_its_certificate_and_what_is_wrong_adds_to_the_score():
    answer = encrypted(saying(PAGE, wait_for=b"\r\n\r\n"), server_context(make("other.invalid")))
    with serving(answer, public(65)) as server:
        result = served(scan(public(65), server.port))
    (found,) = result["addresses"][0]["services"]
    assert (found["protocol"], found["is_tls"], found["http"]["title"]) == ("HTTP", True, "Sign in")
    assert found["tls"]["problems"] == ["self-signed"]
    assert found["tls"]["not_after"].endswith("Z")
    rules = {finding["rule_id"] for finding in result["findings"]}
    assert {"TLS-001", "TLS-004", "HDR-001", "HDR-003"} <= rules
    assert "ACC-003" not in rules  # it is encrypted
    assert result["testing_techniques"] == ["HTTP/HTTPS Request", "SSL/TLS Handshake"]


def test_a_login_without_encryption_raises_the_level_of_a_public_host():
    with serving(saying(PAGE, wait_for=b"\r\n\r\n"), public(66)) as server:
        report = scan(public(66), server.port)
    assert {"ACC-003", "ACC-004", "HDR-001"} <= {finding.rule_id for finding in report.verdict.findings}
    assert report.verdict.level is Level.MEDIUM


def test_a_name_is_sent_to_the_server_and_compared_with_its_certificate():
    answer = encrypted(saying(PAGE, wait_for=b"\r\n\r\n"), server_context(make("localhost")))
    with serving(answer) as server:
        report = scan(f"https://localhost:{server.port}/", server.port)
    found = next(service for address in report.addresses for service in address.services if service.tls)
    assert found.tls is not None
    assert found.tls.matches_name is True


def test_a_url_is_asked_for_its_own_page_and_no_other_port_is():
    """And no secret that stood in it goes anywhere."""
    heard: list[bytes] = []

    def listening_in(connection) -> None:
        heard.append(hear(connection, b"\r\n\r\n"))
        connection.sendall(PAGE)

    with serving(listening_in) as server, serving(listening_in) as other:
        url = f"http://u:canary@127.0.0.1:{server.port}/app/login?token=canary&lang=de"
        result = served(scan(url, server.port, other.port))
    paths = {service["port"]: service["http"]["path"] for service in result["addresses"][0]["services"]}
    assert paths == {server.port: "/app/login?lang=de", other.port: "/"}
    assert b"canary" not in b"".join(heard)
    assert "canary" not in json.dumps(result)


def test_without_the_stage_nothing_is_asked_and_no_connection_is_kept():
    before = open_descriptors()
    with serving(saying(SSH)) as server:
        report = scan("127.0.0.1", server.port, kit=tools(is_on=False))
    assert report.addresses[0].services == ()
    assert open_descriptors() <= before


def test_both_lanes_run_beside_each_other():
    """A service and a source that both answer when the other one was asked as well."""
    both_asked = threading.Barrier(2, timeout=PATIENCE)

    def behave(connection) -> None:
        connection.recv(4096)
        both_asked.wait()
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def answer(request):
        both_asked.wait()
        return ip_api(request)

    with service(answer) as fake, serving(behave, public(67)) as server:
        kit = tools(base_url=fake.base_url, grace_seconds=PATIENCE)
        report = scan(f"http://{public(67)}:{server.port}", server.port, kit=kit)
    assert report.addresses[0].services[0].protocol == "HTTP"
    assert report.addresses[0].sources[0].facts.country == "Germany"


def test_services_that_take_their_time_are_recorded_and_not_waited_for():
    with listening() as one, listening() as other:
        report = scan("127.0.0.1", one, other, kit=tools(seconds=0.7))
    assert [found.state for found in report.addresses[0].services] == [ServiceState.TIMED_OUT] * 2
    assert "2 of 2 open ports did not say what they are" in report.verdict.completeness.doubts[0]


def test_a_lane_that_never_answers_is_not_waited_for(monkeypatch):
    class Stuck(FingerprintLane):
        """Takes every host and says nothing of it."""

        host_seconds = 0.3

        def ask(self, host):
            for connection in host.connections.values():
                connection.close()

    monkeypatch.setattr(pipeline, "FingerprintLane", Stuck)
    monkeypatch.setattr(pipeline, "FINGERPRINT_GRACE_SECONDS", 0.1)
    with listening() as port:
        report = scan("127.0.0.1", port)
    (found,) = report.addresses[0].services
    assert (found.state, found.reason) == (ServiceState.TIMED_OUT, "the questions to this address were not answered in time")


def test_a_stop_hands_back_what_is_known_and_the_next_run_asks_again(monkeypatch):
    words = [b""]
    with serving(lambda connection: saying(words[0])(connection)) as server:
        kit = tools(seconds=AGES)
        when_asked(monkeypatch, kit.stop.set)
        item = Item(key=0, target=parse_target("127.0.0.1"), ports=(server.port,))
        began = time.monotonic()
        ((_, result),) = pipeline.scan([item], kit)
        assert time.monotonic() - began < AT_ONCE
        assert isinstance(result, Interrupted)
        assert [probe.port for probe in result.known[ip_address("127.0.0.1")]] == [server.port]
        assert wait_until(lambda: server.count == server.ended == 1)  # and its connection is closed
        words[0] = SSH
        monkeypatch.setattr(pipeline, "FingerprintLane", PatientLane)
        ((_, report),) = pipeline.scan([replace(item, known=result.known)], tools())
        assert server.count == 2
    assert isinstance(report, Report)
    assert report.addresses[0].services[0].protocol == "SSH"


def test_a_drop_ends_the_questions_as_well(monkeypatch):
    with listening() as port:
        kit = tools(seconds=AGES)
        when_asked(monkeypatch, lambda: kit.drops.put(0))
        began = time.monotonic()
        found = list(pipeline.scan([Item(key=0, target=parse_target("127.0.0.1"), ports=(port,))], kit))
    assert found == []
    assert time.monotonic() - began < AT_ONCE


def test_a_silent_service_does_not_hold_up_another_target():
    with listening() as dark, serving(saying(SSH), "127.0.0.2") as server:
        items = [
            Item(key="dark", target=parse_target("127.0.0.1"), ports=(dark,)),
            Item(key="quick", target=parse_target("127.0.0.2"), ports=(server.port,)),
        ]
        assert next(iter(pipeline.scan(items, tools())))[0] == "quick"


def test_a_caller_that_walks_away_leaves_nothing_open():
    before, threads = open_descriptors(), threading.active_count()
    with listening() as port, silent() as dark:
        items = [Item(key=n, target=parse_target(f"127.0.0.{n}"), ports=(port, dark.port)) for n in range(1, 5)]
        walk = pipeline.scan([*items, Item(key=9, target=parse_target("127.0.0.9"), ports=(1,))], tools())
        next(walk)
        walk.close()
    assert open_descriptors() <= before
    assert threading.active_count() <= threads


@pytest.mark.parametrize("hostile", ["\x00\u202e\x1b[2J<script>alert(1)</script>", "\ud800" * 50, "x" * 5000])
def test_hostile_words_are_stored_as_clean_text(hostile):
    said = hostile.encode("utf-8", "surrogatepass")
    with serving(saying(b"220 " + said + b"\r\n")) as server:
        report = scan("127.0.0.1", server.port)
    stored = json.dumps(wire.evidence_dict(report), ensure_ascii=False)
    assert stored.isprintable()
    assert len(stored) < 4000


def test_the_table_names_what_said_what_it_is(capsys):
    with serving(saying(SSH)) as server, listening() as quiet:
        result = served(scan("127.0.0.1", server.port, quiet, kit=tools(seconds=0.7)))
    WRITERS["table"]([result])
    shown = capsys.readouterr().out
    assert f"{server.port}/SSH(OpenSSH-9.2p1)" in shown
    assert f"{quiet}/unknown" in shown


def test_of_a_host_that_answers_everywhere_table_and_csv_say_so_and_name_what_said_what_it_is(monkeypatch, capsys):
    with ExitStack() as stack:
        server = stack.enter_context(serving(saying(SSH)))
        quiet = stack.enter_context(listening())
        monkeypatch.setattr("scans.core.probe.controls.HIGH_PORTS", [stack.enter_context(listening()) for _ in range(4)])
        report = scan("127.0.0.1", server.port, quiet, kit=tools(seconds=0.7))
    result = served(report)
    assert result["open_ports"] == [server.port]
    assert [test["port"] for test in result["accessibility_tests"]] == [server.port]
    assert {port for finding in report.verdict.findings for port in finding.ports} == {server.port}
    WRITERS["table"]([result])
    shown = f"answers everywhere, identified: {server.port}/SSH(OpenSSH-9.2p1)"
    assert capsys.readouterr().out.splitlines()[0] == f"127.0.0.1  low  {shown}"
    WRITERS["csv"]([result])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    assert (row["answers_everywhere"], row["open_ports"]) == ("yes", str(server.port))


def test_the_stage_is_on_unless_the_environment_says_otherwise():
    assert Options.from_env({}).fingerprint == FingerprintOptions(is_on=True, seconds=5)
    assert Options.from_env({"FINGERPRINT": "0", "FINGERPRINT_SECONDS": "2.5"}).fingerprint == FingerprintOptions(
        is_on=False, seconds=2.5
    )
    for wrong in ({"FINGERPRINT": "maybe"}, {"FINGERPRINT_SECONDS": "0"}, {"FINGERPRINT_SECONDS": "soon"}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            Options.from_env(wrong)
