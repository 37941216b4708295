"""The model's words, in their own queue: after the verdict, never instead of it, and never lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from scans.core.options import AiOptions
from scans.core.summary import PROMPT_VERSION
from scans.models import ModelAnswer, ModelQuestion, RateBucket, ScanJob, TargetResult
from scans.services import model_calls
from scans.services.reaper import reap
from scans.services.slices import run_slice
from scans.services.summaries import run_summaries
from tests.factories import make_address, make_job, make_report, make_result
from tests.fakes import Answer, Request, service, wait_until
from tests.patience import PATIENCE
from tests.servers import listening, public
from tests.threads import at_once

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


# As few calls as possible


def asked_facts(request: Request) -> dict[str, dict]:
    """The facts that a request holds, by the target's key."""
    sent = json.loads(request.json["contents"][0]["parts"][0]["text"])
    return {"T1": sent} if "facts" in sent else sent


def faithful(request: Request) -> Answer:
    """A model that keeps to the facts, asked about one target or several."""
    answers = {
        key: {
            "risk_level": facts["risk_level"],
            "risk_summary": f"{facts['ports_answered']} of {facts['ports_tested']} ports answered.",
            "recommendation": "",
            "cited_facts": [facts["facts"][0]["id"]],
        }
        for key, facts in asked_facts(request).items()
    }
    return says(answers["T1"] if list(answers) == ["T1"] else answers)


def says(answer: object) -> Answer:
    candidate = {"content": {"parts": [{"text": json.dumps(answer)}], "role": "model"}, "finishReason": "STOP"}
    return Answer.json({"candidates": [candidate], "modelVersion": "gemini-test-001"})


@pytest.fixture
def waiting(settings):
    """A job whose targets are scanned and wait for their words; each has as many open ports as its place."""

    def make(
        count: int, *, base_url: str = "http://127.0.0.1:9", is_alike: bool = False, first: int = 9000, **ai
    ) -> ScanJob:
        options = {"api_key": KEY, "base_url": base_url, "timeout_seconds": PATIENCE, **ai}
        settings.SCANNER = replace(settings.SCANNER, ai=replace(settings.SCANNER.ai, **options))
        hosts = [f"127.66.7.{n}" for n in range(1, count + 1)]
        job = make_job(*hosts, state="running")
        for n, host in enumerate(hosts, 1):
            seen = make_address(host, open_ports=[22] if is_alike else range(first, first + n))
            make_result(make_report(host, seen), job=job, state="scanned")
        return job

    return make


def words_of(job: ScanJob) -> list[dict]:
    return [row.summary for row in job.targets.order_by("ordinal")]


def test_a_few_targets_of_one_job_share_a_call(waiting):
    with service(faithful) as gemini:
        job, other = waiting(10, base_url=gemini.base_url), waiting(1, base_url=gemini.base_url, first=9100)
        assert run_summaries() == 11
    assert sorted(len(asked_facts(request)) for request in gemini.requests) == [1, 2, 8]
    assert {words["state"] for words in (*words_of(job), *words_of(other))} == {"written"}
    job.refresh_from_db()
    assert (job.is_finished, job.model_calls) == (True, 2)


def test_targets_whose_facts_are_long_do_not_share_one(waiting, monkeypatch):
    monkeypatch.setattr("scans.services.explaining.MAX_TOGETHER_CHARS", 100)
    with service(faithful) as gemini:
        waiting(5, base_url=gemini.base_url)
        assert run_summaries() == 5
    assert [len(asked_facts(request)) for request in gemini.requests] == [1] * 5


def test_one_rejected_answer_costs_the_others_nothing(waiting):
    def lies_about_the_second(request: Request) -> Answer:
        truth = json.loads(faithful(request).body)
        part = truth["candidates"][0]["content"]["parts"][0]
        answers = json.loads(part["text"])
        answers["T2"]["risk_level"] = "low" if answers["T2"]["risk_level"] != "low" else "unknown"
        part["text"] = json.dumps(answers)
        return Answer.json(truth)

    with service(lies_about_the_second) as gemini:
        job = waiting(3, base_url=gemini.base_url)
        levels = [row.risk_level for row in job.targets.order_by("ordinal")]
        assert run_summaries() == 3
    assert [words["state"] for words in words_of(job)] == ["written", "rejected", "written"]
    assert [row.risk_level for row in job.targets.order_by("ordinal")] == levels
    assert len(gemini.requests) == 1
    assert ModelAnswer.objects.count() == 2


@pytest.mark.parametrize("name", ["candidate_safety", "generate_truncated_max_tokens", "prompt_blocked"])
def test_a_call_about_several_that_comes_to_nothing_is_followed_by_one_for_each(waiting, name):
    def stops_at_several(request: Request) -> Answer:
        return faithful(request) if len(asked_facts(request)) == 1 else sample(name)

    with service(stops_at_several) as gemini:
        job = waiting(3, base_url=gemini.base_url)
        assert run_summaries() == 3
    assert [len(asked_facts(request)) for request in gemini.requests] == [3, 1, 1, 1]
    assert {words["state"] for words in words_of(job)} == {"written"}


def test_the_same_question_is_asked_once_whoever_asks_and_whenever(waiting):
    with service(faithful) as gemini:
        job = waiting(40, base_url=gemini.base_url, is_alike=True)
        assert run_summaries() == 40
        again = waiting(1, base_url=gemini.base_url, is_alike=True)
        assert run_summaries() == 1
    assert len(gemini.requests) == 1
    assert {words["text"] for words in (*words_of(job), *words_of(again))} == {words_of(job)[0]["text"]}
    assert [words["usage"].get("cached", 0) for words in (*words_of(job), *words_of(again))] == [0] + [1] * 40
    assert {words["model"] for words in words_of(again)} == {"gemini-test-001"}
    again.refresh_from_db()
    assert again.model_calls == 0


def test_another_model_is_asked_anew_and_so_is_everything_after_a_month(waiting):
    with service(faithful) as gemini:
        for model in ("gemini-a", "gemini-b", "gemini-b"):
            waiting(1, base_url=gemini.base_url, model=model)
            run_summaries()
        assert len(gemini.requests) == 2
        ModelAnswer.objects.update(created_at=timezone.now() - timedelta(days=31))
        waiting(1, base_url=gemini.base_url, model="gemini-b")
        run_summaries()
        assert len(gemini.requests) == 3
    assert ModelAnswer.objects.count() == 2


def test_a_kept_answer_that_would_not_pass_any_more_is_not_used(waiting):
    with service(faithful) as gemini:
        waiting(1, base_url=gemini.base_url)
        run_summaries()
        ModelAnswer.objects.update(answer=json.dumps({"risk_level": "low"}))
        job = waiting(1, base_url=gemini.base_url)
        run_summaries()
    assert len(gemini.requests) == 2
    assert words_of(job)[0]["state"] == "written"


def test_a_rejected_answer_is_not_kept_and_holds_for_hosts_alike(waiting):
    with service(lambda _: says({"risk_level": "low"})) as gemini:
        job = waiting(3, base_url=gemini.base_url, is_alike=True)
        assert run_summaries() == 3
    assert len(gemini.requests) == 1
    assert {(words["state"], bool(words["reason"])) for words in words_of(job)} == {("rejected", True)}
    assert not ModelAnswer.objects.exists()


# Budgets


def test_the_calls_of_a_day_are_counted_by_all_and_begin_anew_with_the_next(waiting):
    limits = {"calls_per_day": 2, "calls_per_job": 100}
    with service(faithful) as gemini:
        jobs = [waiting(2, base_url=gemini.base_url, first=9000 + 100 * n, **limits) for n in range(3)]
        assert run_summaries() == 6
        assert len(gemini.requests) == 2
        (late,) = [job for job in jobs if words_of(job)[0]["state"] == "rate_limited"]
        for words in words_of(late):
            assert words["reason"] == "no call is left for today (UTC): AI_CALLS_PER_DAY allows 2"
            assert words["text"] == words["deterministic_text"]
        RateBucket.objects.update(counted_at=F("counted_at") - timedelta(days=1))
        waiting(9, base_url=gemini.base_url, first=9500, **limits)
        run_summaries()
        assert len(gemini.requests) == 4
    late.refresh_from_db()
    assert late.model_calls == 0, "what the day refused is not charged to the job"


def test_the_calls_of_a_job_are_its_own(waiting, monkeypatch):
    monkeypatch.setattr("scans.services.explaining.MAX_TOGETHER", 1)
    with service(faithful) as gemini:
        job, other = waiting(4, base_url=gemini.base_url, calls_per_job=2), waiting(2, base_url=gemini.base_url)
        run_summaries()
    reasons = [words["reason"] for words in words_of(job) if words["state"] == "rate_limited"]
    assert reasons == ["no call is left for this job: AI_CALLS_PER_JOB allows 2"] * 2
    assert [words["state"] for words in words_of(other)].count("written") == 2, "also those alike"


def test_no_call_is_made_where_none_is_allowed(waiting):
    with service(faithful) as gemini:
        job = waiting(2, base_url=gemini.base_url, calls_per_day=0)
        assert run_summaries() == 2
    assert gemini.requests == []
    assert {words["state"] for words in words_of(job)} == {"rate_limited"}
    assert not ModelQuestion.objects.exists()


def test_many_who_draw_at_once_get_no_more_than_there_is(waiting):
    job = waiting(1)
    options = AiOptions(calls_per_day=5, calls_per_job=100)
    drawn = []

    def draw() -> None:
        drawn.append(model_calls.draw(job.pk, options))
        connection.close()

    at_once(draw, threads=12)
    assert (len(drawn), drawn.count(None)) == (12, 5)
    job.refresh_from_db()
    assert job.model_calls == 5


# What was sent


def test_what_was_sent_is_written_down_word_for_word_before_it_leaves(waiting):
    seen = []

    def looks(request: Request) -> Answer:
        seen.append(sorted(ModelQuestion.objects.values_list("text", flat=True)))
        connection.close()
        return faithful(request)

    with service(looks) as gemini:
        job = waiting(2, base_url=gemini.base_url)
        run_summaries()
    sent = gemini.requests[0].json["contents"][0]["parts"][0]["text"]
    texts = [row.question.text for row in job.targets.order_by("ordinal")]
    assert sent == f'{{"T1": {texts[0]}, "T2": {texts[1]}}}'
    assert seen == [sorted(texts)]
    question = job.targets.get(ordinal=0).question
    assert (question.was_sent, question.model, question.prompt_version) == (True, "gemini-3.5-flash", PROMPT_VERSION)


def test_of_a_kept_answer_it_is_said_that_nothing_was_sent(waiting):
    with service(faithful) as gemini:
        waiting(1, base_url=gemini.base_url)
        run_summaries()
        again = waiting(1, base_url=gemini.base_url)
        run_summaries()
    assert again.targets.get().question.was_sent is False


def test_what_was_asked_goes_with_its_job(waiting):
    with service(faithful) as gemini:
        job = waiting(2, base_url=gemini.base_url)
        run_summaries()
    job.delete()
    assert not ModelQuestion.objects.exists()
    assert ModelAnswer.objects.count() == 2


def test_a_job_that_is_deleted_meanwhile_costs_nobody_anything(waiting):
    def deletes(request: Request) -> Answer:
        ScanJob.objects.filter(label="gone").delete()
        connection.close()
        return faithful(request)

    with service(deletes) as gemini:
        gone, kept = waiting(2, base_url=gemini.base_url), waiting(3, base_url=gemini.base_url, first=9100)
        ScanJob.objects.filter(pk=gone.pk).update(label="gone")
        run_summaries()
    assert {words["state"] for words in words_of(kept)} == {"written"}
    assert not ScanJob.objects.filter(pk=gone.pk).exists()


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
