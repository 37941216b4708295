"""The model's words, in their own queue: after the verdict, never instead of it, and never lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from scans.models import ScanJob, TargetResult
from scans.services.reaper import reap
from scans.services.slices import run_slice
from scans.services.summaries import run_summaries
from tests.fakes import Answer, service, wait_until
from tests.patience import PATIENCE
from tests.servers import listening, public

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "AIza-not-a-key-but-long-enough"
SAMPLES = Path(__file__).parent.parent / "core" / "summary" / "samples"
RDP_HOST = public(20)


def sample(name: str) -> Answer:
    stored = json.loads((SAMPLES / f"{name}.json").read_text())
    return Answer.json(stored["body"], status=stored["status"])


@pytest.fixture
def scan(client, settings):
    """Submit a public host with RDP and run the scan's slice; the words are still to come."""

    def run(base_url: str, *, path: str = "/ai-agent", **body) -> ScanJob:
        ai = replace(settings.SCANNER.ai, api_key=KEY, base_url=base_url, timeout_seconds=PATIENCE)
        settings.SCANNER = replace(settings.SCANNER, ai=ai, intel=replace(settings.SCANNER.intel, grace_seconds=0.2))
        with listening(RDP_HOST, 3389):
            body = {"ip_addresses": [RDP_HOST], "ports": [3389], **body}
            token = client.post(path, body, content_type="application/json").json()["token"]
            run_slice()
        return ScanJob.objects.get(token=token)

    return run


def result(client, job: ScanJob) -> dict:
    (found,) = client.get(f"/scan/{job.token}").json()["results"]
    return found


def test_the_models_words_come_after_the_verdict(client, scan):
    with service(lambda _: sample("generate_ok_json")) as gemini:
        job = scan(gemini.base_url)
        assert job.targets.get().state == "scanned"
        assert client.get(f"/scan/{job.token}").json()["completed_targets"] == 0
        assert gemini.requests == []
        assert run_summaries() == 1
        found = result(client, job)
    assert found["risk_summary"] == "Remote desktop answers from any address."
    assert found["recommendation"] == "Close 3389/tcp at the edge and use a VPN with MFA."
    assert (found["risk_level"], found["ai"]["state"]) == ("high", "written")
    assert found["deterministic_summary"].startswith("High")
    (request,) = gemini.requests
    assert request.path == "/v1beta/models/gemini-3.5-flash:generateContent"
    job.refresh_from_db()
    assert job.is_finished


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (sample("generate_contradicts_score"), "rejected"),
        (sample("candidate_safety"), "failed"),
        (sample("error_400_bad_key"), "unauthorized"),
        (sample("error_429_quota"), "rate_limited"),
        (sample("error_404_model"), "failed"),
        (Answer(status=500, body=b"<html>" + KEY.encode()), "failed"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}), "failed"),
    ],
)
def test_every_failure_of_the_model_ends_in_the_deterministic_text_with_its_reason(client, scan, answer, state):
    with service(lambda _: answer) as gemini:
        job = scan(gemini.base_url)
        run_summaries()
        found = result(client, job)
    assert found["ai"]["state"] == state, found["ai"]
    assert found["ai"]["reason"]
    assert found["risk_level"] == "high"
    assert found["risk_summary"].startswith("High")
    assert KEY not in json.dumps(found)


def test_without_a_word_about_it_a_key_means_that_the_model_explains(client, scan):
    with service(lambda _: sample("generate_ok_json")) as gemini:
        job = scan(gemini.base_url, path="/scan")
        run_summaries()
        assert result(client, job)["ai"]["state"] == "written"


def test_a_client_that_declines_gets_no_model(client, scan):
    with service(lambda _: sample("generate_ok_json")) as gemini:
        job = scan(gemini.base_url, path="/scan", generate_ai_summary=False)
        assert job.is_finished
        assert run_summaries() == 0
    assert gemini.requests == []
    assert result(client, job)["ai"]["state"] == "deterministic"


def test_words_that_do_not_come_within_two_minutes_are_given_up(client, scan):
    job = scan("http://127.0.0.1:9")
    TargetResult.objects.update(scanned_at=timezone.now() - timedelta(seconds=121))
    assert reap().late_summaries == 1
    found = result(client, job)
    assert found["ai"] == {**found["ai"], "state": "failed", "reason": "no answer within 120 s"}
    assert found["risk_summary"].startswith("High")


def test_the_reaper_wakes_the_summary_queue(scan):
    from django_q.models import OrmQ

    scan("http://127.0.0.1:9")
    OrmQ.objects.all().delete()
    reap()
    assert list(OrmQ.objects.values_list("key", flat=True)) == ["ai"]


def test_the_ai_cluster_writes_the_words(client, scan):
    from tests.cluster import cluster

    with service(lambda _: sample("generate_ok_json")) as gemini:
        job = scan(gemini.base_url)
        with cluster("ai", GEMINI_API_KEY=KEY, GEMINI_BASE_URL=gemini.base_url):
            assert wait_until(lambda: ScanJob.objects.get(pk=job.pk).is_finished)
    assert result(client, job)["ai"]["state"] == "written"
