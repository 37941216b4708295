"""POST /scan and /ai-agent: what is accepted, what is refused, and in which shape."""

from __future__ import annotations

import json

import pytest

from scans.models import ScanJob

pytestmark = pytest.mark.django_db

PROBLEM_KEYS = {"type", "title", "status", "detail", "code"}


def post(client, body, path: str = "/scan", content_type: str = "application/json"):
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(path, data, content_type=content_type)


def problem(reply, status: int) -> dict:
    assert reply.status_code == status, reply.content
    assert reply["Content-Type"] == "application/problem+json"
    found = reply.json()
    assert set(found) - {"errors"} == PROBLEM_KEYS
    assert found["status"] == status
    return found


@pytest.mark.parametrize(
    ("path", "mode", "message"),
    [
        ("/scan", "standard", "Scan accepted. Poll the status endpoint for results."),
        ("/ai-agent", "ai", "AI-powered assessment started. Use the scan status endpoint to check the audit."),
    ],
)
def test_a_submission_is_answered_202_with_a_flat_object_of_strings(client, path, mode, message):
    reply = post(client, {"ip_addresses": ["127.0.0.1"], "endpoints": ["localhost"]}, path)
    assert reply.status_code == 202
    job = ScanJob.objects.get()
    assert reply.json() == {"token": job.token, "status_url": f"/scan/{job.token}", "message": message}
    assert len(job.token) == 32
    assert int(job.token, 16) >= 0
    assert reply["Location"] == f"/scan/{job.token}"
    assert int(reply["Retry-After"]) > 0
    assert f"</jobs/{job.token}>" in reply["Link"]
    assert job.mode == mode


def test_targets_are_the_addresses_and_then_the_endpoints_in_order_and_stripped(client):
    post(client, {"endpoints": [" localhost ", "http://localhost:81/x"], "ip_addresses": [" 127.0.0.2", "127.0.0.1 "]})
    assert list(ScanJob.objects.get().targets.values_list("target", flat=True)) == [
        "127.0.0.2",
        "127.0.0.1",
        "localhost",
        "http://localhost:81/x",
    ]


@pytest.mark.parametrize(
    "body", [{"ip_addresses": None, "endpoints": ["localhost"]}, {"ip_addresses": ["127.0.0.1"], "endpoints": None}]
)
def test_either_list_may_be_null(client, body):
    assert post(client, body).status_code == 202


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, [""]),
        ({"ip_addresses": [], "endpoints": None}, [""]),
        ({"ip_addresses": ["127.0.0.1", "", "  "]}, ["/ip_addresses/1", "/ip_addresses/2"]),
        ({"ip_addresses": [1, True, None, {}, []]}, [f"/ip_addresses/{n}" for n in range(5)]),
        ({"ip_addresses": "127.0.0.1"}, ["/ip_addresses"]),
        ({"ip_addresses": ["127.0.0.1"], "generate_ai_summary": "perhaps"}, ["/generate_ai_summary"]),
        ({"ip_addresses": ["127.0.0.1"], "generate_ai_summary": None}, ["/generate_ai_summary"]),
        (
            {"ip_addresses": ["127.0.0.1", "999.1.1.1"], "endpoints": ["ok.invalid", "a b"]},
            ["/ip_addresses/1", "/endpoints/1"],
        ),
        ({"endpoints": ["127.0.0.1\u0000.example"]}, ["/endpoints/0"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": []}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": [0]}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": ["22"]}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": [True]}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": "22-"}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": "nonsense"}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": "65536"}, ["/ports"]),
        ({"ip_addresses": ["127.0.0.1"], "ports": 22}, ["/ports"]),
        ([], [""]),
        ("text", [""]),
        (7, [""]),
    ],
)
def test_bad_input_is_a_422_that_points_to_each_bad_item_and_creates_nothing(client, body, pointers):
    found = problem(post(client, json.dumps(body)), 422)
    assert [error["pointer"] for error in found["errors"]] == pointers
    assert all(error["code"] and error["detail"] for error in found["errors"])
    assert ScanJob.objects.count() == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"ip_addresses": ["127.0.0.1"]', b'{"a": NaN}', b"[" * 100_000]
)
def test_what_is_no_json_is_a_400(client, body):
    problem(post(client, body), 400 if body else 422)
    assert ScanJob.objects.count() == 0


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_another_content_type_is_a_415_so_that_no_foreign_form_can_submit(client, content_type):
    problem(post(client, b'{"ip_addresses": ["127.0.0.1"]}', content_type=content_type), 415)
    assert ScanJob.objects.count() == 0


def test_a_body_over_the_limit_is_a_413_with_the_number(client, settings):
    settings.SCAN_MAX_BODY_BYTES = 1000
    found = problem(post(client, {"ip_addresses": ["127.0.0.1"] * 500}), 413)
    assert "1,000" in found["detail"]


def test_too_many_targets_is_a_422_with_the_number(client, settings):
    settings.SCAN_MAX_TARGETS = 16
    found = problem(post(client, {"ip_addresses": ["127.0.0.0/8"]}), 422)
    assert "16" in found["errors"][0]["detail"]
    assert found["errors"][0]["pointer"] == "/ip_addresses/0"


def test_unknown_fields_are_ignored_and_named_in_the_jobs_warnings(client):
    token = post(client, {"ip_addresses": ["127.0.0.1"], "priority": 9, "colour": "red"}).json()["token"]
    assert client.get(f"/scan/{token}").json()["warnings"] == ["Unknown fields were ignored: 'priority', 'colour'"]


@pytest.mark.parametrize(
    ("ports", "stored"),
    [
        ([443, 22, 22], "22,443"),
        ("22,80,8000-8002", "22,80,8000-8002"),
        ("all", "1-65535"),
        (
            "default",
            "21-22,25,53,80,110,143,443,465,587,993,995,1433,1521,1723,2049,2375,3306,3389,5432,5900,6379,8080,8443",
        ),
    ],
)
def test_ports_are_a_list_text_or_a_profile(client, ports, stored):
    assert post(client, {"ip_addresses": ["127.0.0.1"], "ports": ports}).status_code == 202
    assert ScanJob.objects.get().ports == stored


@pytest.mark.parametrize(
    ("path", "body", "choice"),
    [
        ("/scan", {}, "default"),
        ("/scan", {"generate_ai_summary": True}, "asked"),
        ("/scan", {"generate_ai_summary": False}, "off"),
        ("/ai-agent", {}, "asked"),
        ("/ai-agent", {"generate_ai_summary": False}, "off"),
    ],
)
def test_who_asked_for_the_model_is_kept(client, path, body, choice):
    post(client, {"ip_addresses": ["127.0.0.1"], **body}, path)
    assert ScanJob.objects.get().ai == choice


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_another_method_is_a_405_problem(client, method):
    problem(getattr(client, method)("/scan"), 405)


def test_an_unexpected_error_is_a_500_problem_without_its_text(client, monkeypatch, caplog):
    def broken(_):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("scans.api.viewsets.submit_scan", broken)
    found = problem(post(client, {"ip_addresses": ["127.0.0.1"]}), 500)
    assert "secret" not in json.dumps(found)
    assert "a secret of the inside" in caplog.text
