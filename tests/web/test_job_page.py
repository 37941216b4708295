"""A job's page: counts that add up, every target, filters, what a poll is answered with, and what can be done there."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from ipscanner.version import version
from scans.core.ports import compact
from scans.core.types import Facts, Outcome, SourceState
from scans.models import AuditEvent, JobOutcome, JobState, ScanJob, TargetResult, TargetState
from scans.selectors import ListedTarget, host_result, job_findings
from scans.selectors.job_page import holds_port
from scans.services import audit
from scans.services.cancel import cancel_job
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
from scans.services.reaper import reap
from scans.templatetags.job_rows import job_rows
from tests.factories import (
    END_OF_LIFE,
    VULNERABILITIES,
    finish,
    lease,
    make_address,
    make_failure,
    make_job,
    make_report,
    make_result,
    make_service,
    make_services,
    make_source,
    spread,
)
from tests.web.policy import POLICY, inline_parts, policy_of
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
POLL = {"HX-Request": "true"}


def page_of(client: Client, job: ScanJob, query: str = "", **headers: str) -> str:
    return client.get(f"/jobs/{job.token}{query}", headers=headers).content.decode()


def rows_in(page: str) -> list[str]:
    return [text_of(row) for row in re.findall(r'<tr id="r[0-9]+"[^>]*>(.*?)</tr>', page, re.DOTALL)]


def targets_in(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r'<a class="mono" id="t[0-9]+"[^>]*><bdi>(.*?)</bdi>', page)]


def poll_url(page: str) -> str:
    """What the page will ask next."""
    return html.unescape(re.search(r'id="poll" hx-get="([^"]+)"', page)[1])


def running_job(**columns: Any) -> ScanJob:
    """One target in each state that a running job's targets have."""
    texts = ("127.66.0.1", "shop.invalid", "10.0.0.1", "127.66.0.4", "127.66.0.5", "127.66.0.6", "127.66.0.7")
    defaults = {"started_at": timezone.now() - timedelta(seconds=10)}
    job = make_job(*texts, state=JobState.RUNNING, **{**defaults, **columns})
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 80, 6379])), job=job)
    make_result(make_failure("shop.invalid"), job=job)
    make_result(make_failure("10.0.0.1", "refused_scope", "10.0.0.1 is out of scope.", outcome=Outcome.REFUSED), job=job)
    make_result(make_report("127.66.0.4", make_address("127.66.0.4")), job=job, state=TargetState.SCANNED)
    lease(job.targets.filter(target="127.66.0.5"))
    return job


def paused_job() -> ScanJob:
    """The same, but the clock shows nowhere: it has not begun."""
    return running_job(started_at=None)


def large_job(n: int, *, state: str = TargetState.DONE) -> ScanJob:
    """Many targets with the same result; finished unless some await their words."""
    job = make_job(*(f"127.66.{k // 250}.{k % 250 + 1}" for k in range(n)), state=JobState.RUNNING)
    seen = make_address(open_ports=[22, 80, 6379])
    row = make_result(make_report("127.66.0.1", seen), job=job, state=state)
    spread(row, job.targets.all())
    if state == TargetState.DONE:
        finish(job)
    return job


# While it runs


def test_the_counts_of_a_running_job_add_up_visibly(client, monkeypatch):
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)
    text = text_of(page_of(client, running_job()))
    assert (
        "1 done + 2 without a full result (1 failed, 1 refused) + 2 in work (1 await the model's words) + 2 waiting = 7"
        in text
    )
    assert "3 of 7 finished" in text
    assert re.search(r"about (19|2[0-9]) s left · 1[0-9] s so far · 0\.[12] targets/s", text)


def test_what_was_refused_at_once_does_not_promise_a_quick_end(client):
    job = make_job("127.66.0.1", "10.0.0.1", state=JobState.RUNNING, started_at=timezone.now() - timedelta(seconds=10))
    make_result(make_failure("10.0.0.1", "refused_scope", "out of scope", outcome=Outcome.REFUSED), job=job)
    assert "1 of 2 finished no result yet" in text_of(page_of(client, job))


def test_every_target_has_its_state_its_level_and_a_link(client):
    job = running_job()
    page = page_of(client, job)
    rows = rows_in(page)
    assert rows[0] == (
        "High 127.66.0.1 22, 80, 6379 Cache, search or coordination store Example Hosting GmbH Germany 24 of 24 done"
    )
    assert rows[1] == "Unknown shop.invalid not probed Failed to resolve shop.invalid: Name or service not known unresolved"
    assert rows[2] == "Unknown 10.0.0.1 not probed 10.0.0.1 is out of scope. refused"
    assert rows[3].startswith("Low 127.66.0.4 none open 24 of 24 probes answered, none open")
    assert rows[3].endswith("awaits words")
    assert rows[4:] == ["not yet 127.66.0.5 in work", "not yet 127.66.0.6 waiting", "not yet 127.66.0.7 waiting"]
    for number in range(1, 8):
        assert f'href="/jobs/{job.token}/hosts/{number}"' in page


def test_a_row_names_who_it_is_by_the_first_source_that_knows(client):
    silent = make_source(SourceState.FAILED, reason="HTTP 503")
    registry = replace(make_source(facts=Facts(organisation="Example Holding")), source="rdap")
    database = replace(make_source(facts=Facts(country="Norway")), source="geo")
    seen = make_address("127.66.0.1", open_ports=[22], sources=[silent, registry, database])
    row = make_result(make_report("127.66.0.1", seen))
    assert "Example Holding Norway" in rows_in(client.get(row.job.get_absolute_url()).content.decode())[0]


def test_a_row_names_the_most_telling_of_its_services(client):
    seen = make_address(services=make_services())
    row = make_result(make_report("127.66.0.1", seen))
    assert (
        "Redis answers without credentials, OpenSSH 9.2p1, nginx 1.24.0 and 1 more" in rows_in(page_of(client, row.job))[0]
    )
    hostile = make_address(services=[make_service(22, "SSH", product="<script>" + "x" * 70)])
    page = page_of(client, make_result(make_report("127.66.0.1", hostile)).job)
    assert "<bdi>&lt;script&gt;" + "x" * 31 + "…</bdi>" in page


def test_a_level_is_a_word_and_a_shape_before_it_is_a_colour(client):
    page = page_of(client, running_job())
    assert re.search(r'level--high"><svg class="icon" aria-hidden="true"><use href="#i-high"></use></svg>High</span>', page)
    for shape in ("critical", "high", "medium", "low", "unknown"):
        assert f'<symbol id="i-{shape}"' in page


def test_a_row_says_that_a_host_answers_everywhere(client):
    job = make_job("127.66.0.1", "127.66.0.2", "two.invalid", "127.66.0.4")
    answers = {"127.66.0.1": True, "127.66.0.2": False, "127.66.0.4": None}
    for text, answer in answers.items():
        make_result(make_report(text, replace(make_address(text, open_ports=[22, 80]), answers_everywhere=answer)), job=job)
    two = [replace(make_address("127.66.0.1", open_ports=[22]), answers_everywhere=True), make_address("127.66.0.2")]
    make_result(make_report("two.invalid", *two), job=job)
    words = " ".join(rows_in(page_of(client, job)))
    assert words.count("everywhere") == 2
    assert "127.66.0.1 answers everywhere" in words
    assert "127.66.0.1 and more the first address answers everywhere" in words
    assert "127.66.0.2 22, 80" in words
    assert "127.66.0.4 22, 80" in words


def test_the_strip_says_in_words_what_it_draws(client):
    job = make_job("127.66.0.1")
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 80], filtered=[25])), job=job)
    page = page_of(client, job)
    assert 'aria-label="2 open, 21 closed, 1 without an answer"' in page
    assert page.count('class="strip__open"') == page.count('class="strip__doubt"') == 1, "one path for each look"


def test_without_javascript_the_page_says_how_to_refresh(client):
    job = running_job()
    assert f'<noscript>It does not refresh itself without JavaScript: <a href="/jobs/{job.token}?' in page_of(client, job)


def test_no_running_worker_is_said(client):
    assert "waiting for a worker; none is running" in text_of(page_of(client, make_job("127.66.0.1")))


# What a poll is answered with


def test_nothing_is_sent_while_nothing_changes(client):
    url = poll_url(page_of(client, paused_job()))
    response = client.get(url, headers=POLL)
    assert (response.status_code, response.content) == (204, b"")


def test_a_poll_brings_only_the_rows_that_changed_and_the_sums(client):
    job = paused_job()
    url = poll_url(page_of(client, job))
    make_result(make_report("127.66.0.6", make_address("127.66.0.6", open_ports=[443])), job=job)
    response = client.get(url, headers=POLL)
    answer = response.content.decode()
    assert response.status_code == 200
    assert targets_in(answer) == ["127.66.0.6"]
    assert '<tr id="r6" hx-swap-oob="true">' in answer
    assert "4 of 7 finished" in text_of(answer)
    assert client.get(poll_url(answer), headers=POLL).status_code == 204
    assert "<form" not in answer, "open folds and half-typed filters are left alone"


@pytest.mark.parametrize("state", [TargetState.LEASED, TargetState.PENDING])
def test_a_row_that_is_taken_or_given_back_changes_though_no_version_rises(client, state):
    job = paused_job()
    before = TargetState.PENDING if state == TargetState.LEASED else TargetState.LEASED
    row = job.targets.filter(state=before).first()
    url = poll_url(page_of(client, job))
    same = job.targets.filter(pk=row.pk)
    if state == TargetState.LEASED:
        lease(same)
    else:
        same.update(state=state, lease=None, lease_until=None)
    assert targets_in(client.get(url, headers=POLL).content.decode()) == [row.target]


def test_a_change_on_another_page_brings_the_sums_alone(client):
    job = make_job(*(f"127.66.0.{n}" for n in range(1, 151)), state=JobState.RUNNING)
    url = poll_url(page_of(client, job, "?from=101"))
    make_result(make_report("127.66.0.3"), job=job)
    ScanJob.objects.filter(pk=job.pk).update(version=2)
    answer = client.get(url, headers=POLL).content.decode()
    assert targets_in(answer) == []
    assert "1 of 150 finished" in text_of(answer)


def test_a_filtered_list_that_gains_a_row_is_sent_whole(client):
    job = paused_job()
    url = poll_url(page_of(client, job, "?level=high"))
    make_result(make_report("127.66.0.6", make_address("127.66.0.6", open_ports=[6379])), job=job)
    answer = client.get(url, headers=POLL).content.decode()
    assert '<div id="list" hx-swap-oob="true">' in answer
    assert targets_in(answer) == ["127.66.0.1", "127.66.0.6"]


@pytest.mark.parametrize("shown", ["", "x", "1-2", "9" * 99, "1-1-0.zzzzzzzz.ppp", "1-1-0.00000000.p", "%00"])
def test_a_poll_that_says_something_strange_gets_a_whole_list(client, shown):
    response = client.get(f"/jobs/{paused_job().token}?shown={shown}", headers=POLL)
    assert response.status_code == 200
    assert len(targets_in(response.content.decode())) == 7


def test_the_parts_are_the_same_in_the_page_and_in_the_refresh(client):
    job = paused_job()
    page, url = page_of(client, job), f"/jobs/{job.token}?shown=0-0-0.00000000."
    answer = client.get(url, headers=POLL).content.decode().replace(' hx-swap-oob="true"', "")
    for part in re.findall(r'<tr id="r[0-9]+".*?</tr>|<div id="list">.*?</table>', answer, re.DOTALL):
        assert part in page


def test_a_finished_job_ends_the_polling_and_keeps_the_order_that_was_read(client):
    job = running_job()
    url = poll_url(page_of(client, job))
    for text in ("127.66.0.5", "127.66.0.6", "127.66.0.7"):
        make_result(make_report(text, make_address(text, open_ports=[3389, 5432, 6379])), job=job)
    job.targets.filter(state=TargetState.SCANNED).update(state=TargetState.DONE, finished_at=timezone.now())
    finish(job)
    response = client.get(url, headers=POLL)
    answer = response.content.decode()
    assert response.status_code == 286
    assert (response["HX-Retarget"], response["HX-Reswap"]) == ("#job", "outerHTML")
    assert targets_in(answer) == [row.target for row in job.targets.order_by("ordinal")]
    assert "hx-" not in answer
    page = page_of(client, job)
    assert "hx-get" not in page
    assert targets_in(page)[0] == "127.66.0.5", "who comes later finds the worst first"
    assert client.get(f"/jobs/{job.token}").status_code == 200


def test_a_large_job_costs_a_poll_little(client):
    job = large_job(1024, state=TargetState.SCANNED)
    url = poll_url(page_of(client, job))
    job.targets.filter(ordinal=7).update(state=TargetState.DONE, finished_at=timezone.now())
    ScanJob.objects.filter(pk=job.pk).update(version=2)
    assert len(client.get(url, headers=POLL).content) < 8_000


# Pages, filters, order


def test_a_page_lists_a_hundred_rows_and_leads_to_the_others(client):
    job = large_job(250)
    first, last = page_of(client, job, "?order=submitted"), page_of(client, job, "?order=submitted&from=201")
    assert [len(targets_in(page)) for page in (first, last)] == [100, 50]
    assert "Rows 1 to 100 of 250" in text_of(first)
    assert "Rows 201 to 250 of 250" in text_of(last)
    assert 'rel="next" id="page-next" href="/jobs/' in first
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in last
    assert f'href="/jobs/{job.token}?order=submitted&amp;from=101#targets">Next' in first


@pytest.mark.parametrize("query", ["?from=9999999", "?from=251", "?from=99999999999", "?from=-1", "?from=x", "?from=0"])
def test_a_row_that_is_not_there_leads_to_a_page_that_is(client, query):
    assert len(targets_in(page_of(client, large_job(250), query))) in (50, 100)


def finished_job() -> ScanJob:
    """Four levels and kinds of result."""
    texts = ("127.66.0.2", "127.66.0.1", "www.invalid", "10.0.0.1", "wide.invalid")
    job = make_job(*texts, state=JobState.RUNNING)
    make_result(make_report("127.66.0.2", make_address("127.66.0.2", ports=[22, 80], open_ports=[])), job=job)
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 6379])), job=job)
    make_result(make_failure("www.invalid"), job=job)
    make_result(make_failure("10.0.0.1", "refused_scope", "10.0.0.1 is out of scope.", outcome=Outcome.REFUSED), job=job)
    second = make_address("127.66.0.9", open_ports=range(41_000, 41_010))
    make_result(make_report("wide.invalid", make_address("127.66.0.8"), second), job=job)
    return job


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ("?level=high", ["127.66.0.1"]),
        ("?state=unresolved", ["www.invalid"]),
        ("?state=refused", ["10.0.0.1"]),
        ("?state=without&order=submitted", ["www.invalid", "10.0.0.1"]),
        ("?state=failed", []),
        ("?state=open", []),
        ("?port=22", ["127.66.0.1"]),
        ("?port=41005", ["wide.invalid"]),
        ("?port=41010", []),
        ("?port=443", []),
        ("?q=127.66.0.", ["127.66.0.1", "127.66.0.2"]),
        ("?q=WWW", ["www.invalid"]),
        ("?q=%25", []),
        ("?finding=EXP-009", ["127.66.0.1"]),
        ("?finding=EXP-00", []),
        ("?level=high&port=6379&q=127.&state=done", ["127.66.0.1"]),
    ],
)
def test_filters_in_the_address_narrow_the_list(client, query, targets):
    page = page_of(client, finished_job(), query)
    assert targets_in(page) == targets
    assert f"{len(targets)} of 5 match" in text_of(page)


def test_an_empty_list_says_what_would_stand_there(client):
    assert "No target matches. Without the filters, 5 targets would stand here." in text_of(
        page_of(client, finished_job(), "?port=443")
    )


@pytest.mark.parametrize("query", ["?level=extreme", "?port=0", "?port=a", "?state=x", "?order=x", "?q=%00", "?finding=%22"])
def test_a_filter_that_cannot_be_meant_filters_nothing(client, query):
    assert len(targets_in(page_of(client, finished_job(), query))) == 5


def test_targets_stand_worst_first_or_as_submitted(client):
    job = finished_job()
    assert targets_in(page_of(client, job))[0] == "127.66.0.1"
    assert targets_in(page_of(client, job, "?order=submitted")) == [row.target for row in job.targets.order_by("ordinal")]


def test_what_an_evil_source_says_is_no_open_port_and_no_finding(client):
    lie = '"open": "4444", "rule_id": "EXP-666"'
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22], sources=[make_source(facts=Facts(isp=lie))])))
    TargetResult.objects.filter(pk=row.pk).update(verdict=row.verdict | {"level": lie})
    for query in ("?port=4444", "?finding=EXP-666"):
        assert targets_in(page_of(client, row.job, query)) == []


@given(ports=st.sets(st.integers(1, 300), max_size=60), port=st.integers(1, 300))
def test_a_compact_list_holds_a_port_exactly_if_the_ports_do(ports, port):
    assert holds_port(compact(ports), port) == (port in ports)


# When it is complete


def test_each_level_of_a_finished_job_is_a_filter(client):
    page = page_of(client, finished_job())
    assert 'aria-label="1 high, 2 low, 2 unknown"' in page
    for level, n in re.findall(r'href="([^"]*level=[a-z]+)#targets"[^>]*><span class="tally__n">([0-9]+)', page):
        assert len(targets_in(client.get(level).content.decode())) == int(n)


def test_alike_findings_stand_together_worst_first_with_their_hosts(client):
    job = make_job("127.66.0.1", "127.66.0.2", "127.66.0.3", "127.66.0.4", "127.66.0.5")
    for n in range(1, 6):
        seen = make_address(f"127.66.0.{n}", open_ports=[22] if n < 5 else [22, 6379])
        make_result(make_report(f"127.66.0.{n}", seen), job=job)
    groups = [
        text_of(row) for row in re.findall(r"<tr>\s*<td data-label=\"Points\">(.*?)</tr>", page_of(client, job), re.DOTALL)
    ]
    assert groups[0].startswith("30 at least High Cache, search or coordination store EXP-009 1 host 127.66.0.5")
    assert any(
        re.search(r"SSH reachable EXP-002 5 hosts 127\.66\.0\.5 , 127\.66\.0\.1 , 127\.66\.0\.2 and 2 more", g)
        for g in groups
    )
    assert "SSH" in text_of(page_of(client, job, "?finding=EXP-002"))


def test_top_findings_stand_in_the_order_of_a_hosts_page(client):
    seen = replace(make_address(services=make_services()), vulnerabilities=VULNERABILITIES, end_of_life=END_OF_LIFE)
    row = make_result(make_report("127.66.0.1", seen))
    groups = job_findings(row.job).groups
    assert [group.rule_id for group in groups] == [finding["rule_id"] for finding in host_result(row)["findings"]]
    assert [group.rule_id for group in groups[:3]] == ["ACC-001", "VUL-001", "VUL-002"]
    assert [group.points for group in groups] != sorted((group.points for group in groups), reverse=True)


def test_a_top_finding_weighs_what_it_does_where_it_weighs_most_and_among_equals_more_hosts_come_first(client):
    job = make_job("127.66.0.1", "10.0.0.2", "127.66.0.3", "127.66.0.4")
    private = make_address("10.0.0.2", open_ports=[6379, 9200, 9300, 22, 1883, 5005, 5672, 2049], is_global=False)
    make_result(make_report("10.0.0.2", private), job=job)
    for n, ports in ((1, [6379]), (3, [23, 3389]), (4, [23])):
        make_result(make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", open_ports=ports)), job=job)
    worst = job.targets.order_by("-risk_score")[0]
    assert (worst.host, worst.verdict["findings"][0]["floor"]) == ("10.0.0.2", None), "a private address raises nothing"
    groups = job_findings(job).groups
    assert [(group.rule_id, group.points, group.floor, group.hosts) for group in groups[:3]] == [
        ("EXP-009", 50, "high", 2),
        ("EXP-004", 35, "high", 2),
        ("EXP-003", 35, "high", 1),
    ]


def test_what_is_not_known_is_counted_by_reason_with_links(client):
    page = page_of(client, finished_job())
    assert (
        "Not known: 1 name did not resolve. 1 target was refused as out of scope; not one packet went there. "
        "This could raise a level, never lower one." in text_of(page)
    )
    for query in ("state=unresolved", "state=refused"):
        assert f"{query}#targets" in page


def test_silent_hosts_and_silent_sources_are_not_known(client):
    down = [make_source(SourceState.RATE_LIMITED, reason="too many requests")]
    job = make_job("127.66.0.1", "127.66.0.2")
    make_result(make_report("127.66.0.1", make_address(filtered=[22], ports=[22], sources=down)), job=job)
    make_result(make_report("127.66.0.2", make_address("127.66.0.2", filtered=[22], sources=down)), job=job)
    text = text_of(page_of(client, job))
    assert "Of 2 scanned, 1 answered no probe at all. 1 more did not answer every probe." in text
    assert "No source of intelligence answered for any of them: levels rest on what was probed alone." in text


def test_a_job_whose_targets_are_all_refused_says_that_nothing_was_sent(client):
    job = submit_scan(ScanRequest(items=tuple(SubmittedItem(pointer=f"/{n}", text=f"10.0.0.{n}") for n in range(1, 4))))
    text = text_of(page_of(client, job))
    assert "All 3 targets are outside your scope. Not one packet went to them." in text
    assert "SCAN_ALLOW_NETWORKS" in text
    assert "Top findings" not in text
    assert "Rerun the" not in text, "that would be all of them"


def test_nothing_open_is_no_promise(client):
    job = make_job("127.66.0.1")
    make_result(make_report("127.66.0.1"), job=job)
    text = text_of(page_of(client, job))
    assert "No rule fired on any of the 1 target scanned. That says what was looked at, not that they are safe." in text
    assert "Scan it again" in text


def test_a_cancelled_job_adds_up_too(client):
    job = running_job()
    cancel_job(job, by=audit.SYSTEM)
    text = text_of(page_of(client, job))
    assert "Cancelled" in text
    assert "2 done + 5 without a full result (1 failed, 1 refused, 3 cancelled) = 7" in text
    assert "3 targets were cancelled before being scanned." in text
    assert targets_in(page_of(client, job, "?state=cancelled")) == ["127.66.0.5", "127.66.0.6", "127.66.0.7"]


def test_provenance_says_what_was_typed_left_out_and_by_which_rules(client):
    job = make_job(
        "127.66.0.1",
        submitted=["127.66.0.1", "127.66.0.1"],
        warnings=["1 repeated target was folded"],
        rejected=[{"index": 2, "pointer": "/lines/3", "text": "127.1", "code": "bad", "reason": "It has 2 parts."}],
    )
    make_result(make_report("127.66.0.1"), job=job)
    page = page_of(client, job)
    text = text_of(page)
    assert "1 repeated target was folded" in text
    assert "The input as typed, 2 items, became 1 target" in text
    assert "Left out because it cannot be scanned: 1 item 127.1 It has 2 parts." in text
    assert "21-22, 25, 53, 80" in text
    assert re.search(r"Rules [0-9]", text)
    for extension in ("json", "ndjson", "csv"):
        assert f'href="/scan/{job.token}/export.{extension}"' in page
        assert client.get(f"/scan/{job.token}/export.{extension}").status_code == 200


def test_provenance_names_the_scanner_that_ended_the_job_where_that_is_known(client):
    job = running_job()
    assert client.get(f"/scan/{job.token}").json()["scanner_version"] is None  # it is not ended yet
    cancel_job(job, by=audit.SYSTEM)
    assert f"Scanner version {version()} which stored the last result" in text_of(page_of(client, job))
    for path in (f"/scan/{job.token}", f"/scan/{job.token}/export.json"):
        reply = client.get(path)
        assert json.loads(reply.getvalue())["scanner_version"] == version()
    assert client.get("/scans").json()["scans"][0]["scanner_version"] == version()
    ScanJob.objects.update(scanner_version="")  # as of a version that kept none
    assert "Scanner not known no version was kept then" in text_of(page_of(client, job))


@pytest.mark.parametrize(("ports", "said"), [("1-65535", "the profile all 65535 ports"), ("22,80", "22, 80 2 ports")])
def test_provenance_names_the_profile_whose_ports_they_are(client, ports, said):
    job = make_job("127.66.0.1", ports=ports)
    make_result(make_failure("127.66.0.1"), job=job)
    assert said in text_of(page_of(client, job))


def test_a_long_input_is_shown_in_part_and_says_so(client):
    job = make_job("127.66.0.1", submitted=[f"item-{n}" for n in range(1000)])
    make_result(make_report("127.66.0.1"), job=job)
    page = page_of(client, job)
    assert "item-199" in page
    assert "item-200" not in page
    assert "Only the first 200 are shown." in page


def test_a_name_with_several_addresses_says_so(client):
    first, second = make_address("127.66.0.6", open_ports=[22]), make_address("127.66.0.7", open_ports=[22, 443])
    row = make_result(make_report("two.invalid", first, second))
    text = text_of(page_of(client, row.job))
    assert "two.invalid 127.66.0.6 and more 2 open on several addresses" in text


def test_a_host_with_every_port_open_does_not_fill_the_page(client):
    job = make_job("127.66.0.1", ports="1-65535")
    every = range(1, 65_536)
    make_result(make_report("127.66.0.1", make_address(ports=every, open_ports=range(1, 65_536, 2))), job=job)
    page = page_of(client, job)
    assert "32768 open: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, …" in text_of(page)
    assert len(page) < 40_000
    assert targets_in(page_of(client, job, "?port=65535")) == ["127.66.0.1"]
    assert targets_in(page_of(client, job, "?port=65534")) == []


# What others say is hostile


def test_what_targets_and_services_say_is_escaped_and_kept_in_its_direction(client):
    hostile = "<script>alert(1)</script>\u202egpj"
    text = "https://shop.invalid/<script>alert(1)</script>"
    facts = Facts(organisation=hostile, country='"><img src=x onerror=alert(1)>')
    job = make_job(text, label=hostile)
    make_result(make_report(text, make_address(open_ports=[80], sources=[make_source(facts=facts)])), job=job)
    page = page_of(client, job)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<img" not in page
    assert inline_parts(page) == []
    for said in re.findall(r"<bdi>[^<]*alert", page):
        assert said.startswith("<bdi>")
    assert len(re.findall(r"<bdi>[^<]*script", page)) >= 3, "target, network and label are isolated"


def test_every_word_of_a_row_is_escaped():
    evil = """<i a="'">&"""
    service = {"port": 22, "state": "identified", "protocol": "SSH", "product": evil}
    row = {
        "ordinal": 0, "state": TargetState.DONE, "error_code": "", "target": evil, "ip_address": f"{evil}6",
        "risk_level": "high", "open_ports": 3, "worst_finding": evil, "answered": 2, "tested": 3, "second_address": None,
        "organisation": evil, "isp": None, "country": evil, "answers_everywhere": False, "first_ports": evil,
        "services": json.dumps([service]),
        "port_states": json.dumps({"open": "22", evil: "80,443"}),
    }  # fmt: skip
    rows = [ListedTarget(**row, error=error) for error in (None, evil)]
    page = job_rows(rows, ScanJob(token="0" * 32))
    assert page.count("&lt;i a=&quot;&#x27;&quot;&gt;&amp;") == 7 + 5
    assert "<i" not in page


# Who may


def test_an_unknown_token_is_not_found(client):
    for path in (f"/jobs/{'0' * 32}", "/jobs/short", "/jobs/%00", "/jobs/" + "A" * 32):
        assert client.get(path).status_code == 404
    for action in ("cancel", "rerun", "delete"):
        assert client.post(f"/jobs/{'0' * 32}/{action}").status_code == 404


def test_a_strangers_job_is_not_there_and_cannot_be_touched(client, server_profile):
    alice, bob = User.objects.create_user("alice"), User.objects.create_user("bob")
    job = make_job("127.66.0.1", owner=alice)
    client.force_login(bob)
    for headers in ({}, POLL):
        assert client.get(f"/jobs/{job.token}", headers=headers).status_code == 404
    for action in ("cancel", "rerun", "delete"):
        assert client.post(f"/jobs/{job.token}/{action}").status_code == 404
    job.refresh_from_db()
    assert job.state == JobState.QUEUED


def test_a_deleted_job_is_gone_for_its_owner_and_was_never_there_for_others(client, server_profile):
    alice, bob = User.objects.create_user("alice"), User.objects.create_user("bob")
    job = make_job("127.66.0.1", owner=alice)
    client.force_login(alice)
    client.post(f"/jobs/{job.token}/delete")
    assert client.get(f"/jobs/{job.token}").status_code == 410
    client.force_login(bob)
    assert client.get(f"/jobs/{job.token}").status_code == 404


def test_an_open_page_of_a_deleted_job_is_told_once_and_asks_no_more(client):
    job = running_job()
    urls = [poll_url(page_of(client, job)), f"/jobs/{job.token}/hosts/1?seen=pending"]
    client.post(f"/jobs/{job.token}/delete")
    for url in urls:
        told = client.get(url, headers=POLL)
        assert told.status_code == 286
        assert (told["HX-Retarget"], told["HX-Reswap"]) == ("#main", "afterbegin show:top")
        assert told["Cache-Control"] == "private, no-store"
        assert text_of(told.content.decode()).startswith("This job was deleted.")
        assert "<html" not in told.content.decode()


def test_no_cache_keeps_that_a_job_is_gone_or_unknown(client):
    job = running_job()
    client.post(f"/jobs/{job.token}/delete")
    for token, status in ((job.token, 410), ("e" * 32, 404)):
        answer = client.get(f"/jobs/{token}")
        assert (answer.status_code, answer["Cache-Control"]) == (status, "private, no-store")


def test_only_staff_see_from_where_a_job_was_asked_for(client, server_profile):
    alice, staff = User.objects.create_user("alice"), User.objects.create_user("root", is_staff=True)
    job = make_job("127.66.0.1", owner=alice)
    make_result(make_report("127.66.0.1"), job=job)
    audit.record(AuditEvent.Action.SUBMIT, actor=alice, via="key abcd", address="192.0.2.77", job_token=job.token)
    seen = {}
    for user in (alice, staff):
        client.force_login(user)
        seen[user.username] = text_of(page_of(client, job))
    assert "Asked by alice key abcd from 192.0.2.77" in seen["root"]
    assert "192.0.2.77" not in seen["alice"]
    assert "Asked by alice" in seen["alice"]


def test_a_signed_in_person_can_download(client, server_profile):
    alice = User.objects.create_user("alice")
    job = make_job("127.66.0.1", owner=alice)
    make_result(make_report("127.66.0.1"), job=job)
    client.force_login(alice)
    for path in re.findall(r'href="(/scan/[^"]+)"', page_of(client, job)):
        assert client.get(path).status_code == 200


# What can be done


def test_cancelling_ends_the_job_and_leads_back(client):
    job = running_job()
    response = client.post(f"/jobs/{job.token}/cancel", follow=True)
    assert response.redirect_chain == [(f"/jobs/{job.token}", 302)]
    job.refresh_from_db()
    assert job.outcome == JobOutcome.CANCELLED
    again = client.post(f"/jobs/{job.token}/cancel")
    assert again.status_code == 409
    assert "had ended before it could be cancelled" in text_of(again.content.decode())


def test_a_rerun_leads_to_the_new_job(client):
    job = finished_job()
    for data, targets in (({}, 5), ({"only": "failed"}, 2)):
        response = client.post(f"/jobs/{job.token}/rerun", data)
        assert response.status_code == 302
        again = ScanJob.objects.get(token=response["Location"].removeprefix("/jobs/"))
        assert again.total_targets == targets
    page = text_of(page_of(client, job))
    assert "Scan all 5 again" in page
    assert "Rerun the 2 without a full result" in page


def test_a_rerun_that_cannot_be_says_why(client):
    running, whole = running_job(), make_result(make_report("127.66.0.1")).job
    cases = [(running, {}, "The job still runs"), (whole, {"only": "failed"}, "Every target of the job has a full result")]
    for job, data, words in cases:
        response = client.post(f"/jobs/{job.token}/rerun", data)
        assert response.status_code == 409
        assert set(response["Cache-Control"].split(", ")) == {"private", "no-store"}
        assert words in text_of(response.content.decode())
    assert ScanJob.objects.count() == 2


def test_a_rerun_beyond_a_lowered_limit_says_which(client, settings):
    job = finished_job()
    settings.SCAN_MAX_TARGETS = 2
    response = client.post(f"/jobs/{job.token}/rerun")
    assert response.status_code == 422
    assert 'role="alert"' in response.content.decode()


def test_reruns_draw_on_the_quota_of_submissions(client, settings):
    settings.QUOTAS = {**settings.QUOTAS, "submit": (1, 3600)}
    job = finished_job()
    assert client.post(f"/jobs/{job.token}/rerun").status_code == 302
    refused = client.post(f"/jobs/{job.token}/rerun")
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0


def test_deleting_leaves_no_row_and_a_tombstone(client):
    job = finished_job()
    assert client.post(f"/jobs/{job.token}/delete").status_code == 302
    assert not TargetResult.objects.exists()
    assert client.get(f"/jobs/{job.token}").status_code == 410


def test_nothing_is_done_by_a_get_or_without_the_token_of_the_form(client):
    job, strict = running_job(), Client(enforce_csrf_checks=True)
    for action in ("cancel", "rerun", "delete"):
        response = client.get(f"/jobs/{job.token}/{action}")
        assert response["Location"] == f"/jobs/{job.token}", "as after a login that came in between"
        assert strict.post(f"/jobs/{job.token}/{action}").status_code == 403
    job.refresh_from_db()
    assert job.state == JobState.RUNNING


# What it costs


@pytest.mark.parametrize("query", ["", "?port=6379", "?finding=EXP-009", "?level=high&state=done&q=127"])
def test_a_thousand_targets_cost_as_many_queries_as_one(client, query):
    large_job(1)  # so that both have an earlier result to be compared with
    one, many = large_job(1), large_job(1024)
    with CaptureQueriesContext(connection) as few:
        assert len(targets_in(page_of(client, one, query))) == 1
    with CaptureQueriesContext(connection) as lots:
        assert len(targets_in(page_of(client, many, query))) == 100
    assert len(lots) == len(few)


def test_a_poll_of_a_thousand_targets_costs_as_many_queries_as_one(client):
    counts = []
    for n in (2, 1024):
        job = large_job(n, state=TargetState.SCANNED)
        url = poll_url(page_of(client, job))
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url, headers=POLL).status_code == 204
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 5


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
        assert set(response["Cache-Control"].split(", ")) == {"private", "no-store"}
        assert inline_parts(response.content.decode()) == []
