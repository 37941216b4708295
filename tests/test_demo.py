"""`make demo` as a program: what it shows is what was hidden, and nothing of it stays.

All that a demo shows is one test, since a start takes ten seconds and two demos cannot run at once. Processes are found
by the directory for temporary files in their environment.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from demo.certificate import NAME
from demo.gemini import MODEL
from demo.scenery import CLOSED, DARK, DATA, FILES, KEPT, PORTS, REFUSED, SITE_TARGETS, WEB
from scans.core.ports import expand
from scans.core.risk.levels import rank
from scans.core.types import Level
from tests.patience import PATIENCE
from tests.stack import ROOT, becomes, environment, free_port, one_at_a_time
from tests.web.browser import PATIENCE_MS, started_chromium, watched
from tests.web.hands import Keyboard

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(3000)]

OPEN = {
    WEB: [2222, 8080, 8443],
    FILES: [2121, 2222, 5900],
    DATA: [3306, 5432, 6379, 9200],
    CLOSED: [],
    DARK: [],
    KEPT: [8080],
}


FINDINGS = {  # what a reader cannot miss
    WEB: {"ACC-003", "HDR-001", "HDR-002", "TLS-001"},
    FILES: {"EXP-003", "EXP-015"},
    DATA: {"ACC-001", "EXP-008", "EXP-009"},
    CLOSED: {"REP-006"},
    DARK: set(),
    KEPT: {"ACC-004"},
}
CONVERSATIONS = [  # place, what is sent, what is in the answer
    ((WEB, 2222), b"", b"SSH-2.0-"),
    ((FILES, 2121), b"", b"220 "),
    ((FILES, 5900), b"", b"RFB 003.008\n"),
    ((DATA, 3306), b"", b"\x0a8.0.99-example\0"),
    ((DATA, 6379), b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    ((DATA, 6379), b"INFO\r\n", b"redis_version:"),
    ((DATA, 6379), b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", b"-ERR"),
    ((DATA, 5432), b"\0\0\0\x08\x04\xd2\x16\x2f", b"N"),
    ((DATA, 5432), b"\0\0\0\x08\0\x03\0\0", b"SCRAM-SHA-256"),
    ((DATA, 9200), b"GET / HTTP/1.0\r\n\r\n", b'"You Know, for Search"'),
    ((WEB, 8080), b"GET / HTTP/1.0\r\n\r\n", b'type="password"'),
    ((KEPT, 8080), b"GET / HTTP/1.0\r\n\r\n", b"Content-Security-Policy: "),
]


class Demo:
    """A demo on a free port, whose temporary files lie in `directory`."""

    def __init__(self, directory: Path, **changes: str) -> None:
        self.directory = directory
        self.output = directory.with_name(f"{directory.name}.{time.monotonic_ns()}.log")
        directory.mkdir(exist_ok=True)
        # What an operator may have set must change nothing; OFFLINE=1 and another database are among it.
        env = environment(directory / "of-the-operator", TMPDIR=str(directory), **changes)
        with self.output.open("wb") as file:
            argv = [sys.executable, "-m", "demo"]
            self.process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text()

    def says(self, text: str) -> bool:
        becomes(lambda: text in self.text() or self.process.poll() is not None)
        return text in self.text()

    def url(self, page: str) -> str:
        found = re.search(rf"^  {page} +(http\S+)$", self.text(), re.MULTILINE)
        assert found, self.text()
        return found[1]

    def job(self, page: str) -> dict[str, Any]:
        return json.loads(fetched(self.url(page).replace("/jobs/", "/scan/")))

    def living(self) -> list[int]:
        """Every process that it brought about, itself included."""
        mark = f"TMPDIR={self.directory}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
        return found

    def has_left_nothing(self) -> bool:
        return self.living() == [] and list(self.directory.iterdir()) == []

    def kill(self) -> None:
        """Whatever a failed test has left."""
        for pid in self.living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


@contextmanager
def demo_in(directory: Path, **changes: str) -> Iterator[Demo]:
    """Its addresses are always the same, so other processes of this test run wait their turn."""
    with one_at_a_time():
        demo = Demo(directory, **changes)
        try:
            yield demo
        finally:
            demo.kill()


def fetched(url: str) -> str:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=PATIENCE) as reply:
            return reply.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        raise AssertionError(f"{url} answered {error.code}") from None


def by_address(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["ip_address"]: result for result in job["results"]}


# --- What it shows -----------------------------------------------------------------------------------------------


def the_report_is_finished_and_whole(demo):
    """The moment the address is printed."""
    report = demo.job("Report")
    assert (report["state"], report["outcome"], report["progress"]) == (
        "complete", "complete", {"done": 6, "total": 6, "percent": 100},
    )  # fmt: skip
    results = by_address(report)
    assert set(results) == set(OPEN)
    for address, result in results.items():
        assert FINDINGS[address] <= {finding["rule_id"] for finding in result["findings"]}, address
        assert (result["outcome"], result["error"], result["ai"]["state"]) == ("done", None, "written"), address
        words = result["risk_summary"], result["recommendation"], result["deterministic_summary"]
        assert all(words), (address, words)
        assert words[0] != words[2], "the model's words, not the rules'"
        states = {service["state"] for seen in result["addresses"] for service in seen["services"]}
        assert states <= {"identified"}, (address, states)


def the_report_finds_every_port_that_was_opened_and_no_other(demo):
    results = by_address(demo.job("Report"))
    assert {address: result["open_ports"] for address, result in results.items()} == OPEN
    assert expand(results[DARK]["port_states"]["filtered"]) == PORTS
    assert expand(results[KEPT]["port_states"]["filtered"]) == (3306,)
    assert expand(results[CLOSED]["port_states"]["closed"]) == PORTS


def the_report_says_what_its_services_are(demo):
    results = by_address(demo.job("Report"))
    said = {
        (result["ip_address"], service["port"]): service
        for result in results.values()
        for address in result["addresses"]
        for service in address["services"]
    }
    assert {(address, port) for address, ports in OPEN.items() for port in ports} == set(said), "each open port was asked"
    ssh, careless, tls = said[WEB, 2222], said[WEB, 8080], said[WEB, 8443]
    assert (ssh["protocol"], ssh["product"], ssh["version"]) == ("SSH", "ExampleSSH", "3.1")
    assert (careless["product"], careless["http"]["security_headers"]) == ("ExampleHTTP", {})
    assert careless["http"]["has_password_field"]
    assert not careless["http"]["cookies"][0]["is_http_only"]
    assert (tls["protocol"], tls["is_tls"], tls["tls"]["problems"]) == ("HTTP", True, ["self-signed"])
    assert tls["tls"]["names"] == [NAME]
    assert said[FILES, 2121]["protocol"] == "FTP"
    assert (said[DATA, 6379]["protocol"], said[DATA, 6379]["access"]) == ("Redis", "PING answered PONG")
    assert (said[DATA, 3306]["protocol"], said[DATA, 3306]["version"]) == ("MySQL", "8.0.99-example")
    assert (said[DATA, 9200]["product"], said[DATA, 9200]["version"]) == ("Elasticsearch", "7.99.0")
    assert (said[DATA, 5432]["protocol"], said[FILES, 5900]["protocol"]) == ("PostgreSQL", "VNC")
    assert len(said[KEPT, 8080]["http"]["security_headers"]) == 5


def its_levels_tell_the_hosts_apart(demo):
    levels = {address: result["risk_level"] for address, result in by_address(demo.job("Report")).items()}
    assert levels[DATA] == "critical"
    assert rank(Level(levels[FILES])) >= rank(Level.HIGH)
    assert levels[WEB] != "unknown"
    assert levels[CLOSED] == levels[KEPT] == "low"
    assert levels[DARK] == "unknown"


def its_model_is_believed_about_every_public_host(demo):
    for page in ("Report", "Odd job"):
        for result in demo.job(page)["results"]:
            if result["outcome"] != "done":
                continue
            is_public = all(address["is_global"] for address in result["addresses"])
            assert result["ai"]["state"] == ("written" if is_public else "skipped"), (result["target"], result["ai"])
            assert result["ai"]["model"] == MODEL or not is_public
    assert set(by_address(demo.job("Report"))[DATA]["ai"]["citations"]) <= {
        finding["rule_id"] for finding in by_address(demo.job("Report"))[DATA]["findings"]
    }


def its_providers_differ_and_what_ip_api_does_not_know_is_not_made_up(demo):
    results = by_address(demo.job("Report"))
    states = {address: result["sources"][0]["state"] for address, result in results.items()}
    assert states == {WEB: "ok", FILES: "ok", DATA: "ok", CLOSED: "ok", DARK: "failed", KEPT: "empty"}
    assert len({results[address]["provider"] for address in (WEB, FILES, DATA, CLOSED)}) == 4
    assert results[KEPT]["provider"] is None
    categories = [results[address]["service_category"] for address in (WEB, FILES, CLOSED)]
    assert categories == ["Hosting Provider", "Mobile Network", "Proxy / VPN"]


def its_registry_says_whose_network_it_is_beside_what_ip_api_says(demo):
    results = by_address(demo.job("Report"))
    states = {address: result["sources"][1]["state"] for address, result in results.items()}
    assert states == {WEB: "ok", FILES: "ok", DATA: "ok", CLOSED: "ok", DARK: "empty", KEPT: "empty"}
    assert [source["facts"]["organisation"] for source in results[DATA]["sources"]] == [
        "Beispiel Cloud GmbH", "Example Holding Inc",
    ]  # fmt: skip
    assert results[WEB]["addresses"][0]["network"] == "127.66.252.8/29"
    assert "registered in US" in fetched(demo.url("Host"))


def the_other_jobs_end_as_their_names_say(demo):
    outcomes = {page: demo.job(page)["outcome"] for page in ("Report", "Odd job", "Refused", "Cancelled")}
    assert outcomes == {"Report": "complete", "Odd job": "partial", "Refused": "partial", "Cancelled": "cancelled"}
    odd = {result["target"]: result["outcome"] for result in demo.job("Odd job")["results"]}
    assert odd["shop.invalid"] == "error"
    assert [odd[target] for target in REFUSED[:2]] == ["refused", "refused"]
    assert {result["outcome"] for result in demo.job("Cancelled")["results"]} == {"done", "cancelled"}


def two_scans_of_the_site_differ_by_the_service_that_appeared(demo):
    listed = json.loads(fetched(demo.url("Report").partition("/jobs/")[0] + "/scans"))["scans"]
    tokens = [job["token"] for job in listed if job["label"] == "Example site, weekly"]
    newer, older = (json.loads(fetched(demo.url("Form") + f"scan/{token}")) for token in tokens)
    assert newer["token"] == demo.job("Report")["token"]
    assert by_address(older)[DATA]["open_ports"] == [3306, 5432, 6379]
    assert newer["tags"] == older["tags"] == ["example-site", "weekly"]


def its_pages_are_there(demo):
    assert SITE_TARGETS[-1] in fetched(demo.url("Report"))
    assert "elasticsearch" in fetched(demo.url("Host"))
    for page in ("Odd job", "Refused", "Cancelled", "History", "Dashboard", "Sources", "Form", "Admin"):
        assert "</html>" in fetched(demo.url(page)), page
    assert re.search(r"^  Login +admin, password \S{12,}$", demo.text(), re.MULTILINE)
    assert re.search(r"ready after \d+\.\d s", demo.text())


def every_service_speaks_its_protocol(_demo):
    for place, sent, answer in CONVERSATIONS:
        with socket.create_connection(place, timeout=PATIENCE) as connection:
            connection.sendall(sent)
            said = b""
            while answer not in said and (more := connection.recv(4096)):
                said += more
        assert answer in said, (place, sent, said)


def the_certificate_has_its_three_faults(_demo):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((WEB, 8443), PATIENCE) as connection, context.wrap_socket(connection) as tls:
        certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
    assert certificate.issuer == certificate.subject
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    assert certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=7)


def a_second_demo_names_the_port_and_what_to_do(demo):
    second = Demo(demo.directory.with_name("second"))
    try:
        assert second.process.wait(PATIENCE) == 1
        assert re.fullmatch(
            r"Port 8080 on 127\.66\.252\.10 is taken: stop the other demo, or .+ try again\.\n", second.text()
        )
        assert second.has_left_nothing()
    finally:
        second.kill()


CLAIMS = (
    the_report_is_finished_and_whole,
    the_report_finds_every_port_that_was_opened_and_no_other,
    the_report_says_what_its_services_are,
    its_levels_tell_the_hosts_apart,
    its_model_is_believed_about_every_public_host,
    its_providers_differ_and_what_ip_api_does_not_know_is_not_made_up,
    its_registry_says_whose_network_it_is_beside_what_ip_api_says,
    the_other_jobs_end_as_their_names_say,
    two_scans_of_the_site_differ_by_the_service_that_appeared,
    its_pages_are_there,
    every_service_speaks_its_protocol,
    the_certificate_has_its_three_faults,
    a_second_demo_names_the_port_and_what_to_do,
)


def test_the_demo_shows_what_it_has_hidden_and_leaves_nothing_when_stopped(tmp_path):
    with demo_in(tmp_path / "tmp") as demo:
        assert demo.says("Ctrl-C ends it all."), demo.text()
        for claim in CLAIMS:
            claim(demo)
        demo.process.send_signal(signal.SIGTERM)
        assert demo.process.wait(2 * PATIENCE) == 0, demo.text()
        assert demo.has_left_nothing()
        assert "Traceback" not in demo.text()


# --- Used by keyboard --------------------------------------------------------------------------------------------


def test_by_keyboard_alone_a_host_is_scanned_and_read_and_the_report_scanned_again(tmp_path):
    """By the real workers, in a page that fills in while it is looked at."""
    with started_chromium() as browser, demo_in(tmp_path / "tmp") as demo:
        assert demo.says("Ctrl-C ends it all."), demo.text()
        hand = Keyboard(watched(browser.new_context(viewport={"width": 390, "height": 800}).new_page()))
        hand.page.goto(demo.url("Form"))
        hand.write("#id_targets", DATA)
        hand.go("#go")
        assert scanned_at(hand.page)["results"][0]["open_ports"] == [3306, 5432, 6379]
        hand.go("#t1")
        assert hand.page.is_visible("text=Written by a model")

        hand.page.goto(demo.url("Report"))
        hand.go("text=Scan all 6 again")
        again, before = scanned_at(hand.page), demo.job("Report")
        assert again["token"] != before["token"]
        assert by_address(again).keys() == by_address(before).keys()
        assert {address: result["open_ports"] for address, result in by_address(again).items()} == OPEN
        assert hand.page.complaints == []
        assert all(url.startswith(demo.url("Form")) for url in hand.page.requested)


def scanned_at(page: Any) -> dict[str, Any]:
    """The job of a page, once the page shows by itself that it is done."""
    address = page.url
    page.wait_for_selector("text=Scope and provenance", timeout=PATIENCE_MS)
    assert page.url == address
    return json.loads(fetched(address.replace("/jobs/", "/scan/")))


# --- How it ends -------------------------------------------------------------------------------------------------


def test_killed_it_leaves_no_process_and_no_file(tmp_path):
    with demo_in(tmp_path / "tmp") as killed:
        assert killed.says("scanning them"), killed.text()
        assert len(killed.living()) > 5
        killed.process.kill()
        killed.process.wait(PATIENCE)
        assert becomes(killed.has_left_nothing), killed.living()


def test_a_taken_port_of_the_scanner_is_named_and_nothing_stays(tmp_path):
    with closing(socket.create_server(("127.0.0.1", free_port()))) as other:
        port = other.getsockname()[1]
        with demo_in(tmp_path / "tmp", PORT=str(port)) as refused:
            assert refused.process.wait(PATIENCE) == 1
            assert f"Port {port} on 127.0.0.1 is taken" in refused.text()
            assert refused.has_left_nothing()
