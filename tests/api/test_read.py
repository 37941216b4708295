"""GET /scan/<token> and the addresses around the API."""

from __future__ import annotations

import pytest
from django.utils import timezone

from scans.models import ScanJob, WorkerHeartbeat
from scans.services import heartbeats

pytestmark = pytest.mark.django_db


def submit(client, **body) -> str:
    return client.post("/scan", {"ip_addresses": ["127.0.0.1"], **body}, content_type="application/json").json()["token"]


@pytest.mark.parametrize(
    "token", ["0" * 32, "A" * 32, "x", "%00", "0" * 33, "%F0%9F%98%80", "' or 1=1 --", "0" * 5000], ids=lambda t: t[:12]
)
def test_an_unknown_token_is_a_404_with_the_text_that_clients_know(client, token):
    reply = client.get(f"/scan/{token}")
    assert reply.status_code == 404
    assert reply["Content-Type"] == "application/problem+json"
    assert reply.json()["detail"] == "Token not found."


@pytest.mark.parametrize(
    "path", ["/scan/", "/scan/a/b", "/scans/", "/scans/x", "/ai-agent/", "/ai-agent/x", "/api/", "/api/nothing"]
)
def test_an_unknown_address_under_the_api_is_a_problem_and_not_a_page(client, path):
    for reply in (client.get(path), client.post(path, {}, content_type="application/json")):
        assert reply.status_code == 404
        assert reply["Content-Type"] == "application/problem+json"


def test_a_running_job_says_when_to_ask_again_and_no_cache_answers_for_it(client):
    reply = client.get(f"/scan/{submit(client)}")
    assert int(reply["Retry-After"]) == 2
    assert reply["Cache-Control"] == "private, no-cache"  # kept for one question: is it still the same?
    document = reply.json()
    assert (document["status"], document["completed_targets"], document["results"]) == ("queued", 0, [])
    assert document["progress"] == {"done": 0, "total": 1, "percent": 0}
    assert document["finished_at"] is None
    assert document["started_at"].endswith("Z")


def test_a_job_that_nobody_works_on_is_looked_after_when_it_is_read(client, monkeypatch):
    token = submit(client)
    reaped = []
    monkeypatch.setattr("scans.api.viewsets.reap", lambda: reaped.append(1))
    client.get(f"/scan/{token}")
    assert reaped == []
    ScanJob.objects.update(created_at=timezone.now() - timezone.timedelta(minutes=1))
    client.get(f"/scan/{token}")
    assert reaped == [1]


def test_the_process_is_healthy(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_without_a_worker_the_installation_is_not_ready_and_says_what_to_do(client):
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert "manage.py worker" in reply.json()["reasons"][0]


def test_with_a_worker_it_is_ready(client):
    import uuid

    with heartbeats.beating(uuid.uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
        assert client.get("/readyz").json() == {"status": "ok", "reasons": []}


def test_the_documentation_is_served_from_here(client):
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert "https://" not in page.content.decode()
    assert client.get("/docs")["Location"] == "/api/docs/"
    assert client.get("/openapi.json")["Location"] == "/api/schema/?format=json"


def test_the_schema_names_every_operation(client):
    schema = client.get("/api/schema/?format=json").json()
    operations = {
        operation["operationId"]: f"{method} {path}"
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == {
        "scan_submit": "post /scan",
        "ai_agent_submit": "post /ai-agent",
        "scans_list": "get /scans",
        "scan_read": "get /scan/{token}",
        "scan_delete": "delete /scan/{token}",
        "scan_results": "get /scan/{token}/results",
        "scan_egress": "get /scan/{token}/egress",
        "scan_prompts": "get /scan/{token}/prompts",
        "scan_cancel": "post /scan/{token}/cancel",
        "scan_rerun": "post /scan/{token}/rerun",
        "scan_export_json": "get /scan/{token}/export.json",
        "scan_export_ndjson": "get /scan/{token}/export.ndjson",
        "scan_export_csv": "get /scan/{token}/export.csv",
        "sources": "get /sources.json",
        "healthz": "get /healthz",
        "readyz": "get /readyz",
    }
    replies = schema["paths"]["/scan"]["post"]["responses"]
    assert set(replies) >= {"200", "202", "400", "401", "403", "409", "413", "415", "422", "429", "503"}


def test_the_schema_has_no_warnings(capsys):
    from django.core.management import call_command

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")
