"""Cancel, rerun, delete: what each answers in every state of a job, and to whom."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from scans.models import AuditEvent, JobTag, ScanJob
from tests.factories import make_failure, make_job, make_report, make_result

pytestmark = pytest.mark.django_db
UNKNOWN = "0" * 32
CALLS = [
    ("post", "/scan/{}/cancel"),
    ("post", "/scan/{}/rerun"),
    ("get", "/scan/{}"),
    ("get", "/scan/{}/results"),
    ("get", "/scan/{}/egress"),
    ("get", "/scan/{}/prompts"),
    ("get", "/scan/{}/export.json"),
    ("get", "/scan/{}/export.ndjson"),
    ("get", "/scan/{}/export.csv"),
]


def problem(reply, status: int) -> dict:
    assert reply.status_code == status, reply.content
    assert reply["Content-Type"] == "application/problem+json"
    assert reply["Cache-Control"] == "private, no-store"
    return reply.json()


def finished_job() -> ScanJob:
    """One target scanned, one not."""
    job = make_job("127.66.0.1", "x.invalid", label="Office", mode="ai")
    JobTag.objects.create(job=job, name="weekly")
    make_result(make_report("127.66.0.1"), job=job)
    make_result(make_failure("x.invalid"), job=job)
    return job


def test_a_cancelled_job_is_a_failed_one_to_old_clients_and_tells_new_ones_the_truth(client):
    job = make_job("127.66.0.1", "127.66.0.2")
    make_result(make_report("127.66.0.1"), job=job)
    reply = client.post(f"/scan/{job.token}/cancel")
    assert reply.status_code == 202
    assert set(reply.json()) == {"token", "status_url", "message"}
    assert reply.json()["token"] == job.token
    document = client.get(f"/scan/{job.token}").json()
    assert (document["status"], document["state"], document["outcome"]) == ("failed", "cancelled", "cancelled")
    assert (document["completed_targets"], document["total_targets"], document["eta_seconds"]) == (2, 2, 0)
    assert [result["outcome"] for result in document["results"]] == ["done", "cancelled"]
    assert AuditEvent.objects.filter(action="cancel", job_token=job.token).count() == 1


def test_a_final_job_cannot_be_cancelled(client):
    job = finished_job()
    assert problem(client.post(f"/scan/{job.token}/cancel"), 409)["code"] == "conflict"
    other = make_job("127.66.0.1")
    assert client.post(f"/scan/{other.token}/cancel").status_code == 202
    problem(client.post(f"/scan/{other.token}/cancel"), 409)


@pytest.mark.parametrize(("query", "targets"), [("", ["127.66.0.1", "x.invalid"]), ("?only=failed", ["x.invalid"])])
def test_a_rerun_is_a_new_job_with_the_same_wishes(client, query, targets):
    job = finished_job()
    reply = client.post(f"/scan/{job.token}/rerun{query}")
    assert reply.status_code == 202
    token = reply.json()["token"]
    assert token != job.token
    assert reply["Location"] == reply.json()["status_url"] == f"/scan/{token}"
    again = ScanJob.objects.get(token=token)
    assert list(again.targets.order_by("ordinal").values_list("target", flat=True)) == targets
    document = client.get(f"/scan/{token}").json()
    assert (document["label"], document["tags"], document["mode"]) == ("Office", ["weekly"], "ai")
    assert document["ports"] == job.ports


def test_a_job_that_runs_or_failed_nowhere_is_not_rerun(client):
    running = make_job("127.66.0.1")
    problem(client.post(f"/scan/{running.token}/rerun"), 409)
    make_result(make_report("127.66.0.1"), job=running)
    problem(client.post(f"/scan/{running.token}/rerun?only=failed"), 409)
    assert ScanJob.objects.count() == 1


@pytest.mark.parametrize("query", ["only=done", "only=", "only=failed&only=failed", "force=1"])
def test_a_rerun_that_cannot_be_meant_is_a_422(client, query):
    problem(client.post(f"/scan/{finished_job().token}/rerun?{query}"), 422)
    assert ScanJob.objects.count() == 1


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_deleted_job_is_gone_and_deleting_it_again_is_no_error(client, is_finished):
    job = finished_job() if is_finished else make_job("127.66.0.1")
    for _ in range(2):
        reply = client.delete(f"/scan/{job.token}")
        assert (reply.status_code, reply.content) == (204, b"")
    assert ScanJob.objects.count() == 0
    for method, path in CALLS:
        assert problem(getattr(client, method)(path.format(job.token)), 410)["code"] == "deleted"
    assert AuditEvent.objects.filter(action="delete", job_token=job.token).count() == 1


@pytest.mark.parametrize("token", [UNKNOWN, "x", "%00", "%F0%9F%98%80", "A" * 32])
def test_an_unknown_token_is_a_404_for_every_call(client, token):
    for method, path in [*CALLS, ("delete", "/scan/{}")]:
        assert problem(getattr(client, method)(path.format(token)), 404)["detail"] == "Token not found."


def test_a_strangers_answer_is_that_of_a_token_that_never_was_before_and_after_the_end(server_profile, client):
    alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
    job = make_job("127.66.0.1", owner=alice)

    def replies(token: str) -> list[tuple[int, bytes]]:
        calls = [*CALLS, ("delete", "/scan/{}")]
        found = [getattr(client, method)(path.format(token)) for method, path in calls]
        return [(reply.status_code, reply.content) for reply in found]

    client.force_login(bob)
    assert replies(job.token) == replies(UNKNOWN)
    job.refresh_from_db()
    assert not job.is_finished
    client.force_login(alice)
    assert client.delete(f"/scan/{job.token}").status_code == 204
    assert client.get(f"/scan/{job.token}").status_code == 410
    client.force_login(bob)
    assert replies(job.token) == replies(UNKNOWN)
    client.force_login(User.objects.create_user("carol", is_staff=True))
    assert client.get(f"/scan/{job.token}").status_code == 410
