"""The admin: everything can be reviewed, jobs and cached replies can be purged, nothing can be added or edited."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ, Task

from scans.admin import base
from scans.admin import jobs as jobs_admin
from scans.admin import purge as purge_admin
from scans.admin.search import job_query, result_query
from scans.core.risk.operators import lay_over
from scans.core.types import SourceState
from scans.models import (
    AuditEvent,
    DeletedJob,
    ModelAnswer,
    RateBucket,
    ScanJob,
    SourceHealth,
    SourceReply,
    TargetAddress,
    TargetResult,
    WorkerHeartbeat,
)
from scans.services.audit import COMMAND_LINE
from scans.services.rescore import Selection, rescore
from tests.factories import make_address, make_job, make_report, make_result, make_source
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = [pytest.mark.django_db, pytest.mark.ignore_template_errors]  # the stock templates rely on missing variables
OURS = [
    "scanjob",
    "targetresult",
    "sourcereply",
    "modelanswer",
    "workerheartbeat",
    "ratebucket",
    "sourcehealth",
    "rescore",
    "rescoredverdict",
]
LISTS = [*(f"scans/{name}" for name in OURS), "django_q/ormq", "django_q/success", "django_q/failure"]


@pytest.fixture
def everything() -> TargetResult:
    """One row of each kind."""
    now = timezone.now()
    row = make_result(make_report("https://shop.invalid/<script>alert(1)</script>", make_address(open_ports=[22])))
    SourceReply.objects.create(source="ip-api", address="127.66.0.1", state="ok", observed_at=now, expires_at=now)
    ModelAnswer.objects.create(digest="a" * 64, answer="<script>alert(1)</script>", model="m", created_at=now)
    WorkerHeartbeat.objects.create(kind="slice", host="lab", pid=1, started_at=now, seen_at=now)
    RateBucket.objects.create(name="ip-api", tokens=3, counted_at=now)
    SourceHealth.objects.create(source="ip-api", failures=2, last_miss="failed: HTTP 503")
    list(rescore(lay_over("disable: [EXP-002]"), "disable: [EXP-002]", Selection(), origin=COMMAND_LINE))
    OrmQ.objects.create(key="scan", payload="not a pickle", lock=now)
    for number, success in enumerate((True, False)):
        Task.objects.create(id=str(number), name=f"task-{number}", func="f", started=now, stopped=now, success=success)
    return row


@pytest.mark.parametrize("path", LISTS)
def test_every_list_and_every_row_can_be_looked_at_and_not_changed(admin_client, everything, path):
    response = admin_client.get(f"/admin/{path}/")
    page = response.content.decode()
    assert response.status_code == 200
    assert policy_of(response) == POLICY
    assert inline_parts(page) == []
    assert f"/admin/{path}/add/" not in page
    row = re.search(rf'href="(/admin/{path}/[^"/]+/change/[^"]*)"', page)[1]
    shown = admin_client.get(row)
    assert shown.status_code == 200
    assert inline_parts(shown.content.decode()) == []
    assert not re.search(r'name="_save"|<textarea|<select', shown.content.decode())
    assert admin_client.post(row, {"state": "done"}).status_code == 403
    assert admin_client.post(f"/admin/{path}/add/", {}).status_code == 403


def test_the_index_names_the_product_and_has_no_schedules(admin_client):
    page = admin_client.get("/admin/").content.decode()
    assert "<h1>Review and purge</h1>" in page
    assert "IP Intelligence Scanner" in page
    assert "Scheduled tasks" not in page


def test_what_a_target_is_called_is_escaped(admin_client, everything):
    for path in ("scans/targetresult/", f"scans/targetresult/{everything.pk}/change/", "scans/scanjob/"):
        page = admin_client.get(f"/admin/{path}").content.decode()
        assert "<script>alert" not in page


def test_lists_show_no_json(admin_client, everything):
    for path in ("scans/scanjob/", "scans/targetresult/"):
        assert "port_states" not in admin_client.get(f"/admin/{path}").content.decode()


@pytest.mark.parametrize("path", ["scans/scanjob", "scans/targetresult"])
def test_a_list_costs_as_many_queries_for_many_rows_as_for_one(admin_client, django_assert_max_num_queries, path):
    make_job(*(f"127.66.0.{n}" for n in range(1, 30)))
    make_result(make_report("127.66.1.1"))
    with django_assert_max_num_queries(6):
        admin_client.get(f"/admin/{path}/")


@pytest.mark.parametrize(
    ("path", "query", "found"),
    [
        ("scanjob", "TOKEN", 1),
        ("scanjob", "127.66.0", 1),
        ("scanjob", "66.0", 0),
        ("scanjob", "127.66.0.1&state=running", 0),
        ("targetresult", "TOKEN", 2),
        ("targetresult", "127.66.0.", 2),
        ("targetresult", "127.66.0.1", 1),
        ("targetresult", "66.0", 0),
        ("targetresult", "127.66.0.&state=done", 1),
        ("targetresult", "127.66.0.&risk_level=low", 1),
    ],
)
def test_search_and_filter_find_what_is_meant(admin_client, path, query, found):
    job = make_job("127.66.0.1", "127.66.0.2")
    make_result(make_report("127.66.0.1"), job=job)
    make_job("127.99.0.1")
    page = admin_client.get(f"/admin/scans/{path}/?q={query.replace('TOKEN', job.token)}").content.decode()
    assert page.count('<th class="field-') == found


def test_deleting_a_job_asks_first_and_then_purges_all_that_belongs_to_it(admin_client, everything):
    kept = make_job("127.66.0.9")
    url = f"/admin/scans/scanjob/{everything.job_id}/delete/"
    asked = admin_client.get(url).content.decode()
    assert "Target results: 1" in re.sub(r"<[^>]*>", "", asked)
    assert ScanJob.objects.count() == 2
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert list(ScanJob.objects.all()) == [kept]
    assert [row.job_id for row in TargetResult.objects.all()] == [kept.pk]
    assert not TargetAddress.objects.exists()


def test_jobs_can_be_purged_together(admin_client, everything):
    data = {"action": "delete_selected", "_selected_action": [everything.job_id]}
    page = admin_client.post("/admin/scans/scanjob/", data)
    assert policy_of(page) == POLICY
    assert "Are you sure" in page.content.decode()
    admin_client.post("/admin/scans/scanjob/", {**data, "post": "yes"})
    assert not ScanJob.objects.exists()


def test_cached_replies_can_be_purged_and_nothing_else(admin_client, everything):
    reply = SourceReply.objects.get()
    assert admin_client.post(f"/admin/scans/sourcereply/{reply.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not SourceReply.objects.exists()
    keys = {
        "scans/targetresult": everything.pk,
        "scans/workerheartbeat": WorkerHeartbeat.objects.get().pk,
        "scans/ratebucket": RateBucket.objects.get().pk,
        "django_q/ormq": OrmQ.objects.get().pk,
        "django_q/success": "0",
    }
    for path, key in keys.items():
        assert admin_client.post(f"/admin/{path}/{key}/delete/", {"post": "yes"}).status_code == 403


def test_staff_without_the_permission_cannot_purge(client, everything):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert client.get("/admin/scans/scanjob/").status_code == 200
    assert client.post(f"/admin/scans/scanjob/{everything.job_id}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [everything.job_id], "post": "yes"}
    client.post("/admin/scans/scanjob/", data)
    assert ScanJob.objects.exists()


def test_the_login_page_has_the_policy_and_the_icon(client):
    response = client.get("/admin/login/")
    assert policy_of(response) == POLICY
    assert "img/icon.svg" in response.content.decode()
    assert inline_parts(response.content.decode()) == []


def act(client, action: str, *jobs: ScanJob):
    chosen = {"action": action, "_selected_action": [job.pk for job in jobs]}
    return client.post("/admin/scans/scanjob/", chosen, follow=True).content.decode()


def test_chosen_jobs_are_cancelled_and_scanned_again_with_an_audit_event(admin_client):
    running, finished = make_job("127.66.0.1", "127.66.0.2"), make_result(make_report("127.66.0.3")).job
    assert "1 of 2 jobs were cancelled" in act(admin_client, "cancel", running, finished)
    running.refresh_from_db()
    assert running.outcome == "cancelled"
    assert "1 of 2 jobs are scanned again" in act(admin_client, "rerun_failed", running, finished)
    assert "2 of 2 jobs are scanned again" in act(admin_client, "rerun", running, finished)
    assert ScanJob.objects.count() == 5
    assert AuditEvent.objects.filter(action="cancel", actor="admin").count() == 1
    assert AuditEvent.objects.filter(action="rerun", actor="admin").count() == 3


def test_a_purge_in_the_admin_leaves_a_tombstone_and_an_audit_event(admin_client, everything):
    chosen = {"action": "delete_selected", "_selected_action": [everything.job.pk], "post": "yes"}
    admin_client.post("/admin/scans/scanjob/", chosen)
    assert not ScanJob.objects.exists()
    assert DeletedJob.objects.get().token == everything.job.token
    assert AuditEvent.objects.get(action="delete").actor == "admin"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("risk=high", 1),
        ("risk=critical", 0),
        ("q=127.66.0.40", 1),
        ("q=Off", 1),
        ("q=nothing", 0),
        ("mode__exact=standard", 2),
    ],
)
def test_jobs_are_found_by_level_address_and_label(admin_client, query, expected):
    make_result(
        make_report("127.66.0.40", make_address("127.66.0.40", open_ports=[6379])),
        job=make_job("127.66.0.40", label="Office"),
    )
    make_job("127.66.0.41")
    page = admin_client.get(f"/admin/scans/scanjob/?{query}").content.decode()
    assert page.count('class="action-select"') == expected


def test_a_list_costs_as_many_queries_for_fifty_jobs_as_for_one(admin_client, django_assert_max_num_queries):
    for _ in range(50):
        make_job("127.66.0.1")
    with django_assert_max_num_queries(12):
        admin_client.get("/admin/scans/scanjob/")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("127.66.7.1", 1),  # whole, so not 127.66.7.10
        ("127.66.7.10", 1),
        ("::ffff:127.66.7.1", 0),
        ("https://Shop.invalid/a", 1),
        ("https://shop.invalid/b", 0),
        ("SHOP.inv", 1),
        ("%", 0),
        ("_hop", 0),
        ("office", 1),
        ("\x00", 3),  # refused as a search, with a message: the list is as without one
        ("x" * 5000, 0),
        ("2001:DB8::1", 1),
    ],
)
def test_a_search_finds_what_is_meant_and_takes_no_pattern(admin_client, query, found):
    for texts in (("127.66.7.1",), ("127.66.7.10", "2001:db8::1"), ("https://Shop.invalid/a",)):
        make_job(*texts, label="Office" if "Shop" in texts[0] else "")
    page = admin_client.get("/admin/scans/scanjob/", {"q": query})
    assert page.status_code == 200
    assert page.content.decode().count('class="action-select"') == found


@pytest.mark.parametrize("few", [0, 10_000])
def test_results_are_found_by_the_owner_of_their_job_by_either_way(admin_client, monkeypatch, few):
    monkeypatch.setattr(jobs_admin, "FEW_OWNED", few)
    ada, grace, nobody = (User.objects.create_user(name) for name in ("ada", "grace", "edsger"))
    make_job("127.66.7.1", "127.66.7.2", owner=ada)
    make_job("127.66.7.3", owner=grace)
    make_job("127.66.7.4", owner=ada)
    make_job("127.66.7.5")
    for query, found in {
        f"id__exact={ada.pk}": ["127.66.7.4", "127.66.7.2", "127.66.7.1"],
        f"id__exact={grace.pk}": ["127.66.7.3"],
        f"id__exact={nobody.pk}": [],
        "isnull=True": ["127.66.7.5"],
    }.items():
        page = admin_client.get(f"/admin/scans/targetresult/?job__owner__{query}").content.decode()
        assert re.findall(r'<th class="field-target[^>]*><a[^>]*>([^<]*)', page) == found
    assert admin_client.get("/admin/scans/targetresult/?job__owner__id__exact=zz").status_code == 302


def test_results_are_found_by_how_a_name_begins(admin_client):
    make_job("shop.invalid", "shopping.invalid", "other.invalid")
    page = admin_client.get("/admin/scans/targetresult/?q=shop").content.decode()
    assert re.findall(r'<th class="field-target[^>]*><a[^>]*>([^<]*)', page) == ["shopping.invalid", "shop.invalid"]


def test_how_a_name_begins_is_read_from_an_index():
    if connection.vendor == "sqlite":
        for query in (TargetResult.objects.filter(result_query("shop.")), ScanJob.objects.filter(job_query("shop."))):
            assert re.search(r"SEARCH .* USING (COVERING )?INDEX target_host \(host>\? AND host<\?\)", query.explain())


def test_a_list_brings_none_of_the_json_from_the_database(admin_client, everything, django_assert_max_num_queries):
    for path in ("scanjob", "targetresult"):
        with django_assert_max_num_queries(6) as queries:
            admin_client.get(f"/admin/scans/{path}/")
        for column in ("evidence", "verdict", "summary", "partial", "spec", "submitted", "rejected", "warnings"):
            assert not [query for query in queries.captured_queries if f'"{column}"' in query["sql"]], column


@pytest.mark.parametrize("path", ["scanjob", "targetresult", "sourcereply"])
def test_no_list_reads_its_whole_table_to_offer_values(admin_client, everything, path):
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(f"/admin/scans/{path}/")
    assert not [query for query in queries.captured_queries if "DISTINCT" in query["sql"]]


def test_replies_of_sources_are_filtered(admin_client, everything):
    for query, found in {"source=ip-api": 1, "state=ok": 1, "state=empty": 0, "source=other": 0}.items():
        page = admin_client.get(f"/admin/scans/sourcereply/?{query}").content.decode()
        assert page.count('class="action-select"') == found, query


def test_a_long_list_is_counted_no_further_than_needed_and_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(base, "MAX_COUNTED", 60)
    make_job(*(f"127.66.0.{n}" for n in range(1, 81)))
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get("/admin/scans/targetresult/").content.decode()
    assert "<h1>Target results (the first 60: search or filter for others)" in page
    counts = [
        query["sql"] for query in queries.captured_queries if "COUNT(" in query["sql"] and "targetresult" in query["sql"]
    ]
    assert counts
    assert all("LIMIT 60" in sql for sql in counts)
    few = admin_client.get("/admin/scans/targetresult/?q=127.66.0.7").content.decode()
    assert "the first 60" not in few


def test_filters_narrow_jobs_down_by_each_of_their_columns(admin_client):
    ada, ben = (User.objects.create_user(name) for name in ("ada", "ben"))
    job = make_job("127.66.0.1", owner=ada, mode="ai")
    make_result(make_report("127.66.0.1", make_address(open_ports=[6379])), job=job)
    make_job("127.66.0.2", owner=ben)
    for query, other in {
        f"owner__id__exact={ada.pk}": f"owner__id__exact={ben.pk}",
        "state__exact=complete": "state__exact=queued",
        "outcome__exact=complete": "outcome__exact=",
        "mode__exact=ai": "mode__exact=standard",
    }.items():
        assert job.token in admin_client.get(f"/admin/scans/scanjob/?{query}").content.decode(), query
        assert job.token not in admin_client.get(f"/admin/scans/scanjob/?{other}").content.decode(), other


# --- Actions -------------------------------------------------------------------------------------------------------


def exported(client, kind: str, *jobs: ScanJob) -> str:
    reply = client.post("/admin/scans/scanjob/", {"action": f"export_{kind}", "_selected_action": [job.pk for job in jobs]})
    assert reply.status_code == 200
    assert reply["Content-Disposition"] == f'attachment; filename="scans.{kind}"'
    return b"".join(reply.streaming_content).decode()


def test_chosen_jobs_are_exported_with_every_result(admin_client):
    jobs = [make_job("127.66.0.1", "127.66.0.2"), make_job("127.66.0.3")]
    for job in jobs:
        for row in job.targets.all():
            make_result(make_report(row.target, make_address(row.target, open_ports=[22])), job=job)
    other = make_result(make_report("127.66.0.9")).job
    lines = [json.loads(line) for line in exported(admin_client, "ndjson", *jobs).splitlines()]
    assert {(line["job"], line["target"]) for line in lines} == {
        (jobs[0].token, "127.66.0.1"), (jobs[0].token, "127.66.0.2"), (jobs[1].token, "127.66.0.3"),
    }  # fmt: skip
    assert lines[0]["open_ports"] == [22]
    rows = list(csv.DictReader(io.StringIO(exported(admin_client, "csv", *jobs))))
    assert [row["target"] for row in rows if row["job"] == jobs[0].token] == ["127.66.0.1", "127.66.0.2"]
    assert other.token not in {row["job"] for row in rows}


def test_no_exported_cell_is_a_formula(admin_client):
    report = make_report("127.66.0.1")
    row = make_result(report)
    row.summary["text"] = "=HYPERLINK(1)"
    row.save()
    (line,) = csv.DictReader(io.StringIO(exported(admin_client, "csv", row.job)))
    assert line["risk_summary"] == "'=HYPERLINK(1)"


def test_an_action_on_more_jobs_than_one_request_should_do_does_nothing(admin_client, monkeypatch):
    monkeypatch.setattr(jobs_admin, "MAX_JOBS", 2)
    jobs = [make_job("127.66.0.1") for _ in range(3)]
    assert "Nothing was done: choose at most 2 jobs." in act(admin_client, "cancel", *jobs)
    assert set(ScanJob.objects.values_list("state", flat=True)) == {"queued"}


def test_staff_who_may_only_look_can_export_and_do_nothing_else(client, everything):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    running = make_job("127.66.0.9")
    page = client.get("/admin/scans/scanjob/").content.decode()
    for action in ("cancel", "rerun", "rerun_failed", "delete_selected"):
        assert f'value="{action}"' not in page
        act(client, action, running, everything.job)
    assert set(ScanJob.objects.values_list("state", flat=True)) == {"queued", "complete"}
    assert "127.66.0.1" in exported(client, "ndjson", everything.job)


def test_a_purge_of_many_jobs_names_some_and_counts_all(admin_client, monkeypatch):
    monkeypatch.setattr(jobs_admin, "MAX_NAMED", 2)
    jobs = [make_job("127.66.0.1", "127.66.0.2") for _ in range(5)]
    data = {"action": "delete_selected", "_selected_action": [job.pk for job in jobs]}
    asked = re.sub(r"<[^>]*>", "", admin_client.post("/admin/scans/scanjob/", data).content.decode())
    assert "and 3 more" in asked
    assert "Target results: 10" in asked


# --- The index -----------------------------------------------------------------------------------------------------


def overview_of(client) -> str:
    response = client.get("/admin/")
    assert policy_of(response) == POLICY
    page = response.content.decode()
    assert inline_parts(page) == []
    text = re.sub(r"<[^>]*>", " ", page.partition('id="overview"')[2])
    return re.sub(r"\s+([.,:])", r"\1", re.sub(r"\s+", " ", text))


def test_the_index_says_what_waits_and_who_is_at_it(admin_client, everything):
    old = make_job("127.66.0.2", "127.66.0.3", created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    make_job("127.66.0.4")
    now = timezone.now()
    WorkerHeartbeat.objects.create(kind="supervisor", host="lab", pid=2, started_at=now, seen_at=now)
    WorkerHeartbeat.objects.create(kind="supervisor", host="gone", pid=3, started_at=now, seen_at=now - timedelta(minutes=1))
    said = overview_of(admin_client)
    assert "Jobs not finished 2 queued 2, running 0, complete 1, cancelled 0" in said
    assert "Targets waiting 3 in work 0, awaiting a summary 0" in said
    assert "The oldest job waits since 2 Jan 2026, 03:04:05 UTC" in said
    assert "Workers 1 alive, slices at work 1" in said
    assert "Source answers that failed 0 in the newest 1 result of the last day ip-api: ok 1" in said
    old.delete()


def test_the_index_counts_each_state_of_each_source(admin_client):
    make_result(make_report("127.66.0.1"))
    for n in (2, 3):
        failed = make_source(SourceState.RATE_LIMITED, reason="quota")
        make_result(make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", sources=[failed])))
    yesterday = make_result(make_report("127.66.0.4"))
    yesterday.scanned_at = timezone.now() - timedelta(hours=25)
    yesterday.save()
    said = overview_of(admin_client)
    assert "Source answers that failed 2 in the newest 3 results" in said
    assert "rate_limited 2" in said
    assert "ok 1" in said


def test_the_index_is_calm_when_there_is_nothing(admin_client):
    said = overview_of(admin_client)
    assert "Jobs not finished 0" in said
    assert "oldest" not in said
    assert "none is alive, nothing will be scanned" in said
    assert "no source was asked in the last day" in said
    assert "Sources on hold 0 every source may be asked" in said
    assert "Failed logins, 24 hours 0" in said


def test_the_index_costs_a_few_queries_however_much_there_is(admin_client, django_assert_max_num_queries):
    for n in range(1, 30):
        make_result(make_report(f"127.66.0.{n}"))
    with django_assert_max_num_queries(10):  # seven, the session, its user, and the workers in the frame
        admin_client.get("/admin/")


def test_staff_who_may_not_see_jobs_see_no_numbers_of_them(client):
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert 'id="overview"' not in client.get("/admin/").content.decode()


def test_the_index_counts_failed_logins_and_sources_on_hold(admin_client):
    now = timezone.now()
    for at in (now, now - timedelta(hours=23), now - timedelta(hours=25)):
        AuditEvent.objects.create(at=at, action="login_failed", address="127.0.0.1")
    for name, until in (("ip-api", now + timedelta(minutes=1)), ("shodan", now - timedelta(minutes=1))):
        SourceHealth.objects.create(source=name, blocked_until=until)
    said = overview_of(admin_client)
    assert "Failed logins, 24 hours 2 in the audit trail" in said
    assert "Sources on hold 1 ip-api until" in said
    assert "shodan" not in said
    held = SourceHealth.objects.get(source="ip-api")
    page = admin_client.get("/admin/").content.decode()
    for path in (f"/admin/scans/sourcehealth/{held.pk}/change/", "/sources"):
        assert f'href="{path}"' in page
        assert admin_client.get(path).status_code == 200


# --- Purge by age --------------------------------------------------------------------------------------------------

PURGE = "/admin/scans/scanjob/purge/"


def test_a_purge_says_what_would_go_and_takes_it_only_when_sent(admin_client, everything):
    kept = make_job("127.66.0.9")
    ScanJob.objects.filter(pk=everything.job_id).update(finished_at=timezone.now() - timedelta(days=8))
    assert PURGE in admin_client.get("/admin/scans/scanjob/").content.decode()
    assert "Would go" not in admin_client.get(PURGE).content.decode()
    asked = re.sub(r"<[^>]*>", " ", admin_client.get(PURGE, {"days": 7, "replies": "on"}).content.decode())
    assert re.search(r"Jobs\s+1\s+Their targets\s+1\s+Replies of sources\s+1", asked)
    assert ScanJob.objects.count() == 2
    page = admin_client.post(PURGE, {"days": 7, "replies": "on"}, follow=True)
    assert "Purged 1 jobs with 1 targets and 1 replies of sources." in page.content.decode()
    assert list(ScanJob.objects.all()) == [kept]
    assert DeletedJob.objects.get().token == everything.job.token
    assert AuditEvent.objects.get(action="purge").actor == "admin"


def test_a_purge_of_nothing_says_so(admin_client):
    page = admin_client.get(PURGE, {"days": 7}).content.decode()
    assert "Nothing is that old" in page
    assert "for good" not in page


@pytest.mark.parametrize("days", ["0", "-1", "x", "", "99999999999"])
def test_a_purge_by_no_age_takes_nothing(admin_client, everything, days):
    page = admin_client.post(PURGE, {"days": days})
    assert page.status_code == 200
    assert 'class="error"' in page.content.decode()
    assert ScanJob.objects.count() == 1


def test_a_purge_that_takes_too_long_for_one_request_says_that_more_is_left(admin_client, everything, monkeypatch):
    monkeypatch.setattr(purge_admin, "PATIENCE_SECONDS", -1.0)
    ScanJob.objects.update(finished_at=timezone.now() - timedelta(days=8))
    SourceReply.objects.update(expires_at=timezone.now() - timedelta(days=8))
    page = admin_client.post(PURGE, {"days": 7}, follow=True).content.decode()
    assert "More is left: purge again" in page
    assert ScanJob.objects.count() == 1


def test_staff_without_the_permission_cannot_purge_by_age(client, everything):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert PURGE not in client.get("/admin/scans/scanjob/").content.decode()
    assert client.get(PURGE).status_code == 403
    assert client.post(PURGE, {"days": 1}).status_code == 403
