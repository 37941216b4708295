"""Reports as JSON values: what is stored, and that the wire result has every field, type and null clients know."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.risk import default_pack, gather, rate
from scans.core.summary.deterministic import failed, summarise
from scans.core.types import (
    AddressReport,
    Cookie,
    Facts,
    HttpFacts,
    Level,
    Outcome,
    PortState,
    Probe,
    Report,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    Summary,
    SummaryState,
    Target,
    TargetKind,
    TlsFacts,
)
from scans.core.wire import (
    BEST_FIRST,
    MAX_SERVICE_CHARS,
    evidence_dict,
    summary_dict,
    summary_from_dict,
    verdict_dict,
    wire_result,
)
from tests.patience import PATIENCE

STARTED = datetime(2026, 11, 24, 9, 14, 2, 120000, tzinfo=UTC)
FACTS = Facts(
    country="Germany", country_code="DE", region="Hesse", city="Frankfurt", isp="Example ISP", organisation="Example Org",
    asn=64500, as_name="EXAMPLE", is_proxy=False, is_mobile=False, is_hosting=True,
)  # fmt: skip
OK = SourceResult(source="ip-api", state=SourceState.OK, observed_at=STARTED, facts=FACTS)
NAME = Target(kind=TargetKind.NAME, text="Shop.invalid", host="shop.invalid", notes=("lower case",))

CLIENTS_KNOW: dict[str, type | tuple[type, ...]] = {
    "target": str,
    "ip_address": str,
    "availability": bool,
    "publicly_exposed": bool,
    "open_ports": list,
    "accessibility_tests": list,
    "location": (str, type(None)),
    "country": (str, type(None)),
    "provider": (str, type(None)),
    "service_category": (str, type(None)),
    "risk_level": str,
    "risk_summary": str,
    "recommendation": (str, type(None)),
    "metadata": dict,
    "testing_techniques": list,
}


def address(text="192.0.2.1", *, is_global=True, sources=(OK,), **ports: tuple[int, ...]) -> AddressReport:
    probes = sorted(Probe(port, PortState(state), "why", 2, 1.239) for state, found in ports.items() for port in found)
    return AddressReport(address=ip_address(text), is_global=is_global, probes=tuple(probes), sources=tuple(sources))


def report(*addresses: AddressReport, target: Target = NAME) -> Report:
    verdict = rate(gather(addresses))
    return Report(
        target=target,
        outcome=Outcome.DONE,
        addresses=addresses,
        verdict=verdict,
        summary=summarise(target, addresses, verdict),
        started_at=STARTED,
        finished_at=STARTED + timedelta(seconds=2),
    )


def unscanned(outcome: Outcome, code: str, error: str, target: Target = NAME) -> Report:
    return replace(report(target=target), outcome=outcome, error_code=code, error=error, summary=failed(target, code, error))


def served(of: Report) -> dict[str, Any]:
    """By way of JSON text, as the database keeps it."""
    stored = (evidence_dict(of), verdict_dict(of.verdict), summary_dict(of.summary))
    return wire_result(*(json.loads(json.dumps(part, allow_nan=False)) for part in stored))


REPORTS = {
    "open": report(address(open=(22, 5432), closed=(80,), filtered=(443,))),
    "closed": report(address(closed=(80,))),
    "silent": report(address(filtered=(80,), sources=())),
    "private": report(address("10.0.0.1", is_global=False, open=(22,), sources=())),
    "two addresses": report(address(open=(22,)), address("2001:db8::1", filtered=(22,))),
    "unresolved": unscanned(Outcome.ERROR, "resolve_failed", "Failed to resolve shop.invalid: no such name"),
    "refused": unscanned(Outcome.REFUSED, "refused_scope", "10.0.0.1 is outside your scope."),
}


@pytest.mark.parametrize("name", REPORTS)
def test_every_field_that_clients_know_is_there_with_its_type(name):
    result = served(REPORTS[name])
    for field, kind in CLIENTS_KNOW.items():
        assert isinstance(result[field], kind), field
        assert kind is bool or not isinstance(result[field], bool)
    assert result["metadata"] == {field: result[field] for field in ("location", "country", "provider", "service_category")}
    assert all(type(port) is int for port in result["open_ports"])
    for test in result["accessibility_tests"]:
        assert type(test["port"]) is int
        assert type(test["service"]) is str
        assert test["status"] in ("open", "closed")
    assert result["risk_level"] in list(Level)
    assert result["risk_summary"]


def test_a_scanned_host_in_full():
    assert served(REPORTS["open"]) == {
        "target": "Shop.invalid",
        "ip_address": "192.0.2.1",
        "availability": True,
        "publicly_exposed": True,
        "open_ports": [22, 5432],
        "accessibility_tests": [
            accessibility(22, "SSH", "open", "open"),
            accessibility(80, "HTTP", "closed", "closed"),
            accessibility(443, "HTTPS", "closed", "filtered"),
            accessibility(5432, "PostgreSQL", "open", "open"),
        ],
        "location": "Frankfurt, Hesse",
        "country": "Germany",
        "provider": "Example ISP",
        "service_category": "Hosting Provider",
        "metadata": {
            "location": "Frankfurt, Hesse",
            "country": "Germany",
            "provider": "Example ISP",
            "service_category": "Hosting Provider",
        },
        "testing_techniques": [],
        "risk_level": "high",
        "risk_summary": (
            "High: PostgreSQL on 5432 (database listener); SSH reachable on 22. 3 of 4 ports answered; 1 probe timed out."
        ),
        "recommendation": (
            "Bind to private addresses; require TLS and strong authentication. "
            "Keys only; restrict source addresses or put it behind a VPN."
        ),
        "schema_version": 2,
        "outcome": "done",
        "error": None,
        "started_at": "2026-11-24T09:14:02.120000Z",
        "finished_at": "2026-11-24T09:14:04.120000Z",
        "notes": ["lower case"],
        "port_states": PORT_STATES,
        "addresses": [
            {
                "address": "192.0.2.1", "is_global": True, "open_ports": [22, 5432], "answers_everywhere": None,
                "port_states": PORT_STATES,
                "location": "Frankfurt, Hesse", "country": "Germany", "provider": "Example ISP",
                "service_category": "Hosting Provider", "country_code": "DE", "organisation": "Example Org",
                "asn": 64500, "as_name": "EXAMPLE", "network": None, "host_names": None, "abuse_contact": None,
                "cloud_provider": None, "cloud_service": None, "cloud_region": None, "services": [],
                "vulnerabilities": None, "end_of_life": None,
            }
        ],
        "sources": [
            {
                "address": "192.0.2.1", "source": "ip-api", "state": "ok", "reason": "",
                "observed_at": "2026-11-24T09:14:02.120000Z", "is_cached": False, "contacted": [],
                "facts": {name: value for name, value in asdict(FACTS).items() if value is not None},
            }
        ],
        "risk_score": 34,
        "ruleset_version": default_pack().version,
        "findings": verdict_dict(REPORTS["open"].verdict)["findings"],
        "completeness": {
            "ports_answered": 3, "ports_tested": 4, "sources_answered": 1, "sources_asked": 1,
            "doubts": ["1 of 4 ports did not answer (443)."],
        },
        "deterministic_summary": None,
        "ai": {
            "state": "deterministic", "reason": "", "model": None, "citations": [], "cited_facts": [],
            "finish_reason": "", "usage": {},
        },
        "rescored": [],
    }  # fmt: skip


PORT_STATES = {
    "open": "22,5432", "closed": "80", "filtered": "443", "unreachable": "", "error": "", "not_tested": "", "refused": "",
}  # fmt: skip


def accessibility(port: int, service: str, status: str, state: str) -> dict[str, Any]:
    return {
        "port": port, "service": service, "status": status, "state": state,
        "reason": "why", "attempts": 2, "latency_ms": 1.24,
    }  # fmt: skip


def test_a_name_that_does_not_resolve_has_the_fixed_values():
    result = served(REPORTS["unresolved"])
    fixed = {
        "target": "Shop.invalid", "ip_address": "unknown", "availability": False, "publicly_exposed": False,
        "open_ports": [], "accessibility_tests": [], "risk_level": "unknown",
        "risk_summary": "Failed to resolve shop.invalid: no such name", "recommendation": None,
        "location": None, "country": None, "provider": None, "service_category": None,
        "outcome": "error", "error": {"code": "resolve_failed", "detail": "Failed to resolve shop.invalid: no such name"},
    }  # fmt: skip
    assert {field: result[field] for field in fixed} == fixed
    assert set(result["metadata"].values()) == {None}


def test_a_refusal_is_unknown_and_says_that_nothing_was_sent():
    result = served(REPORTS["refused"])
    assert (result["outcome"], result["risk_level"]) == ("refused", "unknown")
    assert result["risk_summary"] == "10.0.0.1 is outside your scope. Not one packet went to it."


def test_an_address_that_was_refused_by_its_number_is_known():
    target = Target(kind=TargetKind.IP, text="10.0.0.1", host="10.0.0.1", address=ip_address("10.0.0.1"))
    assert served(unscanned(Outcome.REFUSED, "refused_scope", "Outside.", target))["ip_address"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("flags", "category"),
    [
        ({"is_proxy": True, "is_mobile": True, "is_hosting": True}, "Proxy / VPN"),
        ({"is_proxy": False, "is_mobile": True, "is_hosting": True}, "Mobile Network"),
        ({"is_hosting": True}, "Hosting Provider"),
        ({"is_proxy": False, "is_mobile": False, "is_hosting": False}, None),
        ({}, None),
        ({"is_cdn": True, "cloud_provider": "Example Cloud", "is_hosting": True}, "CDN"),
        ({"cloud_provider": "Example Cloud", "cloud_region": "eu-1", "is_proxy": True}, "Cloud (eu-1)"),
        ({"cloud_provider": "Example Cloud", "is_tor_exit": True}, "Cloud"),
        ({"is_tor_exit": True, "is_proxy": True}, "Tor exit"),
        ({"as_name": "EXAMPLE-HOSTING, DE"}, "Hosting Provider"),
        ({"as_name": "EXAMPLE-HOSTING, DE", "is_hosting": False}, None),
        ({"as_name": "EXAMPLE-HOSTING, DE", "is_mobile": True}, "Mobile Network"),
        ({"as_name": "GHOSTINGS"}, None),
    ],
)
def test_the_first_true_flag_is_the_category(flags, category):
    source = replace(OK, facts=Facts(**flags))
    assert served(report(address(closed=(22,), sources=(source,))))["service_category"] == category


@pytest.mark.parametrize(
    ("facts", "location", "provider"),
    [
        (Facts(city="Frankfurt"), "Frankfurt", None),
        (Facts(region="Hesse", organisation="Org"), "Hesse", "Org"),
        (Facts(isp="ISP", organisation="Org"), None, "ISP"),
    ],
)
def test_missing_parts_are_left_out(facts, location, provider):
    result = served(report(address(closed=(22,), sources=(replace(OK, facts=facts),))))
    assert (result["location"], result["provider"]) == (location, provider)


def test_the_first_source_that_says_something_is_believed():
    first = replace(OK, source="first", facts=Facts(country="Norway"))
    broken = replace(OK, source="broken", state=SourceState.FAILED, facts=Facts(country="Nowhere", city="Nowhere"))
    result = served(report(address(closed=(22,), sources=(broken, first, OK))))
    assert (result["country"], result["location"]) == ("Norway", "Frankfurt, Hesse")


def test_a_region_is_that_of_its_own_cloud():
    one = replace(OK, facts=Facts(cloud_provider="One", country="Norway"))
    two = replace(OK, facts=Facts(cloud_provider="Two", cloud_region="mars-1", network="192.0.2.0/24"))
    result = served(report(address(closed=(22,), sources=(one, two))))
    assert result["service_category"] == "Cloud"
    assert {name: result["addresses"][0][name] for name in ("cloud_provider", "cloud_region", "network", "country")} == {
        "cloud_provider": "One", "cloud_region": None, "network": "192.0.2.0/24", "country": "Norway",
    }  # fmt: skip


def test_each_source_says_only_what_it_knows_and_who_was_told():
    asked = replace(OK, source="asked", facts=Facts(is_proxy=False, seen_ports=(22, 80)), contacted=("api.invalid:443",))
    down = SourceResult(source="down", state=SourceState.FAILED, reason="HTTP 503")
    sources = served(report(address(closed=(22,), sources=(asked, down))))["sources"]
    assert [source["facts"] for source in sources] == [{"is_proxy": False, "seen_ports": [22, 80]}, {}]
    assert [source["contacted"] for source in sources] == [["api.invalid:443"], []]


def test_the_identity_is_that_of_the_first_address():
    other = replace(OK, facts=Facts(country="Norway"))
    result = served(report(address(closed=(22,), sources=()), address("2001:db8::1", closed=(22,), sources=(other,))))
    assert (result["ip_address"], result["country"]) == ("192.0.2.1", None)
    assert [found["country"] for found in result["addresses"]] == [None, "Norway"]


def test_the_best_state_of_a_port_wins_over_addresses():
    for n, better in enumerate(BEST_FIRST):
        for worse in BEST_FIRST[n:]:
            result = served(report(address(**{worse: (22,)}), address("2001:db8::1", **{better: (22,)})))
            assert result["port_states"][better] == "22"
            assert [test["state"] for test in result["accessibility_tests"]] == [better]


def test_every_state_of_a_port_has_its_place():
    assert set(BEST_FIRST) == set(PortState)


def test_an_open_port_on_a_private_address_is_available_and_not_exposed():
    result = served(report(address("10.0.0.1", is_global=False, open=(22,)), address(closed=(22,))))
    assert (result["availability"], result["publicly_exposed"]) == (True, False)


def test_a_host_without_an_open_port_is_not_exposed():
    result = served(REPORTS["closed"])
    assert (result["availability"], result["publicly_exposed"]) == (False, False)


def test_up_to_a_thousand_ports_are_listed_each():
    result = served(report(address(open=(1,), closed=tuple(range(2, 900)), filtered=tuple(range(900, 1001)))))
    assert [test["port"] for test in result["accessibility_tests"]] == list(range(1, 1001))


def test_above_that_only_the_open_ones_are_and_the_states_stay_complete():
    full = report(address(open=(1, 65535), closed=tuple(range(2, 65535, 2)), filtered=tuple(range(3, 65535, 2))))
    result = served(full)
    assert [test["port"] for test in result["accessibility_tests"]] == [1, 65535]
    assert len(evidence_dict(full)["addresses"][0]["probes"]) == 2
    assert result["port_states"]["closed"].count(",") == 32766
    assert result["port_states"]["filtered"].startswith("3,5,7,")


def everywhere(found: AddressReport, *services: Service) -> AddressReport:
    return replace(found, answers_everywhere=True, services=services)


def test_of_a_host_that_answers_everywhere_only_identified_services_are_listed_and_the_states_stay_complete():
    full = report(everywhere(address(open=tuple(range(1, 65536))), HTTPS, SILENT))
    result = served(full)
    assert (result["availability"], result["publicly_exposed"]) == (True, True)
    assert result["open_ports"] == result["addresses"][0]["open_ports"] == [443]
    assert [test["port"] for test in result["accessibility_tests"]] == [443]
    assert result["port_states"]["open"] == "1-65535"
    assert result["addresses"][0]["answers_everywhere"] is True
    assert len(json.dumps(result)) < 20_000


def test_ports_of_another_address_are_listed_beside_one_that_answers_everywhere():
    result = served(
        report(everywhere(address(open=(22, 80), closed=(25,))), address("2001:db8::1", open=(22,), closed=(80,)))
    )
    assert result["open_ports"] == [22]
    assert [test["port"] for test in result["accessibility_tests"]] == [22, 25]
    assert [seen["answers_everywhere"] for seen in result["addresses"]] == [True, None]


def test_a_row_from_before_it_was_known_who_answers_everywhere_lists_all_that_is_open():
    parts = (evidence_dict(REPORTS["open"]), verdict_dict(REPORTS["open"].verdict), summary_dict(REPORTS["open"].summary))
    del parts[0]["addresses"][0]["answers_everywhere"]
    result = wire_result(*parts)
    assert (result["open_ports"], result["addresses"][0]["answers_everywhere"]) == ([22, 5432], None)


def test_listed_ports_are_counted_over_all_addresses():
    """A URL's own port can make one address of a target differ: 1,001 different ports are too many together."""
    result = served(
        report(address(open=(22,), closed=tuple(range(1000, 1999))), address("2001:db8::1", closed=tuple(range(1001, 2000))))
    )
    assert [test["port"] for test in result["accessibility_tests"]] == [22]


def test_the_deterministic_text_is_served_beside_another():
    words = replace(
        REPORTS["open"].summary,
        state=SummaryState.NO_KEY,
        text="Gemini API key not configured",
        reason="Gemini API key not configured",
    )
    result = served(replace(REPORTS["open"], summary=words))
    assert result["risk_summary"] == "Gemini API key not configured"
    assert result["deterministic_summary"] == REPORTS["open"].summary.text
    assert (result["risk_level"], result["ai"]["state"]) == ("high", "no_key")


def test_a_summary_comes_back_from_storage_as_it_was():
    words = Summary(
        state=SummaryState.WRITTEN, text="a", recommendation="b", deterministic_text="c", reason="", model="m",
        citations=("EXP-001",), cited_facts=("F1", "F4"), finish_reason="STOP", usage={"latency_ms": 7},
    )  # fmt: skip
    for summary in (words, REPORTS["open"].summary, REPORTS["unresolved"].summary):
        assert summary_from_dict(json.loads(json.dumps(summary_dict(summary)))) == summary


def test_only_what_is_known_is_stored():
    stored = evidence_dict(report(address(sources=(replace(OK, facts=Facts(is_proxy=False)),))))
    assert stored["addresses"][0]["sources"][0]["facts"] == {"is_proxy": False}


def test_times_are_utc_and_a_time_without_a_zone_is_refused():
    elsewhere = STARTED.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert evidence_dict(replace(REPORTS["closed"], started_at=elsewhere))["started_at"] == "2026-11-24T09:14:02.120000Z"
    with pytest.raises(ValueError, match="without a zone"):
        evidence_dict(replace(REPORTS["closed"], started_at=STARTED.replace(tzinfo=None)))


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), None])
def test_a_latency_that_is_no_number_is_null(latency):
    probe = Probe(22, PortState.OPEN, "syn-ack", 1, latency)
    seen = AddressReport(address=ip_address("192.0.2.1"), is_global=True, probes=(probe,))
    assert served(report(seen))["accessibility_tests"][0]["latency_ms"] is None


HTTPS = Service(
    port=443, state=ServiceState.IDENTIFIED, protocol="HTTP", product="nginx", version="1.22.1", is_tls=True,
    banner="HTTP/1.1 200",
    http=HttpFacts(status=200, server="nginx/1.22.1", cookies=(Cookie(name="sid", is_secure=True, is_http_only=False),)),
    tls=TlsFacts(version="TLSv1.3", cipher="x", legacy_versions=(), names=("a.invalid",), names_count=1, not_after=STARTED),
    elapsed_ms=40,
)  # fmt: skip
SILENT = Service(port=9999, state=ServiceState.SILENT, reason="it said nothing")


def with_services(*services: Service) -> Report:
    return report(replace(address(open=tuple(service.port for service in services)), services=services))


def test_services_are_stored_without_what_they_did_not_say_and_served_with_every_field():
    stored = evidence_dict(with_services(HTTPS, SILENT))["addresses"][0]["services"]
    assert stored[1] == {"port": 9999, "state": "silent", "reason": "it said nothing", "is_tls": False}
    assert "title" not in stored[0]["http"]
    web, silent = served(with_services(HTTPS, SILENT))["addresses"][0]["services"]
    names = {field.name for field in fields(Service)}
    assert set(web) == set(silent) == names
    assert set(web["http"]) == {field.name for field in fields(HttpFacts)}
    assert set(web["tls"]) == {field.name for field in fields(TlsFacts)}
    assert (silent["http"], silent["tls"], silent["banner"], silent["evidence"]) == (None, None, None, "")
    assert web["http"]["cookies"] == [{"name": "sid", "is_secure": True, "is_http_only": False, "same_site": None}]
    assert web["tls"]["not_after"] == "2026-11-24T09:14:02.120000Z"


def test_not_offered_and_could_not_be_asked_stay_two_things():
    unasked = replace(HTTPS, tls=replace(HTTPS.tls, legacy_versions=None))
    found = [
        served(with_services(each))["addresses"][0]["services"][0]["tls"]["legacy_versions"] for each in (HTTPS, unasked)
    ]
    assert found == [[], None]


def test_the_techniques_are_those_that_were_used():
    assert served(with_services(HTTPS, SILENT))["testing_techniques"] == ["HTTP/HTTPS Request", "SSL/TLS Handshake"]
    assert served(with_services(SILENT))["testing_techniques"] == []


def test_a_row_from_before_there_were_services_is_still_read():
    old = evidence_dict(REPORTS["open"])
    old["schema"] = 1
    del old["addresses"][0]["services"]
    result = wire_result(old, verdict_dict(REPORTS["open"].verdict), summary_dict(REPORTS["open"].summary))
    assert result["addresses"][0]["services"] == []
    assert result["testing_techniques"] == []


def test_what_a_host_says_of_its_services_has_an_end():
    talkative = replace(HTTPS, tls=replace(HTTPS.tls, names=("n" * 253,) * 100))
    many = with_services(*[replace(talkative, port=port) for port in range(1, 33)])
    stored = evidence_dict(many)["addresses"][0]["services"]
    assert [service["port"] for service in stored] == list(range(1, 33))
    assert len(json.dumps(stored)) < MAX_SERVICE_CHARS + 32 * 300
    assert ("tls" in stored[0], "tls" in stored[31]) == (True, False)


SERVICES = st.builds(
    Service,
    port=st.integers(1, 65535),
    state=st.sampled_from(ServiceState),
    reason=st.text(max_size=50),
    product=st.none() | st.text(),
    banner=st.none() | st.text(),
    evidence=st.text(max_size=50),
    http=st.none() | st.builds(HttpFacts),
    tls=st.none() | st.builds(TlsFacts, not_before=st.none(), not_after=st.none()),
)


@given(SERVICES)
def test_any_service_goes_through_storage_and_back(service):
    utc = dict.fromkeys(("not_before", "not_after"))
    service = replace(service, tls=replace(service.tls, **utc) if service.tls else None)
    (found,) = served(with_services(service))["addresses"][0]["services"]
    assert (found["port"], found["state"]) == (service.port, service.state)
    assert json.dumps(found, ensure_ascii=False).isprintable()


HOSTILE = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x00\ud800\u202e\x1b<{")), max_size=60)


@given(HOSTILE, st.lists(st.sampled_from(list(PortState)), max_size=4))
def test_nothing_that_anyone_says_gets_in_uncleaned(said, states):
    """Postgres refuses NUL and lone surrogates, terminals obey controls."""
    probes = tuple(Probe(20 + n, state, said, 1, 0.5) for n, state in enumerate(states))
    texts = dict.fromkeys(("country", "country_code", "region", "city", "isp", "organisation", "as_name"), said)
    source = SourceResult(source=said, state=SourceState.OK, reason=said, facts=Facts(**texts))
    seen = AddressReport(address=ip_address("192.0.2.1"), is_global=True, probes=probes, sources=(source,))
    target = Target(kind=TargetKind.URL, text=said, host=said, scheme=said, path=said, notes=(said,))
    words = Summary(
        state=SummaryState.FAILED, text=said, recommendation=said, deterministic_text=said, reason=said, model=said,
        citations=(said,), cited_facts=(said,), finish_reason=said, usage={said: 1},
    )  # fmt: skip
    full = replace(report(seen, target=target), outcome=Outcome.ERROR, error_code=said, error=said, summary=words)
    for text in strings([evidence_dict(full), verdict_dict(full.verdict), summary_dict(words), served(full)]):
        assert text == "" or text.isprintable()
        text.encode("utf-8")


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), *strings(item))]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_threads_never_see_the_ports_of_one_host_under_another():
    seen = REPORTS["open"].addresses[0]
    reports = [
        replace(REPORTS["open"], addresses=(replace(seen, probes=(Probe(n, PortState.OPEN, "syn-ack", 1, 1.0),)),))
        for n in (1, 2)
    ]
    wrong = []

    def look(report: Report, port: int) -> None:
        for _ in range(3000):
            if evidence_dict(report)["addresses"][0]["port_states"]["open"] != str(port):
                wrong.append(port)

    threads = [threading.Thread(target=look, args=(report, n)) for n, report in enumerate(reports, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []
