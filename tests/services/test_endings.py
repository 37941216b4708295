"""Cancel, delete and rerun, at any moment, with workers at work."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest
from django.db import connection

from scans import selectors
from scans.models import AuditEvent, DeletedJob, ScanJob, TargetResult
from scans.services import slices
from scans.services.audit import SYSTEM
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from scans.services.jobs import submit_scan
from scans.services.rerun import NothingToRerunError, rerun_job
from scans.services.results import save_report
from tests.fakes import wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import silent
from tests.services.test_claims import claim, report_for
from tests.services.test_jobs import request


@pytest.mark.django_db
def test_a_cancelled_job_gives_every_open_target_its_one_result():
    job = submit_scan(request("127.0.0.1", "127.0.0.2", "10.0.0.1", ports=(1,)))
    (claimed, _) = claim()
    assert cancel_job(job, by=SYSTEM)
    job.refresh_from_db()
    assert (job.state, job.outcome, job.is_finished) == ("cancelled", "cancelled", True)
    assert list(job.targets.order_by("ordinal").values_list("state", flat=True)) == ["cancelled", "cancelled", "refused"]
    document = selectors.job_document(job)
    assert (document["status"], document["state"], document["outcome"]) == ("failed", "cancelled", "cancelled")
    assert [result["outcome"] for result in document["results"]] == ["cancelled", "cancelled", "refused"]
    assert document["results"][0]["risk_level"] == "unknown"
    assert not save_report(claimed, report_for(claimed), awaits_summary=False)
    assert not cancel_job(job, by=SYSTEM)
    assert AuditEvent.objects.filter(action="cancel", job_token=job.token).count() == 1


@pytest.mark.django_db
def test_deleting_leaves_a_tombstone_and_an_audit_event():
    job = submit_scan(request("127.0.0.1"))
    delete_job(job, by=SYSTEM)
    assert ScanJob.objects.count() == TargetResult.objects.count() == 0
    assert DeletedJob.objects.get().token == job.token
    assert AuditEvent.objects.filter(action="delete", job_token=job.token).exists()


@pytest.mark.django_db
def test_a_rerun_is_a_job_of_its_own_with_the_same_targets_ports_and_labels():
    job = submit_scan(
        request("127.0.0.1", "http://localhost/?key=hunter22", "10.0.0.1", ports=(1, 2), label="lab", tags=("a",))
    )
    cancel_job(job, by=SYSTEM)
    again = rerun_job(job, only_failed=False, owner=None, by=SYSTEM)
    assert again.token != job.token
    columns = ("target", "key")
    assert list(again.targets.values_list(*columns)) == list(job.targets.values_list(*columns))
    assert (again.ports, again.label, [t.name for t in again.tags.all()]) == ("1-2", "lab", ["a"])


@pytest.mark.django_db
def test_a_rerun_of_the_failed_ones_takes_those_without_a_full_result():
    job = submit_scan(request("127.0.0.1", "10.0.0.1"))
    TargetResult.objects.filter(target="127.0.0.1").update(state="done", finished_at=job.created_at, evidence={})
    again = rerun_job(job, only_failed=True, owner=None, by=SYSTEM)
    assert list(again.targets.values_list("target", flat=True)) == ["10.0.0.1"]
    job.targets.all().update(state="done", finished_at=job.created_at, evidence={})
    with pytest.raises(NothingToRerunError):
        rerun_job(job, only_failed=True, owner=None, by=SYSTEM)


@pytest.mark.django_db(transaction=True)
def test_a_slice_stops_probing_for_a_cancelled_job(settings, monkeypatch):
    settings.SCANNER = replace(settings.SCANNER, probe=replace(settings.SCANNER.probe, per_host=1, attempts=10_000))
    monkeypatch.setattr(slices, "SLICE_SECONDS", AGES)
    monkeypatch.setattr(slices, "LAST_SECOND", AGES)
    ended: list[float] = []

    def work() -> None:
        try:
            slices.run_slice()
        finally:
            ended.append(time.monotonic())
            connection.close()

    with ExitStack() as stack:
        dark = tuple(sorted(stack.enter_context(silent()).port for _ in range(20)))
        job = submit_scan(request("127.0.0.1", ports=dark))
        worker = threading.Thread(target=work)
        worker.start()
        assert wait_until(lambda: TargetResult.objects.filter(state="leased").exists())
        cancelled_at = time.monotonic()
        assert cancel_job(job, by=SYSTEM)
        worker.join(PATIENCE)
    assert ended
    assert ended[0] - cancelled_at < AT_ONCE
