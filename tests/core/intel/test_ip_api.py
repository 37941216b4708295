"""ip-api.com: what each of its replies becomes, over real HTTP on the loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from scans.core.egress import Egress
from scans.core.intel import Consultation, IpApi, consult
from scans.core.intel.base import SourceSettings
from scans.core.options import IntelOptions, Options
from scans.core.types import IPAddress, SourceState
from tests.fakes import Answer, FakeService, in_turn, ip_api, service, wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import refusing

SAMPLES = Path(__file__).parent / "samples" / "ip-api"
ONE = (ip_address("203.0.113.10"),)
THREE = (ip_address("203.0.113.10"), ip_address("192.168.1.5"), ip_address("198.51.100.20"))


def ask(fake: FakeService, addresses: tuple[IPAddress, ...] = ONE, **options: float) -> Consultation:
    patient = {"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE}
    intel = IntelOptions(**{**patient, **options})
    return consult(IpApi(SourceSettings(base_url=fake.base_url)), addresses, egress(intel, fake), intel)


def egress(intel: IntelOptions, fake: FakeService) -> Egress:
    return Egress(Options(intel=intel), [fake.base_url])


def sample(name: str) -> Answer:
    stored = json.loads((SAMPLES / name).read_text())
    body = json.dumps(stored["body"]).encode() if stored["body"] != "" else b""
    return Answer(status=stored["status"], headers=stored["headers"], body=body)


def test_a_batch_is_one_request_and_answers_stand_in_the_order_of_the_questions():
    with service(lambda _: sample("batch_mixed.json")) as fake:
        results = ask(fake, THREE).results
    assert [r.json for r in fake.requests] == [[str(a) for a in THREE]]
    assert fake.requests[0].path.startswith("/batch?fields=status%2Cmessage%2Cquery%2C")
    assert results[THREE[0]].facts.city == "Berlin"
    assert results[THREE[2]].facts.region == "Île-de-France"
    assert results[THREE[2]].facts.asn == 64500
    assert (results[THREE[1]].state, results[THREE[1]].reason) == (SourceState.EMPTY, "private range")


def test_what_is_missing_is_none_and_never_false():
    with service(lambda r: Answer.json([{"status": "success", "country": "Germany", "proxy": None, "hosting": ""}])) as fake:
        facts = ask(fake).results[ONE[0]].facts
    assert facts.country == "Germany"
    assert (facts.is_proxy, facts.is_hosting, facts.is_mobile, facts.city, facts.asn) == (None, None, None, None, None)


def test_the_quota_in_the_headers_is_reported():
    with service(lambda _: sample("batch_mixed.json")) as fake:
        quota = ask(fake, THREE).quota
    assert quota is not None
    assert (quota.remaining, quota.resets_in_seconds) == (14, 60)


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (sample("json_429_throttled.json"), SourceState.RATE_LIMITED, "too many requests"),
        (sample("https_free_403.json"), SourceState.UNAUTHORIZED, "the service refused the request (HTTP 403)"),
        (sample("batch_422_more_than_100.json"), SourceState.FAILED, "HTTP 422"),
        (Answer(status=500, body=b"<html>oops</html>"), SourceState.FAILED, "HTTP 500"),
        (Answer(status=503, body=b""), SourceState.FAILED, "HTTP 503"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}), SourceState.FAILED, "HTTP 302"),
        (Answer(body=b"<html>hello</html>"), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer(body=b""), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer.json({}), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer.json([]), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer.json(["text"]), SourceState.FAILED, "the answer is not an object"),
        (Answer.json([{}]), SourceState.FAILED, "the answer says neither success nor fail"),
        (Answer.json([{"status": "fail"}]), SourceState.EMPTY, "nothing known, and no reason given"),
        (
            Answer.json([{"status": "fail", "message": "<b>"}]),
            SourceState.EMPTY,
            "nothing known, and no reason given",
        ),
        (Answer(body=b"[" * 100_000), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer(body=b"\xff\xfe\x00"), SourceState.FAILED, "the reply is not a list of as many answers"),
        (Answer(body=b" " * (2 << 20)), SourceState.FAILED, "the reply is larger than 1048576 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_bad_reply_is_a_recorded_state_and_never_an_exception(answer, state, reason):
    with service(lambda _: answer) as fake:
        result = ask(fake).results[ONE[0]]
    assert (result.state, result.reason) == (state, reason)


def test_a_429_parks_the_source_until_its_window_ends():
    with service(lambda _: sample("json_429_throttled.json")) as fake:
        quota = ask(fake).quota
    assert quota is not None
    assert (quota.remaining, quota.resets_in_seconds) == (0, 37)
    assert len(fake.requests) == 1  # a 429 is not asked again


def test_a_503_is_asked_once_more_and_then_the_answer_counts():
    with service(in_turn([Answer(status=503), ip_api])) as fake:
        assert ask(fake).results[ONE[0]].state is SourceState.OK
    assert len(fake.requests) == 2


def test_a_slow_service_fails_in_time():
    with service(lambda _: Answer(body=b"[]", delay_seconds=AGES)) as fake:
        result = ask(fake, read_timeout_seconds=0.3).results[ONE[0]]
    assert (result.state, result.reason) == (SourceState.FAILED, "no answer in time")


def test_a_body_that_drips_ends_at_the_deadline():
    with service(lambda _: Answer(body=b" " * 2000, drip_seconds=0.2)) as fake:
        result = ask(fake, connect_timeout_seconds=0.3, read_timeout_seconds=0.5).results[ONE[0]]
    assert (result.state, result.reason) == (SourceState.FAILED, "no answer in time")


def test_headers_that_drip_end_at_the_deadline_and_leave_no_thread_behind():
    ended = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            try:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
                    connection.send(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                ended.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        fake = FakeService(ip_api)
        fake.base_url = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        result = ask(fake, connect_timeout_seconds=1, read_timeout_seconds=1).results[ONE[0]]
        elapsed = time.monotonic() - started
        assert ended.wait(PATIENCE)
    assert (result.state, result.reason) == (SourceState.FAILED, "no answer in time")
    assert elapsed < AT_ONCE
    assert wait_until(lambda: "within" not in {thread.name for thread in threading.enumerate()})


def test_a_service_that_is_down_is_no_connection():
    fake = FakeService(ip_api)
    with refusing() as port:
        fake.base_url = f"http://127.0.0.1:{port}"
        result = ask(fake).results[ONE[0]]
    assert (result.state, result.reason) == (SourceState.FAILED, "no connection")


def test_offline_nothing_is_sent():
    with service(ip_api) as fake:
        intel = IntelOptions(offline=True)
        source = IpApi(SourceSettings(base_url=fake.base_url))
        result = consult(source, ONE, egress(intel, fake), intel).results[ONE[0]]
    assert fake.requests == []
    assert (result.state, result.reason) == (SourceState.SKIPPED, "offline: OFFLINE=1 is set")


def test_hostile_text_is_cleaned_and_capped():
    hostile = {"status": "success", "city": "\x1b[31mBer\u202elin\x00", "isp": "x" * 5000}
    with service(lambda _: Answer.json([hostile])) as fake:
        facts = ask(fake).results[ONE[0]].facts
    assert facts.city == "[31mBer lin"
    assert facts.isp is not None
    assert len(facts.isp) == 120


def test_a_proxy_in_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with service(ip_api) as fake:
        assert ask(fake).results[ONE[0]].state is SourceState.OK
