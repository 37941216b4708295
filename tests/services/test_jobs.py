"""Submitting: everything or nothing, in one transaction, with every bad item named."""

from __future__ import annotations

import pytest
from django.db import transaction
from django_q.models import OrmQ

from scans.models import AiChoice, JobOutcome, JobState, ScanJob, TargetAddress, TargetResult, TargetState
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
from scans.services.preview import preview_scan
from scans.services.problems import InvalidSubmissionError

pytestmark = pytest.mark.django_db


def request(*texts: str, **fields) -> ScanRequest:
    return ScanRequest(items=tuple(SubmittedItem(pointer=f"/lines/{n}", text=t) for n, t in enumerate(texts)), **fields)


def test_every_target_is_a_row_from_the_start_in_the_order_submitted():
    job = submit_scan(request("127.0.0.2", "example.invalid", "127.0.0.4/31"))
    assert list(job.targets.values_list("ordinal", "target", "state")) == [
        (0, "127.0.0.2", "pending"),
        (1, "example.invalid", "pending"),
        (2, "127.0.0.4", "pending"),
        (3, "127.0.0.5", "pending"),
    ]
    assert job.total_targets == 4
    assert job.submitted == ["127.0.0.2", "example.invalid", "127.0.0.4/31"]


def test_the_wake_up_is_committed_with_the_job():
    with transaction.atomic():
        submit_scan(request("127.0.0.1"))
        assert OrmQ.objects.count() == 1
        transaction.set_rollback(True)
    assert (ScanJob.objects.count(), TargetResult.objects.count(), OrmQ.objects.count()) == (0, 0, 0)


def test_all_bad_items_are_named_at_once_and_nothing_is_stored():
    with pytest.raises(InvalidSubmissionError) as raised:
        submit_scan(request("127.0.0.1", "203.0.113.300", "ok.invalid", "0177.0.0.1", "ftp://x.invalid/"))
    assert [problem.pointer for problem in raised.value.problems] == ["/lines/1", "/lines/3", "/lines/4"]
    assert all(problem.code and problem.detail for problem in raised.value.problems)
    assert ScanJob.objects.count() == 0
    assert OrmQ.objects.count() == 0


def test_no_target_at_all_is_an_error():
    with pytest.raises(InvalidSubmissionError):
        submit_scan(request())


def test_repeats_fold_and_are_mentioned():
    job = submit_scan(request("127.0.0.1", "127.0.0.1", "http://localhost/", "HTTP://LOCALHOST:80/"))
    assert job.total_targets == 2
    assert job.warnings == ["2 repeated targets were folded: 127.0.0.1, HTTP://LOCALHOST:80/"]


def test_more_targets_than_allowed_is_an_error_with_the_number(settings):
    settings.SCAN_MAX_TARGETS = 10
    with pytest.raises(InvalidSubmissionError, match="10"):
        submit_scan(request("127.0.0.0/8"))


def test_an_address_out_of_scope_is_a_result_at_once_with_its_remedy():
    job = submit_scan(request("10.0.0.1", "127.0.0.1"))
    refused = job.targets.get(ordinal=0)
    assert refused.state == TargetState.REFUSED
    assert refused.error_code == "refused_scope"
    assert "SCAN_ALLOW_NETWORKS" in refused.evidence["error"]["detail"]
    assert TargetAddress.objects.get(result=refused).address == "10.0.0.1"
    assert job.state == JobState.QUEUED


def test_a_job_with_nothing_left_to_do_is_complete_at_once():
    job = submit_scan(request("10.0.0.1", "192.168.0.1"))
    assert (job.state, job.outcome) == (JobState.COMPLETE, JobOutcome.PARTIAL)
    assert OrmQ.objects.count() == 0


def test_userinfo_and_secrets_are_stored_nowhere():
    submit_scan(request("http://user:hunter22@localhost/a?token=sesame99&x=1"))
    stored = str(list(ScanJob.objects.values())) + str(list(TargetResult.objects.values()))
    assert "hunter22" not in stored
    assert "sesame99" not in stored
    assert "x=1" in stored


def test_the_choice_about_the_model_is_kept():
    assert submit_scan(request("127.0.0.1", ai=AiChoice.OFF)).ai == AiChoice.OFF


def test_items_left_out_are_listed_and_stored_only_as_far_as_they_can_be_shown():
    job = submit_scan(
        request("127.0.0.1", "http://user:hunter22@a b/", "x\0\ud800", skip_invalid=True, label="L", tags=("b", "a"))
    )
    assert [(item["index"], item["pointer"]) for item in job.rejected] == [(1, "/lines/1"), (2, "/lines/2")]
    assert job.submitted[0] == "127.0.0.1"
    assert "hunter22" not in str(job.submitted)
    assert "\0" not in job.submitted[2]
    assert (job.label, sorted(job.tags.values_list("name", flat=True))) == ("L", ["a", "b"])


def test_with_nothing_left_to_scan_skipping_is_an_error():
    with pytest.raises(InvalidSubmissionError) as raised:
        submit_scan(request("999.1.1.1", "", skip_invalid=True))
    assert [problem.pointer for problem in raised.value.problems] == ["/lines/0", "/lines/1"]


def test_more_probes_than_allowed_is_an_error_and_what_is_out_of_scope_needs_none(settings):
    settings.SCAN_MAX_PROBES = 10
    with pytest.raises(InvalidSubmissionError, match="12 probes; the limit is 10"):
        submit_scan(request("127.0.0.0/30", ports=(1, 2, 3)))
    assert submit_scan(request("127.0.0.0/31", "10.0.0.0/24", ports=(1, 2, 3))).total_targets == 258


def test_a_preview_stores_nothing_and_comes_to_what_the_submission_comes_to():
    asked = request("127.0.0.0/30", "10.0.0.1", "localhost", "127.0.0.1", "a b", skip_invalid=True)
    seen = preview_scan(asked)
    assert ScanJob.objects.count() == 0
    job = submit_scan(asked)
    assert [target["text"] for target in seen["targets"]] == list(job.targets.values_list("target", flat=True))
    refused = [target["text"] for target in seen["targets"] if target["policy"]["allowed"] is False]
    assert refused == list(job.targets.filter(state="refused").values_list("target", flat=True))
    assert (seen["rejected"], seen["warnings"], seen["ports"]) == (job.rejected, job.warnings, job.ports)
