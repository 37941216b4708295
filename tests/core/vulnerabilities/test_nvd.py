"""The NVD: how its replies are read, whatever becomes of a question, its limits, and a scan from a port to a score."""

from __future__ import annotations

import copy
import json
import queue
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scans.core import pipeline
from scans.core.egress import Egress
from scans.core.intel.base import SourceSettings
from scans.core.intel.choice import check_choice
from scans.core.options import IntelOptions, OptionError
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Report, SourceState, Told
from scans.core.vulnerabilities import ALL_SOURCES, Nvd, NvdLane, nvd_lane
from scans.core.vulnerabilities.nvd import applies_to, order
from tests.core.fingerprint.asking import saying, serving
from tests.core.test_pipeline_services import PAGE, tools
from tests.fakes import Answer, Request, service
from tests.patience import PATIENCE
from tests.servers import public

SAMPLES = Path(__file__).parent / "samples"
FOUND: dict[str, Any] = json.loads((SAMPLES / "nvd_cves_2_0.json").read_text())["body"]
VPN = "cpe:2.3:a:examplevendor:examplevpn:2.0:*:*:*:*:*:*:*"
NGINX = "cpe:2.3:a:f5:nginx:1.22.1:*:*:*:*:*:*:*"


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """No answer of another test."""
    monkeypatch.setattr(nvd_lane, "_kept", {})


def found(**changes: Any) -> dict[str, Any]:
    """The sample with some fields of its one CVE changed."""
    document = copy.deepcopy(FOUND)
    document["vulnerabilities"][0]["cve"].update(changes)
    return document


def kit(url: str, *, key: str = "", **options: Any) -> Tools:
    given = tools(grace_seconds=PATIENCE)
    keys = {"nvd": key} if key else {}
    intel = replace(given.options.intel, sources=("nvd",), urls={"nvd": url}, keys=keys, **options)
    return Tools(options=replace(given.options, intel=intel))


class Asking:
    """A lane of its own, asked without a scan."""

    def __init__(self, url: str, **options: Any) -> None:
        self.kit = kit(url, **options)
        self.answers: queue.SimpleQueue[nvd_lane.Answer] = queue.SimpleQueue()
        nvd = Nvd(SourceSettings(base_url=url, key=options.get("key", "")))
        self.lane = NvdLane(nvd, self.kit, Egress(self.kit.options, [url]), self.answers.put)

    def ask(self, *subjects: str) -> None:
        """Wait for as many answers as were sent for."""
        self.lane.ask(subjects)
        self.lane.turn(now=0.0)
        while not self.lane.has_all(subjects, until=1.0):
            self.lane.receive(self.answers.get(timeout=PATIENCE))
            self.lane.turn(now=0.0)


def ask(answer: Answer, *subjects: str, **options: Any) -> Asking:
    with service(lambda _: answer) as fake:
        asking = Asking(fake.base_url, **options)
        asking.ask(*(subjects or (VPN,)))
    return asking


# --- Replies ---------------------------------------------------------------------------------------------------------


def test_a_product_is_asked_about_by_its_cpe_name_and_a_cve_by_its_id_with_the_key_in_a_header():
    seen: list[Request] = []

    def answer(request: Request) -> Answer:
        seen.append(request)
        return Answer.json(FOUND)

    with service(answer) as fake:
        asking = Asking(fake.base_url, key="k-1")
        asking.ask(VPN, "CVE-2099-0001")
    assert asking.lane.scores([VPN, "CVE-2099-0001"]) == {
        VPN: {"CVE-2099-0001": 9.8},
        "CVE-2099-0001": {"CVE-2099-0001": 9.8},
    }
    questions = [parse_qs(urlsplit(request.path).query) for request in seen]
    assert sorted(questions, key=len) == [
        {"cveId": ["CVE-2099-0001"]},
        {"virtualMatchString": [VPN], "resultsPerPage": ["50"]},
    ]
    assert {request.headers["apiKey"] for request in seen} == {"k-1"}
    result = asking.lane.result([VPN, "CVE-2099-0001"])
    assert (result.state, result.facts.seen_cves) == (SourceState.OK, ("CVE-2099-0001",))
    assert result.contacted == (fake.base_url.removeprefix("http://"),)


def metric(score: Any, kind: str = "Primary") -> dict[str, Any]:
    return {"type": kind, "cvssData": {"baseScore": score}}


@pytest.mark.parametrize(
    ("metrics", "score"),
    [
        ({"cvssMetricV40": [metric(8.7)], "cvssMetricV31": [metric(9.8)]}, 8.7),
        ({"cvssMetricV31": [metric(5.0, "Secondary"), metric(9.8)]}, 9.8),
        ({"cvssMetricV31": [metric(5.0, "Secondary")], "cvssMetricV2": [metric(10.0)]}, 5.0),
        ({"cvssMetricV31": [metric("9.8"), metric(11), metric(-1), metric(True)], "cvssMetricV30": [metric(7)]}, 7.0),
        ({"cvssMetricV31": {"x": 1}, "cvssMetricV30": [None, [], {"cvssData": 1}]}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_score_is_the_newest_kind_and_the_nvds_own_first(metrics, score):
    assert ask(Answer.json(found(metrics=metrics))).lane.scores([VPN]) == {VPN: {"CVE-2099-0001": score}}


def test_a_score_that_is_no_number_is_none():
    body = json.dumps(found(metrics={"cvssMetricV31": [metric(float("nan"))]})).encode()
    assert ask(Answer(body=body)).lane.scores([VPN]) == {VPN: {"CVE-2099-0001": None}}


@pytest.mark.parametrize("changes", [{"vulnStatus": "Rejected"}, {"id": "x"}, {"configurations": []}, {"configurations": 7}])
def test_what_does_not_apply_to_the_product_is_not_named(changes):
    asking = ask(Answer.json(found(**changes)))
    assert asking.lane.scores([VPN]) == {VPN: {}}
    assert (asking.lane.result([VPN]).state, asking.lane.result([VPN]).facts.seen_cves) == (SourceState.EMPTY, None)


FAULTS = {
    "too many, as it says it": (Answer(status=403), SourceState.RATE_LIMITED, "too many requests"),
    "too many": (Answer(status=429), SourceState.RATE_LIMITED, "too many requests"),
    "down": (Answer(status=500), SourceState.FAILED, "HTTP 500"),
    "HTML": (Answer(body=b"<html>"), SourceState.FAILED, "the reply is not an object"),
    "empty": (Answer(), SourceState.FAILED, "the reply is not an object"),
    "truncated": (Answer(body=json.dumps(FOUND).encode()[:-99]), SourceState.FAILED, "the reply is not an object"),
    "no list": (
        Answer.json({"vulnerabilities": {"a": 1}}),
        SourceState.FAILED,
        "the reply lacks its list of vulnerabilities",
    ),
    "25 MB": (Answer(body=b" " * 25_000_000), SourceState.FAILED, "the reply is larger than 1048576 bytes"),
    "elsewhere": (Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}), SourceState.FAILED, "redirects"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_it_does_is_a_state_and_says_nothing_against_a_host(fault):
    answer, state, words = FAULTS[fault]
    asking = ask(answer)
    result = asking.lane.result([VPN])
    assert (result.state, result.facts.seen_cves) == (state, None)
    assert result.reason.startswith("1 of 1 questions were not answered: ")
    assert words in result.reason
    assert asking.lane.scores([VPN]) == {}
    assert nvd_lane._kept == {}  # only answers are


@pytest.mark.parametrize("entry", [None, 7, "x", [], {}, {"cve": None}, {"cve": []}, {"cve": {"id": ["CVE-2099-0001"]}}])
def test_an_entry_that_is_none_is_passed_over(entry):
    document = {"vulnerabilities": [entry, *FOUND["vulnerabilities"]]}
    assert ask(Answer.json(document)).lane.scores([VPN]) == {VPN: {"CVE-2099-0001": 9.8}}


def test_what_it_does_not_know_is_an_answer():
    sample = json.loads((SAMPLES / "nvd_not_found_404.json").read_text())
    asking = ask(Answer(status=sample["status"], headers=sample["headers"]))
    assert asking.lane.result([VPN]).state is SourceState.EMPTY


# --- Versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower", "higher"),
    [("1.2", "1.10"), ("1.0rc1", "1.0"), ("1.0", "1.0p1"), ("1.0p1", "1.0.1"), ("8.9", "8.9p1"), ("9", "10"), ("", "0.1")],
)
def test_versions_are_compared_by_their_numbers(lower, higher):
    assert order(lower) < order(higher)


def test_a_version_is_the_same_with_and_without_a_zero_at_its_end():
    assert order("1.0") == order("1") == order("1.0.0")


@pytest.mark.parametrize(
    ("version", "match", "is_hit"),
    [
        ("2.3.3", {}, True),
        ("2.3.4", {}, False),
        ("1.0", {}, True),
        ("0.9", {}, False),
        ("2.0", {"vulnerable": False}, False),
        ("2.0", {"vulnerable": "true"}, False),
        ("2.0", {"criteria": "cpe:2.3:a:examplevendor:other:*:*:*:*:*:*:*:*"}, False),
        ("2.0", {"criteria": "cpe:2.3:a:examplevendor:examplevpn:2.0:*:*:*:*:*:*:*"}, True),
        ("2.1", {"criteria": "cpe:2.3:a:examplevendor:examplevpn:2.0:*:*:*:*:*:*:*"}, False),
        ("2.3.4", {"versionEndIncluding": "2.3.4", "versionEndExcluding": "9"}, True),
        ("1.0", {"versionStartExcluding": "1.0"}, False),
        ("2.0", {"versionEndExcluding": None}, False),
        ("2.0", {"versionEndExcluding": "9" * 5000}, True),
    ],
)
def test_a_cve_applies_where_its_ranges_hold_the_version(version, match, is_hit):
    document = found()["vulnerabilities"][0]["cve"]
    document["configurations"][0]["nodes"][0]["cpeMatch"][0].update(match)
    assert applies_to(document, VPN.replace("2.0", version)) is is_hit


# --- Limits ----------------------------------------------------------------------------------------------------------


def test_its_limit_is_kept_and_what_is_not_asked_says_why():
    names = [f"CVE-2099-{n:04}" for n in range(1, 7)]
    with service(lambda _: Answer.json(FOUND)) as fake:
        asking = Asking(fake.base_url)
        asking.ask(*names)
        assert len(fake.requests) == 3  # at once; then one in 7.5 s
    result = asking.lane.result(names)
    assert result.state is SourceState.RATE_LIMITED
    assert result.reason.startswith("3 of 6 questions were not answered: its quota is used up for another ")


def test_an_answer_is_kept_for_other_scans_and_told_to_nobody_again():
    with service(lambda _: Answer.json(FOUND)) as fake:
        Asking(fake.base_url).ask(VPN)
        again = Asking(fake.base_url)
        again.ask(VPN)
        assert len(fake.requests) == 1
    result = again.lane.result([VPN])
    assert (result.is_cached, result.contacted, result.facts.seen_cves) == (True, (), ("CVE-2099-0001",))


def test_offline_it_is_not_asked():
    with service(lambda _: Answer.json(FOUND)) as fake:
        asking = Asking(fake.base_url, offline=True)
        asking.ask(VPN)
        assert fake.requests == []
    assert asking.lane.result([VPN]).state is SourceState.SKIPPED


# --- Scans -----------------------------------------------------------------------------------------------------------


def scanned(address: str, given: Tools) -> Report:
    with serving(saying(PAGE, wait_for=b"\r\n\r\n"), address) as server:
        item = Item(key=0, target=parse_target(address), ports=(server.port,))
        ((_, report),) = pipeline.scan([item], given)
    assert isinstance(report, Report)
    return report


def nginx() -> dict[str, Any]:
    document = found()
    node = document["vulnerabilities"][0]["cve"]["configurations"][0]["nodes"][0]
    node["cpeMatch"] = [{"vulnerable": True, "criteria": NGINX.replace("1.22.1", "*"), "versionEndExcluding": "1.23.0"}]
    return document


def test_a_scan_tells_the_cves_of_what_answers_at_a_port_and_rates_them():
    with service(lambda _: Answer.json(nginx())) as fake:
        report = scanned(public(71), kit(fake.base_url))
        assert [parse_qs(urlsplit(r.path).query)["virtualMatchString"] for r in fake.requests] == [[NGINX]]
        assert public(71) not in "".join(request.path for request in fake.requests)
    assert report.told == (Told("nvd", fake.base_url.removeprefix("http://"), 1),)
    (address,) = report.addresses
    (known,) = address.vulnerabilities or ()
    assert (known.cve, known.named_by, known.product, known.cvss) == ("CVE-2099-0001", ("nvd",), "nginx 1.22.1", 9.8)
    assert known.ports == (address.services[0].port,)
    assert [(source.source, source.state) for source in address.sources] == [("nvd", SourceState.OK)]
    assert ("VUL-003", 14) in [(finding.rule_id, finding.points) for finding in report.verdict.findings]


def test_what_is_not_public_is_not_asked_about():
    with service(lambda _: Answer.json(nginx())) as fake:
        report = scanned("127.0.0.1", kit(fake.base_url))
        assert fake.requests == []
    assert [source.state for source in report.addresses[0].sources] == [SourceState.NOT_APPLICABLE]
    assert report.addresses[0].vulnerabilities is None


def test_a_service_that_is_down_costs_the_scores_and_nothing_else():
    with service(lambda _: Answer(status=500)) as fake:
        report = scanned(public(72), kit(fake.base_url))
    assert report.addresses[0].services[0].product == "nginx"
    assert report.addresses[0].vulnerabilities is None
    assert "nvd failed: 1 of 1 questions were not answered: HTTP 500." in report.verdict.completeness.doubts


def test_it_is_off_unless_named_or_given_a_key():
    with service(lambda _: Answer.json(nginx())) as fake:
        off = kit(fake.base_url)
        intel = replace(off.options.intel, sources=("spamhaus-drop",))
        report = scanned(public(73), Tools(options=replace(off.options, intel=intel)))
        assert fake.requests == []
        assert "nvd" not in [source.source for source in report.addresses[0].sources]
    check_choice(IntelOptions(sources=("nvd",), keys={"nvd": "k"}), ALL_SOURCES)
    with pytest.raises(OptionError, match="'nvdd' is no source"):
        check_choice(IntelOptions(sources=("nvdd",)), ALL_SOURCES)
