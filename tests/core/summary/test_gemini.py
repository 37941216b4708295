"""The real client against a local server: every failure ends in the deterministic words, and the key stays here."""

from __future__ import annotations

import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scans.core.options import AiOptions
from scans.core.risk import gather, rate
from scans.core.summary import gemini
from scans.core.summary.deterministic import failed, summarise
from scans.core.summary.gemini import AskAloneError, Explained, GeminiClient, recalled
from scans.core.types import (
    AddressReport,
    Outcome,
    PortState,
    Probe,
    Report,
    Summary,
    SummaryState,
    Target,
    TargetKind,
)
from scans.core.wire import evidence_dict, verdict_dict
from tests.fakes import wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import refusing

KEY = "AIzaCANARY-0123456789-abcdef"
SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 11, 24, 9, 14, tzinfo=UTC)
WRITTEN = "Remote desktop answers from any address."

Step = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the next step of the server's script, and the last one again when it runs out."""

    server: Fake
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.path, dict(self.headers.items()), json.loads(sent or b"null")))
        steps = self.server.steps
        (steps.pop(0) if len(steps) > 1 else steps[0])(self)

    def do_GET(self) -> None:
        self.do_POST()  # what a redirect that is followed turns into

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Fake(ThreadingHTTPServer):
    """A Gemini of our own on the loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.steps: list[Step] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that has gone is part of the script."""


@pytest.fixture(scope="module")
def server() -> Iterator[Fake]:
    with Fake() as running, serving(running):
        yield running


@contextmanager
def serving(server: Fake) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture
def fake(server: Fake) -> Fake:
    server.asked.clear()
    return server


def sample(name: str) -> Step:
    reply = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return body(reply["body"], status=reply["status"])


def body(value: object, *, status: int = 200, **headers: str) -> Step:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler: handler.answer(status, raw, **headers)


def says(text: object, **reply: object) -> Step:
    """A reply whose only part holds this text (or this object as JSON)."""
    said = text if isinstance(text, str) else json.dumps(text)
    candidate = {"content": {"parts": [{"text": said}], "role": "model"}, "finishReason": "STOP", "index": 0}
    return body({"candidates": [candidate], "modelVersion": "gemini-test", **reply})


def words(summary: str = WRITTEN, recommendation: str = "Use a VPN.", level: str = "high", facts=("F1",)) -> dict[str, Any]:
    return {"risk_level": level, "risk_summary": summary, "recommendation": recommendation, "cited_facts": list(facts)}


def report(*, is_global: bool = True, port: int = 3389) -> Report:
    probes = (Probe(port, PortState.OPEN, "syn-ack", 1, 1.5), Probe(443, PortState.CLOSED, "conn-refused", 1, 1.5))
    address = AddressReport(address=ip_address("203.0.113.77"), is_global=is_global, probes=probes)
    target = Target(kind=TargetKind.IP, text="203.0.113.77", host="203.0.113.77", address=address.address)
    verdict = rate(gather((address,)))
    return Report(
        target=target,
        outcome=Outcome.DONE,
        addresses=(address,),
        verdict=verdict,
        summary=summarise(target, (address,), verdict),
        started_at=NOW,
        finished_at=NOW,
    )


REPORT = report()


def options(fake: Fake, **changes: Any) -> AiOptions:
    return replace(AiOptions(api_key=KEY, base_url=fake.url, timeout_seconds=PATIENCE), **changes)


def explain(fake: Fake, *steps: Step, of: Report = REPORT, permit=None, **changes: Any) -> Summary:
    fake.steps = list(steps)
    client = GeminiClient(options(fake, **changes), permit=permit)
    return client.explain(evidence_dict(of), verdict_dict(of.verdict), of.summary)


def assert_fell_back(found: Summary, state: SummaryState, reason: str) -> None:
    assert (found.state, found.text, found.recommendation) == (state, REPORT.summary.text, REPORT.summary.recommendation)
    assert found.deterministic_text == REPORT.summary.text
    assert reason in found.reason, found.reason
    assert KEY not in repr(found)


# The way it should go


def test_a_valid_answer_is_shown_with_its_provenance(fake):
    found = explain(fake, sample("generate_ok_json"))
    assert (found.state, found.text) == (SummaryState.WRITTEN, WRITTEN)
    assert found.recommendation == "Close 3389/tcp at the edge and use a VPN with MFA."
    assert found.deterministic_text == REPORT.summary.text
    assert (found.model, found.finish_reason, found.reason) == ("gemini-3.5-flash", "STOP", "")
    assert (found.cited_facts, found.citations) == (("F1",), ("EXP-003",))
    latency_ms = found.usage["latency_ms"]
    assert latency_ms > 0
    assert found.usage == {
        "prompt_tokens": 812, "candidates_tokens": 96, "thoughts_tokens": 226,
        "latency_ms": latency_ms, "facts": 3, "prompt_version": 2, "targets": 1,
    }  # fmt: skip


def test_a_fenced_answer_is_read(fake):
    assert explain(fake, sample("generate_ok_fenced")).state is SummaryState.WRITTEN


def test_the_request_is_what_we_mean(fake):
    explain(fake, sample("generate_ok_json"), model="gemini-x", api_version="v1beta")
    ((path, headers, asked),) = fake.asked
    assert path == "/v1beta/models/gemini-x:generateContent"
    assert headers["x-goog-api-key"] == KEY
    assert headers["Accept-Encoding"] == "identity"
    config = asked["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["cited_facts"]["items"]["enum"] == ["F1", "F2", "F3"]
    assert config["responseJsonSchema"]["additionalProperties"] is False
    assert "tools" not in asked


def test_neither_target_nor_key_is_in_the_request_body(fake):
    explain(fake, sample("generate_ok_json"))
    assert "203.0.113.77" not in json.dumps(fake.asked[0][2])
    assert KEY not in json.dumps(fake.asked[0][2])


def test_a_base_url_may_carry_a_path(fake):
    explain(fake, sample("generate_ok_json"), base_url=f"{fake.url}/gateway")
    assert fake.asked[0][0] == "/gateway/v1beta/models/gemini-3.5-flash:generateContent"


def test_the_environment_chooses_nothing(fake, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_API_KEY", "another-key-than-ours")
    for name in ("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.setenv(name, "true")
    assert explain(fake, sample("generate_ok_json")).state is SummaryState.WRITTEN
    assert fake.asked[0][0] == "/v1beta/models/gemini-3.5-flash:generateContent"
    assert fake.asked[0][1]["x-goog-api-key"] == KEY


# Not asked at all


def test_without_a_key_the_text_says_exactly_that(fake):
    found = explain(fake, sample("generate_ok_json"), api_key="")
    assert (found.state, found.text) == (SummaryState.NO_KEY, "Gemini API key not configured")
    assert found.deterministic_text == REPORT.summary.text
    assert not fake.asked


def test_a_name_that_does_not_resolve_keeps_its_text_without_a_key(fake):
    target = Target(kind=TargetKind.NAME, text="gone.invalid", host="gone.invalid")
    words_of_it = failed(target, "resolve_failed", "Failed to resolve gone.invalid: no such name")
    gone = replace(
        REPORT,
        target=target,
        outcome=Outcome.ERROR,
        error_code="resolve_failed",
        error="x",
        addresses=(),
        summary=words_of_it,
    )
    found = explain(fake, sample("generate_ok_json"), of=gone, api_key="")
    assert (found.state, found.text) == (SummaryState.SKIPPED, "Failed to resolve gone.invalid: no such name")
    assert not fake.asked


def test_a_key_that_is_none_is_refused_before_it_is_sent(fake):
    assert_fell_back(
        explain(fake, sample("generate_ok_json"), api_key="kéy\n"), SummaryState.UNAUTHORIZED, "characters that no key has"
    )
    assert not fake.asked


def test_facts_about_a_private_address_stay_here_unless_allowed(fake):
    private = report(is_global=False)
    found = explain(fake, says(words(level=private.verdict.level)), of=private)
    assert (found.state, found.text) == (SummaryState.SKIPPED, private.summary.text)
    assert "AI_SEND_PRIVATE" in found.reason
    assert not fake.asked
    assert (
        explain(fake, says(words(level=private.verdict.level)), of=private, send_private=True).state is SummaryState.WRITTEN
    )


def test_one_private_address_among_public_ones_is_enough_to_stay_here(fake):
    both = replace(REPORT, addresses=(*REPORT.addresses, *report(is_global=False).addresses))
    assert explain(fake, sample("generate_ok_json"), of=both).state is SummaryState.SKIPPED
    assert not fake.asked


def test_a_shut_gate_is_named(fake):
    asked = []

    def permit(url: str) -> None:
        asked.append(url)
        raise PermissionError("offline: OFFLINE=1 is set")

    assert_fell_back(
        explain(fake, sample("generate_ok_json"), permit=permit), SummaryState.SKIPPED, "offline: OFFLINE=1 is set"
    )
    assert (asked, fake.asked) == ([fake.url], [])


def test_the_gate_is_asked_before_anything_and_before_every_request(fake):
    asked = []
    explain(fake, sample("error_503_overloaded"), sample("generate_ok_json"), permit=asked.append)
    assert asked == [fake.url] * (1 + len(fake.asked)) == [fake.url] * 3


# Replies without an answer


BROKEN = {
    "a safety stop": (sample("candidate_safety"), SummaryState.FAILED, "declined to answer (SAFETY)"),
    "a blocked prompt": (sample("prompt_blocked"), SummaryState.FAILED, "declined to answer (PROHIBITED_CONTENT)"),
    "half an answer": (sample("generate_truncated_max_tokens"), SummaryState.FAILED, "cut off (MAX_TOKENS)"),
    "only thoughts": (sample("generate_thinking_used_all_tokens"), SummaryState.FAILED, "cut off (MAX_TOKENS)"),
    "a level nobody knows": (sample("generate_out_of_enum"), SummaryState.REJECTED, "no known risk level"),
    "a contradiction": (sample("generate_contradicts_score"), SummaryState.REJECTED, "low is below high"),
    "a bad key": (sample("error_400_bad_key"), SummaryState.UNAUTHORIZED, "HTTP 400"),
    "no permission": (sample("error_403_permission"), SummaryState.UNAUTHORIZED, "HTTP 403"),
    "a model that is gone": (sample("error_404_model"), SummaryState.FAILED, "model not available"),
    "a spent quota": (sample("error_429_quota"), SummaryState.RATE_LIMITED, "asked again in 27 s"),
    "an internal error": (sample("error_500_internal"), SummaryState.FAILED, "HTTP 500"),
    "an overload": (sample("error_503_overloaded"), SummaryState.FAILED, "HTTP 503"),
    "a gateway's page": (body(b"<html>Bad gateway</html>", status=502), SummaryState.FAILED, "HTTP 502"),
    "another bad request": (body({"error": {"code": 400}}, status=400), SummaryState.FAILED, "HTTP 400"),
    "an error of no form": (body([{"error": "x"}], status=400), SummaryState.FAILED, "HTTP 400"),
    "an error that is a number": (body(7, status=400), SummaryState.FAILED, ""),
    "a 429 of no form": (
        body({"error": {"details": [7, {"retryDelay": {}}]}}, status=429),
        SummaryState.RATE_LIMITED,
        "429",
    ),
    "nothing": (body(b""), SummaryState.FAILED, ""),
    "204": (body(b"", status=204), SummaryState.FAILED, ""),
    "a page": (body(b"<html>Welcome</html>"), SummaryState.FAILED, "could not be read"),
    "a list": (body([]), SummaryState.FAILED, ""),
    "an empty object": (body({}), SummaryState.FAILED, "holds no answer"),
    "candidates that are text": (body({"candidates": "x"}), SummaryState.FAILED, "holds no answer"),
    "no part": (body({"candidates": [{"content": {"parts": []}}]}), SummaryState.FAILED, "holds no answer"),
    "counts that are text": (says(words(), usageMetadata={"promptTokenCount": "many"}), SummaryState.FAILED, ""),
    "deep nesting": (body(b"[" * 50_000), SummaryState.FAILED, "could not be read"),
    "bytes that are no text": (body(b"\xff\xfe\x00"), SummaryState.FAILED, "could not be read"),
    "too much": (body(b" " * (gemini.MAX_REPLY_BYTES + 1)), SummaryState.FAILED, "too large"),
    "a bomb": (body(gzip.compress(b" " * 10**7), Content_Encoding="gzip"), SummaryState.FAILED, "could not be read"),
    "prose": (says("I think it is fine."), SummaryState.REJECTED, "not JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_reply_without_an_answer_falls_back_with_the_reason(fake, case, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    step, state, reason = BROKEN[case]
    assert_fell_back(explain(fake, step), state, reason)


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason")
def test_a_finish_reason_nobody_knows_is_no_answer_and_not_shown(fake):
    reply = {"content": {"parts": [{"text": json.dumps(words())}]}, "finishReason": "<b>bored</b>"}
    assert_fell_back(explain(fake, body({"candidates": [reply]})), SummaryState.FAILED, "(unknown reason)")


def test_every_sample_is_played():
    source = Path(__file__).read_text(encoding="utf-8")
    names = [path.stem for path in SAMPLES.glob("*.json")]
    assert len(names) == 14
    assert [name for name in names if f'sample("{name}")' not in source] == []


# Asking again


@pytest.mark.parametrize("case", ["error_500_internal", "error_503_overloaded"])
def test_a_passing_failure_is_asked_again(fake, case, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    assert explain(fake, sample(case), sample(case), sample("generate_ok_json")).state is SummaryState.WRITTEN
    assert len(fake.asked) == 3


def test_attempts_are_bounded(fake, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    explain(fake, sample("error_503_overloaded"))
    assert len(fake.asked) == gemini.MAX_ATTEMPTS


@pytest.mark.parametrize("case", ["error_400_bad_key", "error_403_permission", "error_404_model", "error_429_quota"])
def test_a_lasting_failure_is_not_asked_again(fake, case):
    explain(fake, sample(case))
    assert len(fake.asked) == 1


def quota(delay: object, quota_id: str = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier") -> Step:
    violations = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    return body({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [violations, info]}}, status=429)


def test_a_short_wait_is_waited(fake):
    started_at = time.monotonic()
    assert explain(fake, quota("0.4s"), sample("generate_ok_json")).state is SummaryState.WRITTEN
    assert time.monotonic() - started_at >= 0.4
    assert len(fake.asked) == 2


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """How long the client would have slept between its attempts, which takes no time here."""
    found: list[float] = []
    monkeypatch.setattr(gemini, "time", SimpleNamespace(monotonic=time.monotonic, sleep=found.append))
    return found


@pytest.mark.parametrize("delay", ["5.5s", "27s", "999999s", "-1s", "soon", 7, None, "1e3s"])
def test_a_long_or_senseless_wait_is_not_waited(fake, delay, waits):
    assert_fell_back(explain(fake, quota(delay), timeout_seconds=10 * AGES), SummaryState.RATE_LIMITED, "HTTP 429")
    assert waits == []
    assert len(fake.asked) == 1


def test_a_wait_beyond_the_deadline_is_not_begun(fake, waits, monkeypatch):
    monkeypatch.setattr(gemini, "LONGEST_WAIT_SECONDS", 10 * AGES)
    explain(fake, quota("2000s"), sample("generate_ok_json"), timeout_seconds=PATIENCE)
    assert waits == []
    explain(fake, quota("2000s"), sample("generate_ok_json"), timeout_seconds=10 * AGES)
    assert waits == [2000]


def test_a_quota_of_the_day_is_not_asked_again(fake):
    found = explain(fake, quota("1s", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"))
    assert_fell_back(found, SummaryState.RATE_LIMITED, "quota of the day")
    assert len(fake.asked) == 1


# The connection


def test_a_redirect_is_not_followed_and_no_key_goes_along(fake):
    with Fake() as other, serving(other):
        other.steps = [sample("generate_ok_json")]
        for status in (301, 302, 303, 307, 308):
            found = explain(fake, body(b"", status=status, Location=f"{other.url}/v1beta/models/x:generateContent"))
            assert_fell_back(found, SummaryState.FAILED, f"redirects, which is not followed (HTTP {status})")
    assert not other.asked


def test_a_refused_connection_is_named(monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    with refusing() as port:
        client = GeminiClient(AiOptions(api_key=KEY, base_url=f"http://127.0.0.1:{port}", timeout_seconds=PATIENCE))
        found = client.explain(evidence_dict(REPORT), verdict_dict(REPORT.verdict), REPORT.summary)
    assert_fell_back(found, SummaryState.FAILED, "no connection")


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"what?\r\n\r\n"], ids=["at once", "half", "nonsense"]
)
def test_a_connection_that_is_cut_is_named_and_tried_again(fake, sent, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)

    def cut(handler: Handler) -> None:
        handler.wfile.write(sent)
        handler.close_connection = True

    assert_fell_back(explain(fake, cut), SummaryState.FAILED, "the connection was cut")
    assert explain(fake, cut, sample("generate_ok_json")).state is SummaryState.WRITTEN


def drip(start: bytes, piece: bytes) -> Step:
    """Sends a little for ages, so that no read ever times out."""

    def step(handler: Handler) -> None:
        give_up_at = time.monotonic() + AGES
        handler.wfile.write(start)
        while time.monotonic() < give_up_at:
            handler.wfile.write(piece)
            time.sleep(0.05)

    return step


SLOW = {
    "silence": lambda handler: handler.connection.recv(1),
    "a dripped header": drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "a dripped body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b" "),
    "dripped chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("case", SLOW)
def test_no_reply_holds_us_beyond_the_deadline(fake, case):
    started_at = time.monotonic()
    assert_fell_back(explain(fake, SLOW[case], timeout_seconds=1), SummaryState.FAILED, "no answer within 1 s")
    assert time.monotonic() - started_at < AT_ONCE


def test_what_was_given_up_ends_and_leaves_no_thread(fake):
    explain(fake, SLOW["a dripped header"], timeout_seconds=1)
    assert wait_until(lambda: "within" not in {thread.name for thread in threading.enumerate()})


def test_one_client_serves_several_threads(fake):
    fake.steps = [sample("generate_ok_json")]
    client, found = GeminiClient(options(fake)), []
    asks = [
        threading.Thread(
            target=lambda: found.append(client.explain(evidence_dict(REPORT), verdict_dict(REPORT.verdict), REPORT.summary))
        )
        for _ in range(4)
    ]
    for ask in asks:
        ask.start()
    for ask in asks:
        ask.join()
    assert [summary.state for summary in found] == [SummaryState.WRITTEN] * 4


# Several targets in one call


OTHER = report(port=5432)
BOTH = (REPORT, OTHER)
DATABASE = "A PostgreSQL database answers on 5432."


def ask(fake: Fake, *steps: Step, of: Sequence[Report] = BOTH, **changes: Any) -> list[Explained]:
    fake.steps = list(steps)
    client = GeminiClient(options(fake, **changes))
    questions = [client.question(evidence_dict(one), verdict_dict(one.verdict), one.summary) for one in of]
    return client.ask(questions)


def test_several_targets_are_asked_about_in_one_request(fake):
    found = ask(fake, says({"T1": words(), "T2": words(DATABASE)}))
    assert [one.summary.state for one in found] == [SummaryState.WRITTEN] * 2
    assert [one.summary.text for one in found] == [WRITTEN, DATABASE]
    assert [one.summary.citations for one in found] == [("EXP-003",), ("EXP-008",)]
    assert [one.summary.usage["targets"] for one in found] == [2, 2]
    ((_, _, asked),) = fake.asked
    sent = json.loads(asked["contents"][0]["parts"][0]["text"])
    assert [sent[key]["facts"][0]["rule"] for key in ("T1", "T2")] == ["EXP-003", "EXP-008"]
    assert asked["generationConfig"]["responseJsonSchema"]["required"] == ["T1", "T2"]


def test_the_words_about_one_are_checked_by_the_facts_about_that_one(fake):
    first, second = ask(fake, says({"T1": words(DATABASE), "T2": words(DATABASE)}))
    assert (first.summary.state, second.summary.state) == (SummaryState.REJECTED, SummaryState.WRITTEN)
    assert "5432" in first.summary.reason
    assert first.summary.text == REPORT.summary.text
    assert (first.answer, bool(second.answer)) == ("", True)


def test_an_accepted_answer_can_be_kept_and_says_the_same_again(fake):
    first, second = ask(fake, says({"T1": words(), "T2": words(DATABASE)}))
    client = GeminiClient(options(fake))
    question = client.question(evidence_dict(OTHER), verdict_dict(OTHER.verdict), OTHER.summary)
    again = recalled(question, second.answer, model="m", finish_reason="STOP")
    assert (again.text, again.cited_facts, again.model) == (DATABASE, ("F1",), "m")
    assert again.usage == {"cached": 1, "facts": 3, "prompt_version": 2}
    assert recalled(question, first.answer, model="m", finish_reason="STOP") is None


TOO_MUCH = {
    "half an answer": sample("generate_truncated_max_tokens"),
    "a safety stop": sample("candidate_safety"),
    "a blocked prompt": sample("prompt_blocked"),
    "prose": says("They are all fine."),
    "the answer about one": says(words()),
    "a schema that is too large": body({"error": {"code": 400}}, status=400),
    "too much": body(b" " * (gemini.MAX_REPLY_BYTES + 1)),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_a_call_about_several_that_gave_nothing_is_worth_one_about_each(fake, case):
    with pytest.raises(AskAloneError):
        ask(fake, TOO_MUCH[case])


@pytest.mark.parametrize(
    ("name", "state"),
    [("error_400_bad_key", "unauthorized"), ("error_429_quota", "rate_limited"), ("error_404_model", "failed")],
)
def test_what_one_call_about_each_would_meet_too_is_the_end_for_all(fake, name, state):
    found = ask(fake, sample(name))
    assert [one.summary.state for one in found] == [state] * 2
    assert all(one.summary.reason for one in found)


# The key


def hear_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the settings of the application say about these loggers."""
    for name in ("", "httpx2", "google_genai"):
        caplog.set_level(logging.DEBUG, logger=name)


REFLECTIONS = {
    "in the words": says(words(f"Remote desktop: {KEY}")),
    "as the model's name": says(words(), modelVersion=KEY),
    "as a finish reason": body({"candidates": [{"finishReason": KEY}]}),
    "in an error": body({"error": {"message": KEY, "status": KEY, "details": [{"reason": KEY}]}}, status=400),
    "in a page": body(f"<html>{KEY}</html>".encode(), status=502),
    "in what is not JSON": body(KEY.encode()),
    "in a type error": says(words(), usageMetadata=KEY),
    "in a header": body(b"", status=302, Location=f"http://127.0.0.1/{KEY}"),
}


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason")
@pytest.mark.parametrize("case", REFLECTIONS)
def test_a_key_that_is_played_back_is_neither_shown_nor_logged(fake, case, caplog, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    hear_everything(caplog)
    found = explain(fake, REFLECTIONS[case])
    assert fake.asked[0][1]["x-goog-api-key"] == KEY
    assert_fell_back(found, SummaryState.FAILED, "")
    assert KEY not in caplog.text
    assert not [record for record in caplog.records if KEY in f"{record.__dict__}"]


@pytest.mark.parametrize("name", [path.stem for path in sorted(SAMPLES.glob("*.json"))])
def test_no_reply_brings_the_key_into_a_log(fake, name, caplog, monkeypatch):
    monkeypatch.setattr(gemini, "PAUSE_SECONDS", 0.01)
    hear_everything(caplog)
    assert KEY not in repr(explain(fake, sample(name)))
    assert caplog.records
    assert not [record for record in caplog.records if KEY in f"{record.__dict__}"]


def test_the_key_is_not_in_the_client_s_own_words():
    assert KEY not in repr(GeminiClient(AiOptions(api_key=KEY))) + repr(AiOptions(api_key=KEY))
