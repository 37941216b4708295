"""The wire format that existing clients rely on, and the defects of the original that must not come back.

Each test submits over HTTP, lets a slice of a worker run here, and reads over HTTP.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from scans.models import ScanJob
from scans.services.slices import run_slice
from tests.fakes import GERMAN_HOSTING, Answer, ip_api, service
from tests.patience import PATIENCE
from tests.servers import listening, public, refusing, silent

pytestmark = pytest.mark.django_db(transaction=True)

PUBLIC = "127.66.0.1"  # counts as public in the tests
TOP_LEVEL = {
    "token": str, "total_targets": int, "completed_targets": int, "status": str, "mode": str, "started_at": str,
    "finished_at": str, "results": list, "schema_version": int, "outcome": str, "scanner_version": str,
}  # fmt: skip
RESULT = {
    "target": str, "ip_address": str, "availability": bool, "publicly_exposed": bool, "open_ports": list,
    "accessibility_tests": list, "risk_level": str, "risk_summary": str, "metadata": dict, "testing_techniques": list,
    "port_states": dict, "addresses": list, "sources": list,
}  # fmt: skip
NULLABLE = ("location", "country", "provider", "service_category", "recommendation")


PATIENT = {"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE, "grace_seconds": PATIENCE}


@pytest.fixture
def scan(client, settings):
    """Submit, work, read: the finished document."""

    def run(*targets: str, path: str = "/scan", base_url: str = "http://127.0.0.1:9", **body):
        intel = replace(settings.SCANNER.intel, urls={"ip-api": base_url}, **PATIENT)
        settings.SCANNER = replace(settings.SCANNER, intel=intel)
        accepted = client.post(path, {"endpoints": targets, **body}, content_type="application/json")
        assert accepted.status_code == 202, accepted.content
        for _ in range(20):  # a slice that a slow machine does not let come to its end is followed by another
            run_slice()
            document = client.get(accepted.json()["status_url"]).json()
            if document["status"] not in ("queued", "running"):
                break
        return document

    return run


def test_every_field_of_the_original_is_there_with_its_type(scan):
    with listening(PUBLIC) as port, service(ip_api) as fake:
        document = scan(PUBLIC, ports=[port], base_url=fake.base_url)
    for name, kind in TOP_LEVEL.items():
        assert type(document[name]) is kind, name
    (result,) = document["results"]
    for name, kind in RESULT.items():
        assert type(result[name]) is kind, name
    assert all(result[name] is None or isinstance(result[name], str) for name in NULLABLE)
    (test,) = result["accessibility_tests"]
    assert {k: type(v) for k, v in test.items() if k in ("port", "service", "status")} == {
        "port": int,
        "service": str,
        "status": str,
    }
    assert document["status"] == "complete"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", document["started_at"])


def test_who_runs_the_address_stands_in_both_places(scan):
    with listening(PUBLIC) as port, service(ip_api) as fake:
        (result,) = scan(PUBLIC, ports=[port], base_url=fake.base_url)["results"]
    expected = {
        "location": "Berlin, State of Berlin",
        "country": "Germany",
        "provider": "Example Carrier AG",
        "service_category": "Hosting Provider",
    }
    assert {name: result[name] for name in expected} == expected
    assert {name: result["metadata"][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"proxy": True, "mobile": True}, {"service_category": "Proxy / VPN"}),
        ({"mobile": True, "hosting": True}, {"service_category": "Mobile Network"}),
        ({"hosting": False}, {"service_category": None}),
        ({"city": "", "regionName": "Bavaria"}, {"location": "Bavaria"}),
        ({"city": "", "regionName": ""}, {"location": None}),
        ({"isp": ""}, {"provider": "Example Hosting GmbH"}),
        ({"isp": "", "org": ""}, {"provider": None}),
    ],
)
def test_derived_fields_follow_the_original(scan, said, expected):
    def answer(request):
        return Answer.json([{**GERMAN_HOSTING, **said} for _ in request.json])

    with refusing(PUBLIC) as port, service(answer) as fake:
        (result,) = scan(PUBLIC, ports=[port], base_url=fake.base_url)["results"]
    assert {name: result[name] for name in expected} == expected


def test_a_name_that_does_not_resolve_has_the_fixed_values(scan):
    (result,) = scan("no-such-name.invalid")["results"]
    assert re.fullmatch(r"Failed to resolve no-such-name\.invalid: .+", result["risk_summary"])
    fixed = {
        "target": "no-such-name.invalid", "ip_address": "unknown", "availability": False, "publicly_exposed": False,
        "open_ports": [], "accessibility_tests": [], "risk_level": "unknown", "recommendation": None, "location": None,
        "country": None, "provider": None, "service_category": None,
    }  # fmt: skip
    assert {name: result[name] for name in fixed} == fixed


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(status=429), Answer.json([{"status": "fail", "message": "reserved range"}])]
)
def test_defect_a_a_failed_look_up_costs_its_own_fields_and_is_named(scan, answer):
    with listening(PUBLIC) as port, service(lambda _: answer) as fake:
        (result,) = scan(PUBLIC, ports=[port], base_url=fake.base_url)["results"]
    assert (result["ip_address"], result["open_ports"]) == (PUBLIC, [port])
    assert result["country"] is None
    assert result["sources"][0]["state"] in ("failed", "rate_limited", "empty")
    if result["sources"][0]["state"] != "empty":
        assert "ip-api" in result["risk_summary"]


def test_defect_b_refusal_and_silence_are_told_apart(scan):
    with listening() as open_port, refusing() as closed, silent() as dark:
        (result,) = scan("127.0.0.1", ports=[open_port, closed, dark.port])["results"]
    found = {test["port"]: (test["status"], test["state"]) for test in result["accessibility_tests"]}
    assert found == {open_port: ("open", "open"), closed: ("closed", "closed"), dark.port: ("closed", "filtered")}
    assert result["port_states"]["open"] == str(open_port)
    assert result["port_states"]["filtered"] == str(dark.port)


def test_defect_c_ipv6_is_scanned(scan):
    with listening("::1") as port:
        (result,) = scan("::1", ports=[port])["results"]
    assert (result["ip_address"], result["open_ports"]) == ("::1", [port])


def test_defect_d_the_port_of_a_url_is_probed(scan):
    with listening() as port, refusing() as other:
        (result,) = scan(f"https://127.0.0.1:{port}/path", ports=[other])["results"]
    assert result["open_ports"] == [port]
    assert result["target"] == f"https://127.0.0.1:{port}/path"


def test_defect_e_a_public_database_is_high_and_ssh_alone_is_not(scan):
    with listening(public(9), 6379), listening(public(10), 2222):
        redis, ssh = scan(public(9), public(10), ports=[6379, 2222])["results"]
    assert redis["risk_level"] == "high"
    assert ssh["risk_level"] == "low"


def test_defect_f_a_dead_host_is_not_publicly_exposed(scan):
    with refusing(PUBLIC) as port, listening("127.0.0.1") as local:
        dead, private = scan(PUBLIC, "127.0.0.1", ports=[port, local])["results"]
    assert (dead["availability"], dead["publicly_exposed"]) == (False, False)
    assert (private["availability"], private["publicly_exposed"]) == (True, False)


def test_defect_g_without_a_model_the_level_and_the_words_are_deterministic(scan):
    with listening(public(9), 6379):
        (result,) = scan(public(9), ports=[6379])["results"]
    assert result["risk_level"] == "high"
    assert result["risk_summary"]
    assert result["ai"]["state"] == "deterministic"


def test_defect_h_a_job_has_one_vocabulary(scan, client):
    accepted = client.post("/scan", {"endpoints": ["127.0.0.1", "x.invalid"]}, content_type="application/json").json()
    seen = [client.get(accepted["status_url"]).json()["status"]]
    run_slice()
    seen.append(client.get(accepted["status_url"]).json()["status"])
    assert seen == ["queued", "complete"]
    assert client.get(accepted["status_url"]).json()["outcome"] == "partial"


def test_defect_i_every_target_is_a_row_from_the_moment_of_the_reply(client):
    token = client.post("/scan", {"endpoints": ["127.0.0.0/30"]}, content_type="application/json").json()["token"]
    assert ScanJob.objects.get(token=token).targets.count() == 4


def test_defect_j_many_addresses_are_one_request_and_later_ones_come_from_the_cache(scan):
    with service(ip_api) as fake:
        scan("127.66.0.0/26", ports=[1], base_url=fake.base_url)
        (again,) = scan("127.66.0.5", ports=[1], base_url=fake.base_url)["results"]
    assert len(fake.requests) == 1
    assert again["sources"][0]["is_cached"] is True


@pytest.mark.parametrize(("path", "body"), [("/scan", {"generate_ai_summary": True}), ("/ai-agent", {})])
def test_defect_k_without_a_key_the_text_says_so_and_the_level_stands(scan, path, body):
    with listening(public(9), 6379):
        (result,) = scan(public(9), path=path, ports=[6379], **body)["results"]
    assert result["risk_summary"] == "Gemini API key not configured"
    assert result["risk_level"] == "high"
    assert result["ai"]["state"] == "no_key"
    assert "6379" in result["deterministic_summary"]


def test_defect_l_an_address_out_of_scope_is_refused_with_its_rule_and_remedy(scan):
    (result,) = scan("169.254.169.254")["results"]
    assert result["outcome"] == "refused"
    assert {test["state"] for test in result["accessibility_tests"]} == {"refused"}
    assert result["risk_level"] == "unknown"
    assert "169.254.169.254" in result["risk_summary"]


def test_results_stand_in_the_order_submitted(scan):
    with refusing() as port:
        targets = ["127.0.0.9", "x.invalid", "127.0.0.0/30", "10.0.0.1", "localhost"]
        results = scan(*targets, ports=[port])["results"]
    assert [result["target"] for result in results] == [
        "127.0.0.9", "x.invalid", "127.0.0.0", "127.0.0.1", "127.0.0.2", "127.0.0.3", "10.0.0.1", "localhost",
    ]  # fmt: skip


def test_above_a_thousand_ports_only_the_open_ones_are_listed_and_the_states_stay_complete(scan):
    with listening() as port:
        (result,) = scan("127.0.0.1", ports="all")["results"]
    assert port in result["open_ports"]
    assert [test["port"] for test in result["accessibility_tests"]] == result["open_ports"]
    counted = sum(len(range(int(a), int(b or a) + 1)) for states in result["port_states"].values() for a, b in spans(states))
    assert counted == 65535


def spans(compact: str) -> list[tuple[str, str]]:
    return [(a, b) for a, _, b in (part.partition("-") for part in compact.split(",") if part)]
