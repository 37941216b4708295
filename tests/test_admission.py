"""Admission: so much may be open, of one owner and in all; what is too much is refused with a time to come back."""

from __future__ import annotations

import shutil
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from ipscanner import settings as ours
from scans.models import ScanJob, TargetResult, TargetState
from scans.services import admission, doctor
from scans.services.admission import AdmissionRefusedError, current_load
from scans.services.audit import SYSTEM
from scans.services.cancel import cancel_job
from scans.services.jobs import submit_scan
from tests.factories import finish, make_job
from tests.patience import PATIENCE
from tests.services.test_jobs import request
from tests.stack import ROOT
from tests.threads import at_once

MUCH = 10**9


@pytest.fixture
def limits(server_profile):
    """The server profile with limits that a test sets one by one."""
    server_profile.MAX_OPEN_JOBS_PER_OWNER = server_profile.MAX_OPEN_TARGETS_PER_OWNER = 0
    server_profile.MAX_OPEN_JOBS = server_profile.MAX_OPEN_TARGETS = server_profile.MAX_QUEUE_AGE_SECONDS = 0
    server_profile.MIN_FREE_DISK_MB = 0
    return server_profile


@pytest.fixture
def owner(db):
    return User.objects.create_user("ada")


def submit(owner: User | None, *texts: str) -> ScanJob:
    return submit_scan(request(*(texts or ("8.8.8.8",)), owner=owner.pk if owner else None))


def refused(owner: User | None, *texts: str) -> AdmissionRefusedError:
    before = ScanJob.objects.count(), TargetResult.objects.count()
    with pytest.raises(AdmissionRefusedError) as caught:
        submit(owner, *texts)
    assert (ScanJob.objects.count(), TargetResult.objects.count()) == before
    return caught.value


LIMITS = (
    "MAX_OPEN_JOBS_PER_OWNER", "MAX_OPEN_TARGETS_PER_OWNER", "MAX_OPEN_JOBS", "MAX_OPEN_TARGETS",
    "MAX_QUEUE_AGE_SECONDS", "MIN_FREE_DISK_MB",
)  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_documented_with_its_default(name):
    default = getattr(ours, name)
    assert f"#{name}={default}\n" in (ROOT / ".env.example").read_text()
    assert f"| `{name}` | `{default}` |" in (ROOT / "docs/configuration.md").read_text()


# --- Own caps ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_owner_may_have_so_many_open_jobs_and_others_are_not_held_back(limits, owner):
    limits.MAX_OPEN_JOBS_PER_OWNER = 2
    first, _ = submit(owner), submit(owner)
    found = refused(owner)
    assert (found.status, found.code, found.retry_after_seconds) == (429, "too_many_own_jobs", 30)
    assert str(found).startswith("You have 2 open jobs; 2 is the limit")
    submit(User.objects.create_user("grace"))
    cancel_job(first, by=SYSTEM)
    submit(owner)


@pytest.mark.django_db
def test_an_owner_may_have_so_many_open_targets(limits, owner):
    limits.MAX_OPEN_TARGETS_PER_OWNER = 3
    job = submit(owner, "8.8.8.8", "8.8.4.4")
    assert refused(owner, "1.1.1.1", "1.0.0.1").code == "too_many_own_targets"
    submit(owner, "1.1.1.1")
    finish(job)
    submit(owner, "1.1.1.1", "1.0.0.1")


@pytest.mark.django_db
def test_targets_that_scope_refuses_open_nothing(limits, owner):
    limits.MAX_OPEN_TARGETS_PER_OWNER = 1
    submit(owner)
    assert submit(owner, "10.0.0.1", "10.0.0.2").is_finished is True


@pytest.mark.django_db
def test_the_local_profile_has_no_own_caps_and_those_of_the_service(limits, owner):
    limits.IS_LOCAL = True
    limits.MAX_OPEN_JOBS_PER_OWNER = limits.MAX_OPEN_TARGETS_PER_OWNER = 1
    for who in (None, None, owner, owner):
        submit(who)
    limits.MAX_OPEN_JOBS = 4
    assert refused(None).code == "too_many_jobs"


# --- Caps of the service -----------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "limit", "code"), [("MAX_OPEN_JOBS", 2, "too_many_jobs"), ("MAX_OPEN_TARGETS", 2, "too_many_targets")]
)
def test_the_service_takes_in_so_much_whoever_asks(limits, owner, name, limit, code):
    setattr(limits, name, limit)
    submit(owner)
    submit(User.objects.create_user("grace"))
    found = refused(User.objects.create_user("edsger"))
    assert (found.status, found.code, found.retry_after_seconds) == (503, code, 60)


@pytest.mark.django_db
def test_nothing_new_is_taken_in_while_the_oldest_job_waits_too_long(limits, owner):
    limits.MAX_QUEUE_AGE_SECONDS = 600
    job = make_job("8.8.8.8", created_at=timezone.now() - timedelta(seconds=300))
    submit(owner)
    ScanJob.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(seconds=610))
    assert refused(owner).code == "queue_too_old"
    ScanJob.objects.filter(pk=job.pk).update(state="running")  # a long job is no backlog
    submit(owner)


@pytest.mark.django_db
def test_nothing_new_is_taken_in_when_the_disk_is_nearly_full(limits, owner):
    limits.MIN_FREE_DISK_MB = MUCH
    found = refused(owner)
    assert (found.status, found.code) == (503, "disk_full")
    limits.DATA_DIR = limits.DATA_DIR / "not" / "made" / "yet"
    assert refused(owner).code == "disk_full"


def test_a_database_on_another_disk_than_the_data_is_looked_at_too_and_the_full_one_is_named(
    server_profile, tmp_path, monkeypatch
):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    server_profile.DATA_DIR, server_profile.MIN_FREE_DISK_MB = data, 500
    database = SimpleNamespace(vendor="sqlite", settings_dict={"NAME": elsewhere / "scans.sqlite"})
    monkeypatch.setattr(admission, "connection", database)
    monkeypatch.setattr(admission, "_device", [data, elsewhere].index)
    free = {data: 10**12, elsewhere: 10**6}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free[place]))
    with pytest.raises(AdmissionRefusedError, match="The disk of the database is nearly full"):
        admission.admit(owner=None, targets=0)
    assert admission.full_disks() == ["database"]
    free[data], free[elsewhere] = 0, 10**12
    assert admission.full_disks() == ["data directory"]
    free[elsewhere] = 0
    assert admission.full_disks() == ["data directory", "database"]
    assert [(finding.severity, finding.where) for finding in doctor.disk()][:2] == [
        ("error", str(data)),
        ("error", str(elsewhere)),
    ]


# --- At the doors ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "status"), [("MAX_OPEN_JOBS_PER_OWNER", 429), ("MAX_OPEN_JOBS", 503)])
def test_the_api_answers_with_a_problem_and_a_time_and_reads_go_on(client, limits, owner, name, status):
    setattr(limits, name, 1)
    client.force_login(owner)
    token = client.post("/scan", {"ip_addresses": ["8.8.8.8"]}, content_type="application/json").json()["token"]
    for path in ("/scan", "/ai-agent"):
        reply = client.post(path, {"ip_addresses": ["8.8.8.8"]}, content_type="application/json")
        assert (reply.status_code, reply["Content-Type"]) == (status, "application/problem+json")
        assert int(reply["Retry-After"]) >= 30
        assert reply.json()["status"] == status
        assert reply.json()["detail"].endswith("Nothing was stored.")
    assert client.get(f"/scan/{token}").status_code == client.get("/scans").status_code == 200
    finish(ScanJob.objects.get(token=token))
    make_job("8.8.8.8", owner=owner)
    assert client.post(f"/scan/{token}/rerun").status_code == status
    dry = client.post("/scan", {"ip_addresses": ["8.8.8.8"], "dry_run": True}, content_type="application/json")
    assert dry.status_code == 200


@pytest.mark.django_db
def test_a_refused_submission_frees_its_idempotency_key(client, limits, owner):
    limits.MAX_OPEN_JOBS_PER_OWNER = 1
    client.force_login(owner)
    open_job = submit(owner)
    post = {"data": {"ip_addresses": ["8.8.8.8"]}, "content_type": "application/json", "headers": {"Idempotency-Key": "k"}}
    assert client.post("/scan", **post).status_code == 429
    cancel_job(open_job, by=SYSTEM)
    assert client.post("/scan", **post).status_code == 202


@pytest.mark.django_db
def test_the_form_answers_with_the_reason(client, limits, owner):
    limits.MAX_OPEN_JOBS_PER_OWNER = 1
    client.force_login(owner)
    submit(owner)
    reply = client.post("/", {"targets": "8.8.8.8", "profile": "default"})
    assert reply.status_code == 429
    assert int(reply["Retry-After"]) >= 30
    assert "You have 1 open job; 1 is the limit" in reply.content.decode()
    assert client.get("/").status_code == 200


@pytest.mark.django_db
def test_a_page_that_repeats_a_job_answers_with_the_reason_too(client, limits, owner):
    limits.MAX_OPEN_JOBS_PER_OWNER = 1
    client.force_login(owner)
    done = make_job("8.8.8.8", owner=owner)
    finish(done)
    submit(owner)
    reply = client.post(f"/jobs/{done.token}/rerun")
    assert reply.status_code == 429
    assert set(reply["Cache-Control"].split(", ")) == {"private", "no-store"}
    assert int(reply["Retry-After"]) >= 30
    page = reply.content.decode()
    assert "You have 1 open job; 1 is the limit" in page
    assert done.token in page  # the job's own page: nothing was typed that could be lost


@pytest.mark.django_db
def test_the_admin_says_how_many_jobs_were_repeated_before_no_more_were_taken_in(admin_client, limits):
    limits.MAX_OPEN_JOBS = 2
    jobs = [make_job("8.8.8.8") for _ in range(3)]
    for job in jobs:
        finish(job)
    data = {"action": "rerun", "_selected_action": [job.pk for job in jobs]}
    reply = admin_client.post("/admin/scans/scanjob/", data, follow=True)
    page = reply.content.decode()
    assert reply.status_code == 200
    assert "2 of 3 jobs are scanned again." in page
    assert "2 jobs are open, as many as this service takes in" in page
    assert ScanJob.objects.count() == 5


# --- Races and costs ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_those_who_submit_at_the_same_moment_do_not_pass_the_last_place_together(limits):
    limits.MAX_OPEN_JOBS_PER_OWNER = 3
    owner = User.objects.create_user("ada")
    barrier, results = threading.Barrier(8), []

    def work() -> None:
        try:
            barrier.wait(PATIENCE)
            submit(owner)
            results.append(202)
        except AdmissionRefusedError as error:
            results.append(error.status)
        except Exception as error:
            results.append(error)
        finally:
            connection.close()

    at_once(work, threads=8)
    assert sorted(results, key=str) == [202] * 3 + [429] * 5
    assert ScanJob.objects.count() == 3


@pytest.mark.django_db
def test_the_question_costs_at_most_two_queries_however_many_targets_are_open(limits, owner, django_assert_max_num_queries):
    limits.MAX_OPEN_JOBS = limits.MAX_OPEN_TARGETS = MUCH
    jobs = ScanJob.objects.bulk_create(
        ScanJob(mode="standard", total_targets=1000, ports="80", submitted=[], created_at=timezone.now()) for _ in range(100)
    )
    TargetResult.objects.bulk_create(
        TargetResult(job=job, ordinal=n, key=f"{n}", spec={}, target="8.8.8.8", host="8.8.8.8", state=TargetState.PENDING)
        for job in jobs
        for n in range(30)
    )
    began = time.perf_counter()
    with django_assert_max_num_queries(2):
        admission.admit(owner=owner.pk, targets=1)
    print(f"admitted in {(time.perf_counter() - began) * 1000:.1f} ms beside {current_load(None).targets:,} open targets")
    assert current_load(owner.pk).targets == 100_000
