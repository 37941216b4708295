"""POST /scan and /ai-agent: what is accepted, what is refused, and in which shape."""

from __future__ import annotations

import json

import pytest

from scans.core.ports import PROFILES, compact
from scans.models import AuditEvent, IdempotencyKey, ScanJob

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
        ({"ip_addresses": ["127.0.0.1"], "label": 5}, ["/label"]),
        ({"ip_addresses": ["127.0.0.1"], "label": "x" * 101}, ["/label"]),
        ({"ip_addresses": ["127.0.0.1"], "label": "a\u0000b"}, ["/label"]),
        ({"ip_addresses": ["127.0.0.1"], "label": "\ud800"}, ["/label"]),
        ({"ip_addresses": ["127.0.0.1"], "tags": "weekly"}, ["/tags"]),
        ({"ip_addresses": ["127.0.0.1"], "tags": ["ok", "", "\u200b", "x" * 41]}, ["/tags/1", "/tags/2", "/tags/3"]),
        ({"ip_addresses": ["127.0.0.1"], "tags": [str(n) for n in range(21)]}, ["/tags"]),
        ({"ip_addresses": ["127.0.0.1"], "on_invalid": "ignore"}, ["/on_invalid"]),
        ({"ip_addresses": ["127.0.0.1"], "on_invalid": "\ud800"}, ["/on_invalid"]),
        ({"ip_addresses": ["127.0.0.1"], "dry_run": "perhaps"}, ["/dry_run"]),
        ({"ip_addresses": ["\ud800.invalid"]}, ["/ip_addresses/0"]),
        ({"ip_addresses": ["999.1.1.1"], "on_invalid": "skip"}, ["/ip_addresses/0"]),
        ({"ip_addresses": ["999.1.1.1"], "dry_run": True}, ["/ip_addresses/0"]),
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
        ("top100", compact(PROFILES["top100"])),
        ("exposure", compact(PROFILES["exposure"])),
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


def test_label_and_tags_stand_in_the_document_cleaned_and_without_repeats(client):
    body = {"ip_addresses": ["127.0.0.1"], "label": " Office\u202e  1\n", "tags": ["weekly", "dmz ", "weekly"]}
    document = client.get(post(client, body).json()["status_url"]).json()
    assert document["label"] == "Office 1"
    assert document["tags"] == ["dmz", "weekly"]


def test_with_skip_the_rest_is_scanned_and_the_document_says_what_was_left_out_and_why(client):
    body = {
        "ip_addresses": ["127.0.0.1", "", "999.1.1.1"],
        "endpoints": ["http://user:hunter22@a b/?token=sesame99", "localhost"],
        "on_invalid": "skip",
    }
    reply = post(client, body)
    assert reply.status_code == 202
    assert set(reply.json()) == {"token", "status_url", "message"}
    document = client.get(reply.json()["status_url"]).json()
    assert document["total_targets"] == 2
    assert [(item["index"], item["pointer"], item["code"]) for item in document["rejected"]] == [
        (1, "/ip_addresses/1", "empty"),
        (2, "/ip_addresses/2", "bad_address"),
        (3, "/endpoints/0", "white_space"),
    ]
    assert document["rejected"][1]["text"] == "999.1.1.1"
    assert all(item["reason"] for item in document["rejected"])
    assert "3 items were left out because they cannot be scanned" in document["warnings"]
    stored = json.dumps(document) + str(list(ScanJob.objects.values()))
    assert "hunter22" not in stored
    assert "sesame99" not in stored


def test_with_skip_a_list_that_nobody_has_read_to_its_end_is_refused(client):
    found = problem(post(client, {"ip_addresses": ["127.0.0.1", *["x y"] * 1001], "on_invalid": "skip"}), 422)
    assert "not read" in found["detail"] + str(found["errors"][-1])
    assert ScanJob.objects.count() == 0


def test_more_probes_than_allowed_is_a_422_with_the_number(client, settings):
    settings.SCAN_MAX_PROBES = 100
    assert post(client, {"ip_addresses": ["127.0.0.0/30"], "ports": "1-25"}).status_code == 202
    found = problem(
        post(client, {"ip_addresses": ["127.0.0.0/30"], "endpoints": ["http://localhost:99"], "ports": "1-25"}), 422
    )
    (error,) = found["errors"]
    assert (error["pointer"], error["code"]) == ("/ports", "too_many_probes")
    assert "126" in error["detail"]
    assert "100" in error["detail"]


def test_targets_out_of_scope_need_no_probes(client, settings):
    settings.SCAN_MAX_PROBES = 10
    assert post(client, {"ip_addresses": ["10.0.0.0/24", "127.0.0.1"], "ports": "1-10"}).status_code == 202


@pytest.mark.parametrize("path", ["/scan", "/ai-agent"])
def test_a_dry_run_says_what_would_be_scanned_and_what_the_policy_says_and_stores_nothing(client, path):
    body = {
        "ip_addresses": ["127.0.0.0/31", "10.0.0.1", "127.0.0.1"],
        "endpoints": ["https://Example.invalid:8443/x", "b a d"],
        "ports": "22,80",
        "on_invalid": "skip",
        "dry_run": True,
    }
    reply = client.post(path, body, content_type="application/json", headers={"Idempotency-Key": "one"})
    assert reply.status_code == 200
    found = reply.json()
    assert found["counts"] == {"targets": 4, "allowed": 2, "refused": 1, "judged_later": 1, "folded": 1, "rejected": 1}
    assert (found["dry_run"], found["ports"], found["probes"]) == (True, "22,80", 2 + 2 + 3)
    first, _, private, name = found["targets"]
    assert (first["text"], first["kind"], first["host"], first["port"]) == ("127.0.0.0", "ip", "127.0.0.0", None)
    assert (first["policy"]["allowed"], first["policy"]["rule"]) == (True, "operator-allow")
    assert (private["policy"]["allowed"], private["policy"]["rule"]) == (False, "private")
    assert "SCAN_ALLOW_NETWORKS" in private["policy"]["remedy"]
    assert (name["host"], name["port"], name["policy"]["allowed"]) == ("example.invalid", 8443, None)
    assert name["policy"]["reason"] == "Names are judged after resolution."
    assert len({target["key"] for target in found["targets"]}) == 4
    assert found["rejected"][0]["pointer"] == "/endpoints/1"
    assert "Location" not in reply
    for model in (ScanJob, AuditEvent, IdempotencyKey):
        assert model.objects.count() == 0


def test_a_reply_is_json_whatever_a_client_would_prefer(client):
    for accept in ("text/html", "application/xml", "nonsense", "text/csv;q=0"):
        reply = client.get("/scans", headers={"Accept": accept})
        assert (reply.status_code, reply["Content-Type"]) == (200, "application/json")


def test_options_tells_the_methods_and_head_has_no_body(client):
    token = post(client, {"ip_addresses": ["127.0.0.1"]}).json()["token"]
    for path, methods in {
        "/scan": {"POST", "OPTIONS"},
        "/scans": {"GET", "HEAD", "OPTIONS"},
        f"/scan/{token}": {"GET", "HEAD", "DELETE", "OPTIONS"},
        f"/scan/{token}/cancel": {"POST", "OPTIONS"},
        f"/scan/{token}/export.csv": {"GET", "HEAD", "OPTIONS"},
    }.items():
        reply = client.options(path)
        assert reply.status_code == 200
        assert set(reply["Allow"].split(", ")) == methods
        assert reply["Cache-Control"] == "private, no-store"
        if "HEAD" in methods:
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head["Content-Type"]) == (get.status_code, get["Content-Type"])


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


def test_a_list_far_too_long_is_one_error_and_not_one_for_each_item(client):
    found = problem(post(client, {"ip_addresses": [1] * 20_000}), 422)
    assert [(error["pointer"], error["code"]) for error in found["errors"]] == [("/ip_addresses", "too_many")]


def test_a_body_in_chunks_is_a_411(client):
    reply = client.post("/scan", b"{}", content_type="application/json", headers={"transfer-encoding": "chunked"})
    problem(reply, 411)
