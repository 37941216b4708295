"""What changed on a finished job's page: the right earlier results, compared with care, and always as many queries."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from scans import selectors
from scans.core.types import Outcome, Report
from scans.models import ScanJob
from scans.services import audit
from scans.services.rerun import rerun_job
from tests.factories import make_address, make_failure, make_job, make_report, make_result, make_service, spread
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
NOBODY = AnonymousUser()
JOB_CHANGES = sys.modules["scans.selectors.job_changes"]  # the package has a function of that name


def report(text: str = "127.66.0.1", *open_ports: int, **seen: Any) -> Report:
    """What a scan saw: of ports that are not named, that they are closed."""
    ports = (21, 22, 80, 6379, 8443)
    return make_report(text, make_address(text, open_ports=open_ports, ports=ports, **seen))


def scanned(*reports: Report, days_ago: float = 0, job: ScanJob | None = None, **columns: Any) -> ScanJob:
    """A finished job whose results came so long ago."""
    job = job or make_job(*(each.target.text for each in reports), **columns)
    for each in reports:
        make_result(each, job=job)
    job.targets.update(scanned_at=F("scanned_at") - timedelta(days=days_ago))
    job.refresh_from_db()
    return job


def again(job: ScanJob, *reports: Report, only_failed: bool = False) -> ScanJob:
    """The same job scanned once more."""
    return scanned(*reports, job=rerun_job(job, only_failed=only_failed, owner=job.owner_id, by=audit.SYSTEM))


def since(job: ScanJob, user=NOBODY) -> selectors.JobChanges | None:
    return selectors.job_changes(job, user, base=selectors.repeated_job(job, user))


def told(found: selectors.JobChanges) -> list[tuple[str, list[tuple[str, str]]]]:
    """By target, the kind of each change and what it is about."""
    return [
        (target.now.target, [(change.kind, change.ports or change.what) for change in target.changes])
        for target in found.listed
    ]


def page_of(client, job: ScanJob) -> str:
    return client.get(job.get_absolute_url()).content.decode()


def test_a_first_scan_has_no_such_section(client):
    scanned(report("127.66.0.2", 22), days_ago=1)
    job = scanned(report("127.66.0.1", 22))
    assert since(job) is None
    assert "What changed" not in page_of(client, job)


def test_each_target_is_compared_with_its_newest_earlier_result():
    scanned(report("127.66.0.1", 21, 22), days_ago=9)
    scanned(report("127.66.0.1", 22), report("127.66.0.2", 22), days_ago=5)
    last = scanned(report("127.66.0.2", 22, 80), days_ago=3)
    scanned(make_failure("127.66.0.2", "gave_up", "Gave up."), days_ago=2)
    job = scanned(report("127.66.0.1", 22, 6379), report("127.66.0.2", 22), report("127.66.0.3", 22))
    later = scanned(report("127.66.0.1"))
    found = since(job)
    assert told(found) == [
        ("127.66.0.1", [("changed", "Level"), ("appeared", "6379")]),
        ("127.66.0.2", [("disappeared", "80")]),
    ]
    assert found.listed[1].then.url == last.targets.get().get_absolute_url()
    assert (found.changed, found.same, found.first, found.without_result) == (2, 0, 1, 0)
    assert (found.risen, found.fallen, found.opened, found.closed) == (1, 0, 1, 1)
    assert told(since(later)) == [("127.66.0.1", [("changed", "Level"), ("disappeared", "22,6379")])]
    assert (since(later).risen, since(later).fallen) == (0, 1)


def test_a_rerun_is_compared_with_the_job_it_repeats_and_not_with_what_came_between(client):
    first = scanned(report("127.66.0.1", 22), report("127.66.0.2", 22), days_ago=3)
    scanned(report("127.66.0.1", 22, 80), days_ago=2)
    job = again(first, report("127.66.0.1", 22, 80), report("127.66.0.2", 22))
    assert job.rerun_of == first.token
    found = since(job)
    assert found.base == first
    assert told(found) == [("127.66.0.1", [("appeared", "80")])]
    page = page_of(client, job)
    assert f'<a href="{first.get_absolute_url()}">the job that this one repeats</a>' in page
    assert f"Scans again job {first.token}" in text_of(page)
    assert client.get(f"/scan/{job.token}").json()["rerun_of"] == first.token
    assert client.get(f"/scan/{first.token}").json()["rerun_of"] is None
    first.delete()
    assert since(job).listed == (), "the scan between is the newest earlier result now, and it saw the same"
    assert "which is not here any more, or not yours to see" in text_of(page_of(client, job))


def test_targets_that_failed_then_are_compared_with_their_last_result_before():
    scanned(report("127.66.0.1", 22), days_ago=5)
    failed = scanned(make_failure("127.66.0.1", "gave_up", "Gave up."), days_ago=3)
    assert told(since(again(failed, report("127.66.0.1", 22, 80), only_failed=True))) == [
        ("127.66.0.1", [("appeared", "80")])
    ]


def test_only_jobs_that_the_reader_may_see_are_compared(server_profile, client):
    anna, ben, staff = (User.objects.create_user(name, is_staff=name == "staff") for name in ("anna", "ben", "staff"))
    hers = scanned(report("127.66.0.1", 6379), days_ago=2, owner=anna)
    his = scanned(report("127.66.0.1", 22), owner=ben)
    assert since(his, ben) is None
    assert since(his, NOBODY) is None
    assert told(since(his, staff)) == [("127.66.0.1", [("changed", "Level"), ("appeared", "22"), ("disappeared", "6379")])]
    taken_over = scanned(report("127.66.0.1", 22), owner=ben, rerun_of=hers.token)
    assert selectors.repeated_job(taken_over, ben) is None
    assert since(taken_over, ben).base is None
    client.force_login(ben)
    page = page_of(client, taken_over)
    assert hers.get_absolute_url() not in page
    assert "6379 closed" not in text_of(page)


def test_what_one_of_the_two_did_not_see_is_not_called_a_change_and_the_counts_add_up(client):
    before = [report(f"127.66.0.{n}", 22) for n in (1, 2, 3, 4, 5)]
    scanned(*before, days_ago=1)
    now = [
        report("127.66.0.1", filtered=[22]),  # silent now: not known
        report("127.66.0.2", 22, filtered=[80]),  # closed then, silent now: not worth a line
        report("127.66.0.3", 22, 9000),  # nobody looked there then
        make_failure("127.66.0.4", "gave_up", "Gave up."),
        report("127.66.0.5", 22),
    ]
    refused = make_failure("10.0.0.1", "out_of_scope", "Out of scope.", outcome=Outcome.REFUSED)
    job = scanned(*now, refused, report("127.66.0.9"))
    found = since(job)
    assert told(found) == [("127.66.0.3", [("covered", "9000")]), ("127.66.0.1", [("inconclusive", "22")])]
    assert (found.opened, found.closed, found.covered) == (0, 0, 1)
    text = text_of(page_of(client, job))
    assert "2 changed + 2 the same + 1 with no earlier result to compare with + 2 without a full result = 7" in text
    assert "0 levels rose, 0 fell; 0 ports newly open, 0 closed, 1 open where the earlier scan did not look." in text


def test_services_are_compared_and_hostile_ones_escaped(client):
    def serving(version: str) -> Report:
        return report("127.66.0.1", services=[make_service(22, "SSH", product="<b>Open</b>", version=version)])

    scanned(serving("9.1"), days_ago=1)
    page = page_of(client, scanned(serving("9.2<script>")))
    assert "Version of <b>Open</b> on 22 : 9.1 , now 9.2<script>" in text_of(page)
    assert "<script>" not in page.split("What changed")[1]


def test_what_got_worse_comes_first_and_a_long_list_is_cut_and_says_so(client):
    texts = [f"127.66.0.{n}" for n in range(1, 26)]
    scanned(*(report(text, 22) for text in texts), days_ago=1)
    changed = [report(text, 22, 80) for text in texts[:23]] + [report(texts[23], 22, 80, 8443), report(texts[24], 22, 6379)]
    job = scanned(*changed)
    found = since(job)
    assert [target for target, _ in told(found)] == [texts[24], texts[23], *texts[:18]]
    assert (found.changed, found.more) == (25, 5)
    assert "The 20 weightiest are listed" in text_of(page_of(client, job))


def test_too_many_ports_and_too_many_targets_are_left_out_and_said(client, monkeypatch):
    texts = [f"127.66.0.{n}" for n in range(1, 6)]
    scanned(*(report(text, 22) for text in texts), days_ago=1)
    job = scanned(report(texts[0], 21, 22, 80, 6379), *(report(text, 22) for text in texts[1:]))
    monkeypatch.setattr(JOB_CHANGES, "MAX_TARGETS", 3)
    monkeypatch.setattr(JOB_CHANGES, "MAX_COMPARED_PORTS", 5)
    found = since(job)
    assert (found.changed, found.same, found.too_large, found.unread) == (0, 2, 1, 2)
    text = text_of(page_of(client, job))
    assert "1 where too many ports differ to compare them here + 2 less at risk and not compared here" in text


def test_what_changed_is_kept_while_the_earlier_results_are_there(django_assert_num_queries):
    first = scanned(report("127.66.0.1", 22, 6379), days_ago=2)
    second = scanned(report("127.66.0.1", 22), days_ago=1)
    job = scanned(report("127.66.0.1", 22, 80))
    assert (since(job).opened, since(job).closed) == (1, 0)
    with django_assert_num_queries(3):
        since(job)
    second.delete()
    assert (since(job).opened, since(job).closed) == (1, 1)
    first.delete()
    assert since(job) is None


def test_a_host_that_others_scan_all_day_is_looked_through_no_further_than_a_limit(server_profile, monkeypatch):
    anna, ben = (User.objects.create_user(name) for name in ("anna", "ben"))
    scanned(report("127.66.0.1", 22), days_ago=3, owner=anna)
    for _ in range(3):
        scanned(report("127.66.0.1", 22), days_ago=2, owner=ben)
    job = scanned(report("127.66.0.1", 80), owner=anna)
    monkeypatch.setattr(JOB_CHANGES, "LOOKED_AT", 4)
    assert since(job, anna).changed == 1
    monkeypatch.setattr(JOB_CHANGES, "LOOKED_AT", 3)
    assert since(job, anna) is None


def filled(n: int, *open_ports: int, days_ago: int, **columns: Any) -> ScanJob:
    """A finished job of so many targets that all look alike."""
    texts = [f"127.66.{k // 200}.{k % 200 + 1}" for k in range(n)]
    job = make_job(*texts, **columns)
    spread(make_result(report(texts[0], *open_ports), job=job), job.targets.filter(ordinal__gt=0))
    job.targets.update(scanned_at=F("scanned_at") - timedelta(days=days_ago))
    ScanJob.objects.filter(pk=job.pk).update(state="complete", outcome="complete", finished_at=job.created_at)
    return ScanJob.objects.get(pk=job.pk)


@pytest.mark.parametrize("is_rerun", [False, True])
def test_a_thousand_targets_with_many_earlier_scans_cost_as_many_queries_as_one(client, is_rerun):
    counts = []
    for n, scans in ((1, 1), (1000, 4)):
        ScanJob.objects.all().delete()
        before = [filled(n, 22, days_ago=9 - k) for k in range(scans)]
        job = filled(n, 22, 80, days_ago=0, rerun_of=before[0].token if is_rerun else "")
        client.get(job.get_absolute_url())
        with CaptureQueriesContext(connection) as queries:
            page = page_of(client, job)
        compared = min(n, JOB_CHANGES.MAX_TARGETS)
        assert f"{compared} changed + 0 the same" in text_of(page)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_earlier_results_are_found_by_an_index_and_never_by_walking_a_table():
    job = [filled(50, 22, days_ago=9 - n) for n in range(10)][-1]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # or Postgres plans by what other tests left
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read whole, index or not
    plan = JOB_CHANGES._pairs(job, NOBODY, job).explain()
    assert "target_host" in plan
    assert not re.search(r"\bSCAN |\bSeq Scan ", plan)
    assert "target_claim" not in plan, "a walk over all results there are"
