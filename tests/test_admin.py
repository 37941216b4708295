"""The admin: everything can be reviewed, jobs and cached replies can be purged, nothing can be added or edited."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from django_q.models import OrmQ, Task

from scans.models import (
    AuditEvent,
    DeletedJob,
    RateBucket,
    ScanJob,
    SourceReply,
    TargetAddress,
    TargetResult,
    WorkerHeartbeat,
)
from tests.factories import make_address, make_job, make_report, make_result
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = [pytest.mark.django_db, pytest.mark.ignore_template_errors]  # the stock templates rely on missing variables
OURS = ["scanjob", "targetresult", "sourcereply", "workerheartbeat", "ratebucket"]
LISTS = [*(f"scans/{name}" for name in OURS), "django_q/ormq", "django_q/success", "django_q/failure"]


@pytest.fixture
def everything() -> TargetResult:
    """One row of each kind."""
    now = timezone.now()
    row = make_result(make_report("https://shop.invalid/<script>alert(1)</script>", make_address(open_ports=[22])))
    SourceReply.objects.create(source="ip-api", address="127.66.0.1", state="ok", observed_at=now, expires_at=now)
    WorkerHeartbeat.objects.create(kind="slice", host="lab", pid=1, started_at=now, seen_at=now)
    RateBucket.objects.create(name="ip-api", tokens=3, counted_at=now)
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
    assert "IP Intelligence Scanner, administration" in page
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
