"""`manage.py doctor`: every fault is made for real, and is found with its place and its remedy; a healthy one has none."""

from __future__ import annotations

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ

from scans.core.feeds import Store
from scans.core.intel import FEEDS
from scans.models import RateBucket, ScanJob, TargetState, WorkerHeartbeat
from scans.services import doctor, heartbeats
from scans.services.doctor import Diagnosis, Finding, Severity, examine
from tests.factories import make_job, make_report, make_result
from tests.patience import AGES
from tests.servers import refusing
from tests.stack import ROOT, environment


def found(check) -> list[tuple[str, str]]:
    """What a check says, each with its remedy."""
    findings = list(check())
    assert all(finding.what and finding.where and finding.remedy and finding.check for finding in findings)
    return [(finding.what, finding.remedy) for finding in findings]


def errors(diagnosis: Diagnosis) -> list[Finding]:
    """Without what pytest's own --fail-on-template-vars does to the settings."""
    wrong = [finding for finding in diagnosis.findings if finding.severity is Severity.ERROR]
    return [finding for finding in wrong if finding.where != "templates.E002"]


@contextmanager
def worker() -> Iterator[None]:
    with heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
        yield


@pytest.fixture
def private(tmp_path, settings):
    """A data directory as `up` makes it."""
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir(mode=0o700)
    settings.MIN_FREE_DISK_MB = 0
    return settings.DATA_DIR


# --- The command -------------------------------------------------------------------------------------------------


def run(data_dir: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "manage.py", *arguments]
    env = environment(data_dir, **changes)
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=AGES)


def test_the_command_says_what_is_wrong_and_its_exit_code_says_whether(tmp_path):
    secret = "k3y-of-the-model-service-0123456789"
    ended = run(
        tmp_path, "doctor", GEMINI_API_KEY=secret, METRICS_TOKEN=secret, BROKER_URL=f"redis://:{secret}@127.0.0.1:9/0"
    )
    assert ended.returncode == 1
    assert "ERROR  There is no database yet." in ended.stdout
    assert "remedy  Start manage.py up, which makes it" in ended.stdout
    assert "model's key: present" in ended.stdout
    assert secret not in ended.stdout + ended.stderr
    assert not (tmp_path / "scans.sqlite").exists()
    document = json.loads(run(tmp_path, "doctor", "--json").stdout)
    assert document["is_healthy"] is False
    assert {finding["check"] for finding in document["findings"]} >= {"database_reachable"}
    assert document["facts"]["offline"] == "yes"


def test_a_database_of_another_version_is_the_last_finding(tmp_path):
    env = environment(tmp_path)
    argv = [sys.executable, "manage.py", "migrate", "-v0", "auth"]
    subprocess.run(argv, cwd=ROOT, env=env, check=True, timeout=AGES)
    document = json.loads(run(tmp_path, "doctor", "--json").stdout)
    assert document["findings"][-1]["check"] == document["checks"][-1] == "migrations"
    assert document["findings"][-1]["remedy"] == "Run manage.py migrate."


@pytest.mark.django_db
def test_a_healthy_installation_has_no_error(private):
    with worker():
        diagnosis = examine()
    assert errors(diagnosis) == []
    assert set(diagnosis.checks) == {check.__name__ for stage in doctor.STAGES for check in stage}


# --- Files, disk, limits -----------------------------------------------------------------------------------------


def test_files_that_others_may_read_are_named(private):
    assert found(doctor.data_directory) == []
    private.chmod(0o755)
    (private / "secret_key").write_text("x")
    (private / "secret_key").chmod(0o644)
    assert [remedy for _, remedy in found(doctor.data_directory)] == [
        f"chmod 700 {private}",
        f"chmod 600 {private / 'secret_key'}",
    ]


def test_a_missing_data_directory_is_named(private):
    private.rmdir()
    assert found(doctor.data_directory) == [("The data directory does not exist.", "Start manage.py up, or create it.")]
    assert found(doctor.disk) == []


@pytest.mark.parametrize(("share", "severities"), [(0.1, []), (0.7, ["warning"]), (1.5, ["error"])])
def test_a_disk_that_fills_is_a_warning_and_then_an_error(private, settings, share, severities):
    free = os.statvfs(private).f_bavail * os.statvfs(private).f_frsize
    settings.MIN_FREE_DISK_MB = int(free * share / 1_000_000)
    assert [finding.severity for finding in doctor.disk()] == severities


def test_too_few_descriptors_for_the_setting_are_named(settings):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 10**6 if hard == resource.RLIM_INFINITY else hard
    settings.SCANNER = replace(settings.SCANNER, probe=replace(settings.SCANNER.probe, max_inflight=limit - 256))
    assert found(doctor.descriptors) == []
    if hard != resource.RLIM_INFINITY:
        settings.SCANNER = replace(settings.SCANNER, probe=replace(settings.SCANNER.probe, max_inflight=limit))
        ((what, _),) = found(doctor.descriptors)
        assert what.startswith(f"{hard:,} open files are allowed")


def test_a_redis_that_does_not_answer_is_named_without_its_password(settings):
    assert found(doctor.redis) == []
    with refusing() as port:
        settings.BROKER_URL = f"redis://:s3cret-password@127.0.0.1:{port}/0"
        ((what, remedy),) = found(doctor.redis)
    assert what.startswith("Redis does not answer")
    assert "s3cret" not in what + remedy


def test_switches_that_contradict_one_another_are_named(settings):
    options = settings.SCANNER
    settings.SCANNER = replace(options, ai=replace(options.ai, api_key="a-key"), intel=replace(options.intel, offline=True))
    assert [what for what, _ in found(doctor.egress)] == ["A model's key is set, but nothing is sent: OFFLINE=1."]
    settings.SCANNER = replace(options, ai=replace(options.ai, api_key="", send_private=True))
    assert [remedy for _, remedy in found(doctor.egress)] == ["Set GEMINI_API_KEY, or unset AI_SEND_PRIVATE."]


def test_list_files_that_cannot_be_used_or_that_nobody_renews_are_named(settings, tmp_path):
    settings.SCANNER = replace(settings.SCANNER, intel=replace(settings.SCANNER.intel, directory=str(tmp_path)))
    assert found(doctor.list_files) == []  # what comes with the program is no fault of the operator's
    feeds, store, now = {feed.name: feed for feed in FEEDS}, Store(str(tmp_path)), timezone.now()
    for name, days in (("tor-exits", 0), ("ipsum", 9)):
        body = b"198.51.100.9\t3\n" if name == "ipsum" else b"198.51.100.9\n"
        store.put(feeds[name], body, origin="a test", at=now - timedelta(days=days))
    (tmp_path / feeds["drop-v4"].file_name).write_bytes(b"<html>\n")
    (bad, remedy), (old, _) = found(doctor.list_files)
    assert bad.startswith("It cannot be used: line 1: '<html>' is not an object with a network")
    assert remedy == "manage.py feeds update drop-v4, or manage.py feeds import drop-v4 FILE."
    assert old == f"It is old: nobody has asked for a newer one since {now - timedelta(days=9):%Y-%m-%d}."


def test_settings_that_the_system_checks_refuse_are_found(settings):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "queue_limit": 50}
    assert any(finding.where == "scans.E003" for finding in doctor.system_checks())


# --- Database ----------------------------------------------------------------------------------------------------


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_database_that_somebody_has_locked_is_found_and_nothing_is_left_behind(monkeypatch):
    monkeypatch.setattr(doctor, "PATIENCE_MS", 200)
    assert found(doctor.database_writable) == []
    assert not RateBucket.objects.exists()
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ((what, _),) = found(doctor.database_writable)
    connection.close()
    assert what == "Nothing can be written: database is locked"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_read_only_is_found():
    with connection.cursor() as cursor:
        is_sqlite = connection.vendor == "sqlite"
        cursor.execute("PRAGMA query_only = 1" if is_sqlite else "SET default_transaction_read_only = on")
        try:
            ((what, _),) = found(doctor.database_writable)
        finally:
            connection.close()
    assert what.startswith("Nothing can be written: ")


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_database_without_its_log_is_found():
    assert found(doctor.sqlite_settings) == []
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = 0")
    assert [what for what, _ in found(doctor.sqlite_settings)] == ["PRAGMA synchronous is 0 and not 2."]
    connection.close()


@pytest.mark.django_db
def test_a_clock_that_is_ahead_is_found(monkeypatch):
    assert found(doctor.clocks) == []
    monkeypatch.setattr(doctor, "SKEW_ERROR", 1800.0)
    for seconds, severity in ((900, Severity.WARNING), (3600, Severity.ERROR)):
        with worker():
            WorkerHeartbeat.objects.update(seen_at=timezone.now() + timedelta(seconds=seconds))
            (finding,) = doctor.clocks()
        assert (finding.severity, finding.where) == (severity, "another host's heartbeat")


# --- Work --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_no_workers_and_silent_ones_are_found():
    assert [what for what, _ in found(doctor.workers)] == ["No worker is running: jobs wait."]
    with worker():
        assert found(doctor.workers) == []
        with worker():
            row = WorkerHeartbeat.objects.first()
            WorkerHeartbeat.objects.filter(pk=row.pk).update(seen_at=timezone.now() - timedelta(seconds=99))
            (finding,) = doctor.workers()
    assert re.match(r"A supervisor has been silent for (99|1\d\d) s", finding.what)
    assert f"pid {os.getpid()}" in finding.where


@pytest.mark.django_db
def test_jobs_and_targets_that_nobody_mends_are_found():
    job = make_job("127.66.23.1", "127.66.23.2", state="running")
    long_ago = timezone.now() - timedelta(minutes=5)
    ScanJob.objects.filter(pk=job.pk).update(created_at=long_ago)
    assert found(doctor.stuck_jobs) == []
    job.targets.update(state=TargetState.LEASED, lease=uuid4(), lease_until=long_ago)
    assert [what for what, _ in found(doctor.stuck_jobs)] == [
        "2 targets belong to workers that are gone, and nobody has taken them over."
    ]
    for address in ("127.66.23.1", "127.66.23.2"):
        make_result(make_report(address), job=job)
    ScanJob.objects.filter(pk=job.pk).update(state="running", outcome="", finished_at=None, created_at=long_ago)
    (finding,) = doctor.stuck_jobs()
    assert (finding.what, finding.where) == ("All targets of this job have ended, but it has not.", f"job {job.token}")


@pytest.mark.django_db
def test_a_queue_that_is_too_long_is_found(settings):
    assert found(doctor.backlog) == []
    make_job("127.66.23.1", created_at=timezone.now() - timedelta(seconds=settings.MAX_QUEUE_AGE_SECONDS + 60))
    OrmQ.objects.bulk_create(OrmQ(key="scan", payload="x", lock=timezone.now()) for _ in range(101))
    first, second = found(doctor.backlog)
    assert first[0].startswith("The oldest job has waited 1,86")
    assert second[0] == "101 wake-ups wait, which slows the queue."


@pytest.mark.django_db(transaction=True)
def test_a_check_that_the_database_breaks_off_is_a_finding_and_the_others_go_on(private, monkeypatch):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_q_ormq RENAME TO elsewhere")
    try:
        with worker():
            diagnosis = examine()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO django_q_ormq")
    assert [finding.check for finding in errors(diagnosis)] == ["backlog"]
    assert transaction.get_connection().in_atomic_block is False
