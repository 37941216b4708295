"""Whatever a service over HTTP answers becomes a recorded state: never an exception, and no key in any text.

The table is asked of every source that has samples (`asking.py`): a newcomer is under it with its first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.core.egress import Egress
from scans.core.http import Reply
from scans.core.intel import Consultation, SourceError
from scans.core.intel.base import KeyUse, Outside, SourceSettings
from scans.core.intel.replies import MAX_TEXT_CHARS
from scans.core.options import IntelOptions, Options
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress, SourceState
from tests.core.intel.asking import KEY, Sample, ask, good_samples, samples
from tests.fakes import Answer, service
from tests.patience import AGES
from tests.servers import refusing, resetting

FAILED, LIMITED, REFUSED = SourceState.FAILED, SourceState.RATE_LIMITED, SourceState.UNAUTHORIZED
EVERY_SOURCE = pytest.mark.parametrize("sample", good_samples(), ids=lambda sample: sample.kind.name)


def spoilt(body: Any, keep: set[str]) -> Any:
    """The same with a value of another type in every field; what says which address it is about stays."""
    if isinstance(body, dict):
        return {name: spoilt(value, keep) for name, value in body.items()}
    if isinstance(body, list) and body and isinstance(body[0], dict):
        return [spoilt(value, keep) for value in body]
    if isinstance(body, str):
        return body if body in keep else 7
    return "seven" if isinstance(body, int | float | None) else {"seven": 7}


def with_wrong_types(sample: Sample) -> Answer:
    return Answer.json(spoilt(sample.body, {str(address) for address in sample.asked}))


def with_broken_utf8(sample: Sample) -> Answer:
    return Answer(body=json.dumps(sample.body).encode().replace(b'": "', b'": "\xff\xfe', 1))


def with_texts(body: Any, text: str, keep: set[str]) -> Any:
    """The same with this text in place of every other."""
    if isinstance(body, dict):
        return {name: with_texts(value, text, keep) for name, value in body.items()}
    if isinstance(body, list):
        return [with_texts(value, text, keep) for value in body]
    return text if isinstance(body, str) and body not in keep else body


FAULTS: dict[str, tuple[Answer | Callable[[Sample], Answer], SourceState, str]] = {
    "an empty body": (Answer(), FAILED, "reply"),
    "HTML": (Answer(body=b"<html>hello</html>"), FAILED, "reply"),
    "a list": (Answer.json([]), FAILED, "reply"),
    "an empty object": (Answer.json({}), FAILED, ""),
    "a number": (Answer.json(7), FAILED, "reply"),
    "null": (Answer.json(None), FAILED, "reply"),
    "NaN": (Answer(body=b"NaN"), FAILED, "reply"),
    "a number of 4,000 digits": (Answer(body=b"9" * 4000), FAILED, "reply"),
    "wrong types": (with_wrong_types, FAILED, "answer"),
    "10 MB": (Answer(body=b" " * (10 << 20)), FAILED, "larger than 1048576 bytes"),
    "broken UTF-8": (with_broken_utf8, FAILED, "reply"),
    "100,000 brackets": (Answer(body=b"[" * 100_000), FAILED, "reply"),
    "two lengths": (lambda s: Answer(body=s.answer.body, headers={"Content-Length": "5000"}), FAILED, ""),
    "a redirect": (Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}), FAILED, ""),
    "204": (Answer(status=204), FAILED, "HTTP 204"),
    "400": (Answer(status=400, body=b"<html>"), FAILED, "HTTP 400"),
    "401": (Answer.json({"error": KEY}, status=401), REFUSED, "HTTP 401"),
    "402": (Answer.json({"error": KEY}, status=402), FAILED, "HTTP 402"),
    "403": (Answer(status=403, body=b"<html>"), REFUSED, "HTTP 403"),
    "404 as a page": (Answer(status=404, body=b"<html>no such page</html>"), FAILED, "HTTP 404"),
    "429": (Answer(status=429), LIMITED, "too many requests"),
    "500 with the key": (Answer(status=500, body=KEY.encode(), headers={"X-Echo": KEY}), FAILED, "HTTP 500"),
    "503": (Answer(status=503), FAILED, "HTTP 503"),
}


@pytest.mark.parametrize("fault", FAULTS)
@EVERY_SOURCE
def test_a_fault_is_a_recorded_state(sample: Sample, fault: str, caplog):
    caplog.set_level(logging.DEBUG)
    answer, state, reason = FAULTS[fault]
    sent = answer if isinstance(answer, Answer) else answer(sample)
    with service(lambda _: sent) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url)
    assert_all(consultation, sample, state, reason)
    assert len(fake.requests) == (2 if fault == "503" else 1)
    assert KEY not in repr(consultation) + caplog.text


@pytest.mark.parametrize(
    "sample", [s for s in good_samples() if s.kind.key is not KeyUse.NONE], ids=lambda sample: sample.kind.name
)
def test_a_service_that_repeats_the_key_in_its_answer_is_not_shown(sample: Sample):
    keep = {"success", "fail", *map(str, sample.asked)}
    with service(lambda _: Answer.json(with_texts(sample.body, f"says {KEY}", keep))) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url)
    assert KEY not in repr(consultation)
    assert_all(consultation, sample, FAILED, "the reply repeats the key")


def test_a_key_that_is_cut_off_with_the_text_around_it_is_not_shown_either():
    sample = next(sample for sample in good_samples() if sample.kind.name == "ipinfo")
    keep = {*map(str, sample.asked)}
    said = "x" * (MAX_TEXT_CHARS - len(KEY) + 1) + KEY
    with service(lambda _: Answer.json(with_texts(sample.body, said, keep))) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url)
    assert_all(consultation, sample, FAILED, "the reply repeats the key")


@EVERY_SOURCE
def test_a_404_is_nothing_known_only_where_the_service_means_that_by_it(sample: Sample):
    stored = [other.becomes[0]["state"] for other in samples() if other.kind is sample.kind and other.answer.status == 404]
    means_unknown = stored == ["empty"]
    with service(lambda _: Answer.json({"detail": "none"}, status=404)) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url)
    assert_all(consultation, sample, SourceState.EMPTY if means_unknown else FAILED, "")


@EVERY_SOURCE
def test_a_429_that_names_an_end_is_told_on(sample: Sample):
    with service(lambda _: Answer(status=429, headers={"Retry-After": "1234"})) as fake:
        quota = ask(sample.kind, sample.asked, fake.base_url).quota
    assert quota is not None
    assert (quota.remaining, quota.resets_in_seconds) == (0, 1234)
    for unreadable in ("soon", "-1", "9" * 30, "Wed, 21 Oct 2026 07:28:00 GMT"):
        with service(lambda _, text=unreadable: Answer(status=429, headers={"Retry-After": text})) as fake:
            assert ask(sample.kind, sample.asked, fake.base_url).quota is None


@EVERY_SOURCE
def test_an_answer_about_another_address_is_none(sample: Sample):
    others = tuple(address + 256 for address in sample.asked)  # nor in its network
    with service(lambda _: sample.answer) as fake:
        consultation = ask(sample.kind, others, fake.base_url)
    assert {(r.state, r.reason) for r in consultation.results.values()} == {(FAILED, "the answer is about another address")}


@EVERY_SOURCE
def test_a_service_that_is_slow_resets_or_is_not_there_fails_in_words(sample: Sample, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("scans.core.intel.otx.SECONDS", None)  # as quick as the others, for once
    with service(lambda _: Answer(delay_seconds=AGES)) as fake:
        slow = ask(sample.kind, sample.asked, fake.base_url, read_timeout_seconds=0.3)
    with resetting() as port:
        reset = ask(sample.kind, sample.asked, f"http://127.0.0.1:{port}")
    with refusing() as port:
        absent = ask(sample.kind, sample.asked, f"http://127.0.0.1:{port}")
    assert_all(slow, sample, FAILED, "no answer in time")
    assert_all(reset, sample, FAILED, "no connection")
    assert_all(absent, sample, FAILED, "no connection")
    assert KEY not in repr((slow, reset, absent)) + caplog.text


@EVERY_SOURCE
def test_offline_nothing_is_sent(sample: Sample):
    with service(lambda _: sample.answer) as fake:
        consultation = ask(sample.kind, sample.asked, fake.base_url, offline=True)
    assert fake.requests == []
    assert_all(consultation, sample, SourceState.SKIPPED, "offline: OFFLINE=1 is set")


def assert_all(consultation: Consultation, sample: Sample, state: SourceState, reason: str) -> None:
    assert list(consultation.results) == list(sample.asked)
    for result in consultation.results.values():
        assert result.state is state, result
        assert reason in result.reason
        assert result.reason
        assert result.facts == Facts()


# --- Any JSON at all ---

ODD_TEXTS = ["\x00", "\ud800", "\x1b[31m", "AS", "AS99999999999", "CVE-2021-1", "10/8", "::ffff:10.0.0.1"]
ANY_TEXT = st.text(max_size=200) | st.sampled_from(ODD_TEXTS)
ANY_NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -1, True])
ANY_JSON = st.recursive(
    st.none() | ANY_NUMBER | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)


@dataclass
class Saying:
    """In place of HTTP: this reply, whatever is asked."""

    reply: Reply
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, **_: object) -> Reply:
        self.asked.append(url)
        return self.reply

    post_json = get


def paths(body: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside."""
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in inner:
        yield (name,)
        yield from ((name, *rest) for rest in paths(value))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The same with another value at the end of the way, if it still leads there."""
    if not path:
        return value
    is_there = path[0] in body if isinstance(body, dict) else isinstance(body, list) and path[0] in range(len(body))
    if is_there:
        body[path[0]] = replaced(body[path[0]], path[1:], value)
    return body


@EVERY_SOURCE
@given(data=st.data())
@settings(max_examples=60)
def test_any_json_in_any_place_is_an_answer_or_an_error_that_says_why(sample: Sample, data: st.DataObject):
    body = deepcopy(sample.body)
    ways = [(), *paths(body)]
    for way in data.draw(st.lists(st.sampled_from(ways), min_size=1, max_size=4, unique=True)):
        body = replaced(body, way, data.draw(ANY_JSON))
    said = Saying(Reply(status=200, headers={}, body=json.dumps(body).encode()))
    source = sample.kind(SourceSettings(base_url="http://127.0.0.1:9", key="" if sample.kind.key is KeyUse.NONE else KEY))
    outside = Outside(Egress(Options(), source.services), IntelOptions())
    outside.http = said
    answers: Mapping[IPAddress, Facts | SourceError] = {}
    with suppress(SourceError):
        answers = source.lookup(sample.asked, outside).facts
        assert set(answers) == set(sample.asked)
    for answer in answers.values():
        if isinstance(answer, Facts):
            stored = json.dumps(asdict(answer), allow_nan=False)
            assert len(stored) < 100_000
            assert all(text == clean_text(text, limit=120) for text in strings(asdict(answer)))


def strings(facts: dict[str, Any]) -> Iterator[str]:
    """Every text in it."""
    for value in facts.values():
        yield from (item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, str))
