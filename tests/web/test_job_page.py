"""A job's page and the fragment that refreshes it: counts that add up, every target, the end of polling."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scans.core.types import Outcome, SourceState
from scans.models import JobState, ScanJob, TargetState
from scans.services.reaper import reap
from tests.factories import finish, make_address, make_failure, make_job, make_report, make_result, make_source
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
POLL = {"HX-Request": "true"}


def page_of(client, job: ScanJob, **headers: str) -> str:
    return client.get(f"/jobs/{job.token}", headers=headers).content.decode()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def running_job() -> ScanJob:
    """One target in each state that a running job's targets have."""
    texts = ("127.66.0.1", "shop.invalid", "10.0.0.1", "127.66.0.4", "127.66.0.5", "127.66.0.6", "127.66.0.7")
    job = make_job(*texts, state=JobState.RUNNING, started_at=timezone.now() - timedelta(seconds=10))
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 80, 6379])), job=job)
    make_result(make_failure("shop.invalid"), job=job)
    make_result(make_failure("10.0.0.1", "refused_scope", "10.0.0.1 is out of scope.", outcome=Outcome.REFUSED), job=job)
    make_result(make_report("127.66.0.4", make_address("127.66.0.4")), job=job, state=TargetState.SCANNED)
    job.targets.filter(target="127.66.0.5").update(state=TargetState.LEASED)
    return job


def test_the_counts_of_a_running_job_add_up_visibly(client):
    text = text_of(page_of(client, running_job()))
    assert (
        "1 done + 2 without a full result (1 failed, 1 refused) + 2 in work (1 await the model's words) + 2 waiting = 7"
        in text
    )
    assert "3 of 7 finished" in text
    assert re.search(r"about 1[3-9] s left", text)


def test_every_target_has_its_state_its_level_and_a_link(client):
    job = running_job()
    page = page_of(client, job)
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]]
    assert rows[0] == "High 127.66.0.1 3 22, 80, 6379 Cache, search or coordination store Example Hosting GmbH Germany done"
    assert rows[1] == "Unknown shop.invalid Failed to resolve shop.invalid: Name or service not known unresolved"
    assert rows[2] == "Unknown 10.0.0.1 10.0.0.1 is out of scope. refused"
    assert rows[3].startswith("Low 127.66.0.4 none seen 24 of 24 ports answered")
    assert rows[3].endswith("awaits words")
    assert rows[4:] == ["not yet 127.66.0.5 in work", "not yet 127.66.0.6 waiting", "not yet 127.66.0.7 waiting"]
    for number in range(1, 8):
        assert client.get(f"/jobs/{job.token}/hosts/{number}").status_code == 200
        assert f'href="/jobs/{job.token}/hosts/{number}"' in page


def test_a_level_is_a_word_and_a_shape_before_it_is_a_colour(client):
    page = page_of(client, running_job())
    assert re.search(r'level--high"><svg class="icon" aria-hidden="true"><use href="#i-high"></use></svg>High</span>', page)
    for shape in ("critical", "high", "medium", "low", "unknown"):
        assert f'<symbol id="i-{shape}"' in page


def test_the_page_includes_the_same_fragment_that_the_refresh_returns(client, monkeypatch):
    monkeypatch.setattr("scans.selectors.eta_seconds", lambda *_: 13)  # or a second passes between the two
    job = running_job()
    fragment = client.get(f"/jobs/{job.token}", headers=POLL)
    assert fragment.status_code == 200
    assert fragment.content.decode().strip() in page_of(client, job)
    assert f'hx-get="/jobs/{job.token}" hx-trigger="every 2s" hx-swap="outerHTML"' in fragment.content.decode()


def test_a_finished_job_ends_the_polling(client):
    job = running_job()
    finish(job)
    response = client.get(f"/jobs/{job.token}", headers=POLL)
    assert response.status_code == 286
    assert "hx-" not in response.content.decode()
    assert "hx-get" not in page_of(client, job)
    assert client.get(f"/jobs/{job.token}").status_code == 200


def test_a_finished_job_shows_distribution_provenance_and_the_json(client):
    job = make_job("127.66.0.1", submitted=["127.66.0.1", "127.66.0.1"], warnings=["1 repeated target was folded"])
    make_result(make_report("127.66.0.1"), job=job)
    page = page_of(client, job)
    text = text_of(page)
    assert 'aria-label="1 low"' in page
    assert "Finished" in text
    assert "1 repeated target was folded" in text
    assert "The input as typed, 2 items" in text
    assert "21-22, 25, 53, 80" in text
    assert f'href="/scan/{job.token}"' in page


def test_without_javascript_the_page_says_how_to_refresh(client):
    job = running_job()
    assert f'<noscript>It does not refresh itself without JavaScript: <a href="/jobs/{job.token}">' in page_of(client, job)


def test_a_name_with_several_addresses_says_so(client):
    first, second = make_address("127.66.0.6", open_ports=[22]), make_address("127.66.0.7", open_ports=[22, 443])
    row = make_result(make_report("two.invalid", first, second))
    text = text_of(page_of(client, row.job))
    assert "two.invalid 127.66.0.6 and more 2 on several addresses" in text


def test_a_missing_network_is_left_open(client):
    silent = make_address(sources=[make_source(SourceState.RATE_LIMITED, reason="too many requests")])
    row = make_result(make_report("127.66.0.1", silent))
    assert "24 of 24 ports answered done" in text_of(page_of(client, row.job))


def test_what_targets_and_services_say_is_escaped(client):
    hostile = "<script>alert(1)</script>"
    text = f"https://shop.invalid/{hostile}"
    facts = make_source().facts.__class__(organisation=hostile, country='"><img src=x onerror=alert(1)>')
    row = make_result(make_report(text, make_address(open_ports=[80], sources=[make_source(facts=facts)])))
    page = page_of(client, row.job)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert hostile not in page
    assert "<img" not in page
    assert inline_parts(page) == []


def test_an_unknown_token_is_not_found(client):
    for path in (f"/jobs/{'0' * 32}", "/jobs/short", f"/jobs/{'0' * 32}/hosts/1", "/jobs/%00", "/jobs/" + "A" * 32):
        response = client.get(path)
        assert response.status_code == 404
        assert "There is nothing at this address" in response.content.decode()


def test_a_target_that_the_job_does_not_have_is_not_found(client):
    job = make_job("127.66.0.1")
    for number in ("0", "2", "99999999999999999999", "9" * 5000):
        assert client.get(f"/jobs/{job.token}/hosts/{number}").status_code == 404


def test_a_thousand_targets_cost_as_many_queries_as_one(client):
    make_result(make_report("127.66.0.1"))
    one, many = (
        ScanJob.objects.get(),
        make_job(*(f"127.66.{n // 250}.{n % 250 + 1}" for n in range(1024)), state=JobState.RUNNING),
    )
    report = make_report("127.66.0.1", make_address(open_ports=[22, 80, 6379]))
    scanned = make_result(report, job=many, state=TargetState.SCANNED)
    columns = (
        "evidence",
        "verdict",
        "summary",
        "risk_level",
        "risk_score",
        "open_ports",
        "ip_address",
        "state",
        "scanned_at",
    )
    many.targets.update(**{name: getattr(scanned, name) for name in columns})
    with CaptureQueriesContext(connection) as few:
        page_of(client, one)
    with CaptureQueriesContext(connection) as lots:
        assert page_of(client, many).count("awaits words") == 1024
    assert len(lots) <= len(few) + 1, "a running job is also looked at by the reaper's question"


def test_looking_at_a_job_that_nobody_works_on_moves_it(client):
    long_ago = timezone.now() - timedelta(minutes=5)
    job = make_job("127.66.0.1", state=JobState.RUNNING, created_at=long_ago, started_at=long_ago)
    row = make_result(make_report("127.66.0.1"), job=job, state=TargetState.SCANNED)
    job.targets.filter(pk=row.pk).update(scanned_at=long_ago)
    assert "Complete" in text_of(page_of(client, job))
    assert reap().finished_jobs == 0


def test_the_page_has_the_policy_and_is_not_stored(client):
    for headers in ({}, POLL):
        response = client.get(f"/jobs/{running_job().token}", headers=headers)
        assert policy_of(response) == POLICY
        assert response["Cache-Control"] == "private, no-store"
        assert inline_parts(response.content.decode()) == []
