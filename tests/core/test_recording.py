"""A recording replayed: the same evidence and verdict without one socket, no key in the file, clear words for bad files."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from scans.core.budgets import Refusal
from scans.core.feeds import Store
from scans.core.intel import SOURCES
from scans.core.intel.tor_exits import FEED as TOR_LIST
from scans.core.options import AiOptions, FingerprintOptions, IntelOptions, Options, ScopeOptions
from scans.core.pipeline import Item
from scans.core.recording import RecordingError, read_recording, record, replay
from scans.core.recording.codec import decoded, encoded
from scans.core.targets import parse_target
from scans.core.tools import MemoryBudget, Tools
from scans.core.types import Facts, Probe, Service, SourceResult, SourceState, Target
from tests.core.fingerprint.asking import saying, serving
from tests.guard import opened
from tests.patience import AGES
from tests.servers import public
from tests.stand_ins import KEY, every_source

AI_KEY = "canary-of-the-model-0123456789"
SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
SETTINGS = Options(
    scope=ScopeOptions(
        allow=(ip_network("127.0.0.0/8"), ip_network("::1/128")), treat_as_global=(ip_network("127.66.0.0/16"),)
    ),
    fingerprint=FingerprintOptions(is_on=True, seconds=30),
    intel=IntelOptions(grace_seconds=AGES),
    ai=AiOptions(api_key=AI_KEY),
)


@pytest.fixture(scope="module")
def recording() -> str:
    """Two addresses, of which one speaks, a name that there is and one that there is not, and every source asked."""
    texts = (public(41), public(42), "localhost", "nowhere.invalid", "10.0.0.1")
    with every_source() as world, serving(saying(SSH), public(41)) as server:
        items = [Item(key=n, target=parse_target(text), ports=(9, server.port)) for n, text in enumerate(texts)]
        file = io.StringIO()
        options = replace(SETTINGS, intel=world.options(SETTINGS.intel))
        assert len(list(record(items, Tools(options=options), file))) == len(texts)
    return file.getvalue()


def replayed(text: str):
    return dict(replay(read_recording(io.StringIO(text)), options=Options()))


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def as_text(lines: list[dict]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_replay_says_the_very_same_without_opening_one_socket(recording):
    with opened() as sockets:
        found = replayed(recording)
    assert found == {0: [], 1: [], 2: [], 3: [], 4: []}
    assert sockets == []


def test_the_recording_is_of_a_scan_that_found_something(recording):
    lines = lines_of(recording)
    by_number = {line["number"]: line for line in lines if line["kind"] == "report"}
    assert [by_number[n]["evidence"]["outcome"] for n in range(5)] == ["done", "done", "done", "error", "refused"]
    (address,) = by_number[0]["evidence"]["addresses"]
    assert [service["protocol"] for service in address["services"]] == ["SSH"]
    asked = {line["source"] for line in lines if line["kind"] == "request"}
    assert asked == {source["source"] for source in address["sources"] if source.get("contacted")} != set()


def test_no_key_is_in_the_file(recording):
    assert KEY not in recording
    assert AI_KEY not in recording


def test_a_key_that_a_service_sends_back_is_taken_out_in_every_form_and_a_short_one_is_refused():
    from scans.core.recording.lines import NO_KEY, scrubbed, secret_forms

    key = 'a/b+c"d€-0123456789'
    forms = secret_forms(Options(intel=IntelOptions(keys={"otx": key})))
    for said in (key, json.dumps(key), json.dumps({"a": [key]}, ensure_ascii=False), "?k=a%2Fb%2Bc%22d%E2%82%AC-0123456789"):
        assert NO_KEY in scrubbed(said, forms)
        assert "0123456789" not in scrubbed(said, forms)
    with pytest.raises(RecordingError, match="fewer than 8"):
        secret_forms(Options(intel=IntelOptions(keys={"otx": "short"})))


def test_what_was_edited_shows_as_a_difference_where_it_is(recording):
    lines = lines_of(recording)
    report = next(line for line in lines if line["kind"] == "report" and line["number"] == 0)
    report["evidence"]["addresses"][0]["answers_everywhere"] = "edited"
    probes = next(line for line in lines if line["kind"] == "probes" and line["number"] == 1)
    probes["probes"] = [[ports, "filtered", "timeout", 2, None] for ports, *_ in probes["probes"]]
    found = replayed(as_text(lines))
    assert [one.where for one in found[0]] == ["/evidence/addresses/0/answers_everywhere"]
    assert found[0][0].recorded == '"edited"'
    assert "/evidence/addresses/0/port_states/filtered" in [one.where for one in found[1]]
    assert found[2] == []


def test_an_edited_reply_of_a_source_is_read_by_the_sources_own_parser(recording):
    lines = lines_of(recording)
    request = next(line for line in lines if line["kind"] == "request" and line["source"] == "ip-api")
    request["http"][0]["body"] = request["http"][0]["body"].replace("Berlin", "Bremen")
    found = replayed(as_text(lines))
    where = [one.where for one in found[0]]
    assert where
    assert all(place.endswith(("facts/city", "facts/region")) for place in where)


def test_a_reply_that_was_taken_out_of_a_request_is_an_error_and_not_asked_for(recording):
    lines = lines_of(recording)
    request = next(line for line in lines if line["kind"] == "request" and line["source"] == "ip-api")
    request["http"] = []
    with (
        opened() as sockets,
        pytest.raises(RecordingError, match=r"^Line \d+: there is no reply to POST http://127\.0\.0\.1"),
    ):
        replayed(as_text(lines))
    assert sockets == []


class Spent(MemoryBudget):
    """Whoever asks must wait for longer than anybody does."""

    def draw(self, source, limits):
        return Refusal(seconds=10 * AGES, state=SourceState.RATE_LIMITED, reason="nothing is left today")


def test_that_nobody_was_asked_is_kept_as_it_was():
    file = io.StringIO()
    with every_source() as world:
        options = replace(SETTINGS, intel=world.options(SETTINGS.intel))
        items = [Item(key=0, target=parse_target(public(43)), ports=(9,))]
        (report,) = record(items, Tools(options=options, budget=Spent()), file)
    assert {result.reason for result in report.addresses[0].sources} == {"nothing is left today"}
    assert "request" not in {line["kind"] for line in lines_of(file.getvalue())}
    assert replayed(file.getvalue()) == {0: []}


def test_what_a_list_file_said_is_kept_and_the_file_is_not_needed_any_more(tmp_path):
    Store(str(tmp_path)).put(TOR_LIST, public(44).encode(), origin="a test", at=datetime.now(UTC))
    file = io.StringIO()
    options = replace(SETTINGS, intel=replace(SETTINGS.intel, sources=("tor-exits",), directory=str(tmp_path)))
    (report,) = record([Item(key=0, target=parse_target(public(44)), ports=(9,))], Tools(options=options), file)
    assert [result.facts.is_tor_exit for result in report.addresses[0].sources] == [True]
    assert replayed(file.getvalue()) == {0: []}


def test_a_scan_that_asked_nobody_asks_nobody_when_it_is_replayed():
    file = io.StringIO()
    options = replace(SETTINGS, intel=replace(SETTINGS.intel, sources=tuple(f"-{kind.name}" for kind in SOURCES)))
    (report,) = record([Item(key=0, target=parse_target(public(45)), ports=(9,))], Tools(options=options), file)
    assert report.addresses[0].sources == ()
    assert replayed(file.getvalue()) == {0: []}


HOSTILE = {
    "no JSON": (2, lambda line: "{"),
    "another kind": (2, lambda line: line | {"kind": "surprise"}),
    "a list": (2, lambda line: [1]),
    "unknown field": (2, lambda line: line | {"more": 1}),
    "number as text": (2, lambda line: line | {"number": "1"}),
    "true as number": (2, lambda line: line | {"number": True}),
    "bad ports": (2, lambda line: line | {"ports": "1-99999999999"}),
    "descending ports": (2, lambda line: line | {"ports": "90-80"}),
    "bad address": (2, lambda line: line | {"target": line["target"] | {"address": "127.0.0.256"}}),
    "bad kind of target": (2, lambda line: line | {"target": line["target"] | {"kind": "planet"}}),
    "another schema": (1, lambda line: line | {"schema": 99}),
    "no network": (1, lambda line: line | {"allow": ["everything"]}),
    "no time": (1, lambda line: line | {"made_at": "yesterday"}),
    "deep": (2, lambda line: "[" * 100_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_line_is_named_by_its_number(recording, name):
    at, spoil = HOSTILE[name]
    lines = recording.splitlines()
    spoilt = spoil(json.loads(lines[at - 1]))
    lines[at - 1] = spoilt if isinstance(spoilt, str) else json.dumps(spoilt)
    with pytest.raises(RecordingError, match=f"^Line {at}: "):
        read_recording(io.StringIO("\n".join(lines) + "\n"))


@pytest.mark.parametrize("probes", [[["1-65535", "open", "", 1, None]] * 60, [["22", "open", "", 1, 10**400]]])
def test_probes_that_cannot_be_are_refused(recording, probes):
    lines = lines_of(recording)
    at = next(n for n, line in enumerate(lines) if line["kind"] == "probes")
    lines[at]["probes"] = probes
    with pytest.raises(RecordingError, match=f"^Line {at + 1}: "):
        read_recording(io.StringIO(as_text(lines)))


def test_a_recording_of_no_target_is_one_of_nothing(recording):
    head = lines_of(recording)[0]
    assert replayed(as_text([head, {"kind": "end", "lines": 1}])) == {}


@pytest.mark.parametrize("kind", ["probes", "request", "name", "report", "target"])
def test_a_line_that_was_taken_out_is_an_error_and_no_scan(recording, kind):
    lines = recording.splitlines()
    found = [n for n, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    del lines[found[0]]
    end = json.loads(lines.pop())
    with pytest.raises(RecordingError, match="the end is not where it was"):
        read_recording(io.StringIO("\n".join([*lines, json.dumps(end)]) + "\n"))
    with opened() as sockets, pytest.raises(RecordingError):
        replayed("\n".join([*lines, json.dumps(end | {"lines": len(lines)})]) + "\n")
    assert sockets == []


def test_a_recording_that_was_cut_short_says_so(recording):
    for text in ("", recording[: len(recording) // 2], "\n".join(recording.splitlines()[:-1]) + "\n"):
        with pytest.raises(RecordingError):
            read_recording(io.StringIO(text))


@pytest.mark.parametrize(
    "value",
    [
        parse_target("https://x.invalid:8443/a"),
        Service(port=22, state="identified", banner="x"),
        SourceResult(source="x", state="ok", facts=Facts(seen_ports=(1, 2), latitude=1.5, is_proxy=False)),
    ],
    ids=["target", "service", "result"],
)
def test_values_come_back_as_they_were(value):
    assert decoded(type(value), json.loads(json.dumps(encoded(value)))) == value
    assert isinstance(value, Target | Service | SourceResult | Probe)
