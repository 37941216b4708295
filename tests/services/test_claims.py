"""Claims, leases, the fence, and the end of a job: each target gets exactly one result, each job one end."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from scans.core.packing import unpack_probes
from scans.core.pipeline import Interrupted
from scans.core.types import PortState, Probe, Report
from scans.core.unscanned import failure
from scans.models import JobState, ScanJob, TargetResult, TargetState
from scans.services import claims, endurance, heartbeats, slices
from scans.services.endurance import persistently
from scans.services.jobs import submit_scan
from scans.services.reaper import reap
from scans.services.results import Claimed, finish_job, hand_back, save_report
from scans.services.specs import target_from_spec
from tests.patience import PATIENCE
from tests.servers import silent
from tests.services.test_jobs import request
from tests.threads import at_once


def claim(lease=None) -> list[Claimed]:
    lease = lease or uuid4()
    return [Claimed(pk=row.pk, job_id=row.job_id, lease=lease) for row in claims.claim_targets(lease)]


def report_for(claimed: Claimed) -> Report:
    target = target_from_spec(TargetResult.objects.get(pk=claimed.pk).spec)
    return failure(target, "resolve_failed", "Failed to resolve it", started_at=datetime.now(UTC))


def let_leases_run_out() -> None:
    TargetResult.objects.filter(state=TargetState.LEASED).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_a_claim_starts_the_job_counts_an_attempt_and_hides_the_rows_from_others():
    job = submit_scan(request("127.0.0.1", "127.0.0.2"))
    assert len(claim()) == 2
    assert claim() == []
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    assert set(job.targets.values_list("state", "attempts")) == {("leased", 1)}


@pytest.mark.django_db
def test_a_claim_is_bounded_by_the_probes_it_needs():
    submit_scan(request("127.0.0.0/26", ports=tuple(range(1, 1025))))
    assert len(claim()) == 4
    submit_scan(request("127.1.0.0/30", ports=tuple(range(1, 65536))))
    assert len(claim()) == 1


@pytest.mark.django_db
def test_the_job_with_fewest_rows_in_flight_comes_first():
    submit_scan(request("127.0.0.0/26", ports=tuple(range(1, 1025))))
    claim()
    small = submit_scan(request("127.0.1.1"))
    assert [claimed.job_id for claimed in claim()] == [small.pk]


@pytest.mark.django_db
def test_owners_share_evenly_however_many_jobs_they_have():
    many, one = (User.objects.create_user(name) for name in ("many", "one"))
    asked = {"ports": tuple(range(1, 1025))}
    for n in range(5):
        submit_scan(request(f"127.0.{n}.0/28", owner=many.pk, **asked))
    submit_scan(request("127.1.0.0/28", owner=one.pk, **asked))
    submit_scan(request("127.2.0.0/28", **asked))
    served = [ScanJob.objects.get(pk=claim()[0].job_id).owner for _ in range(9)]
    assert Counter(served) == {many: 3, one: 3, None: 3}


@pytest.mark.django_db
def test_a_job_that_comes_while_a_slice_has_enough_to_do_goes_before_what_is_left(monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0)
    submit_scan(request("127.0.0.0/28"))
    held = claims.Claims(uuid4())
    items = held.items(seconds=PATIENCE)
    assert next(items).target.text == "127.0.0.0"
    assert not held.has_newcomers()
    submit_scan(request("127.0.1.1"))
    assert held.has_newcomers()
    assert next(items).target.text == "127.0.1.1"
    assert not held.has_newcomers()
    assert next(items).target.text == "127.0.0.1"


@pytest.mark.django_db
def test_of_a_new_job_a_few_rows_pass_others_and_the_rest_waits_its_turn(monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0)
    submit_scan(request("127.0.0.0/28"))
    held = claims.Claims(uuid4())
    items = held.items(seconds=PATIENCE)
    next(items)
    submit_scan(request("127.0.1.0/26"))
    passing = 0
    while held.has_newcomers():
        assert next(items).target.text.startswith("127.0.1.")
        passing += 1
    assert passing == claims.NEWCOMER_ROWS
    assert next(items).target.text == "127.0.0.1"


@pytest.mark.django_db
def test_between_two_looks_for_new_jobs_there_is_time_for_others(monkeypatch):
    submit_scan(request("127.0.0.0/28"))
    held = claims.Claims(uuid4())
    items = held.items(seconds=PATIENCE)
    next(items)
    monkeypatch.setattr(claims, "LOOK_SECONDS", PATIENCE)
    submit_scan(request("127.0.1.1"))
    assert held.has_newcomers()
    next(items)
    submit_scan(request("127.0.2.1"))
    assert not held.has_newcomers()


@pytest.mark.django_db
def test_rows_that_were_never_pulled_go_back_together(django_assert_num_queries):
    job = submit_scan(request("127.0.0.0/28"))
    held = claims.Claims(uuid4())
    next(held.items(seconds=PATIENCE))
    with django_assert_num_queries(1):
        held.hand_back_unstarted()
    assert Counter(job.targets.values_list("state", "attempts")) == {("leased", 1): 1, ("pending", 0): 15}
    with django_assert_num_queries(0):
        held.hand_back_unstarted()


@pytest.mark.django_db
def test_a_slice_whose_time_is_up_looks_for_nobody(monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0)
    held = claims.Claims(uuid4())
    assert list(held.items(seconds=0)) == []
    job = submit_scan(request("127.0.1.1"))
    assert not held.has_newcomers()
    assert job.targets.get().state == TargetState.PENDING


@pytest.mark.django_db
def test_of_equals_the_job_served_longest_ago_comes_first():
    first, second = submit_scan(request("127.0.0.1")), submit_scan(request("127.0.0.2"))
    served = []
    for _ in range(4):
        (claimed,) = claim()
        served.append(claimed.job_id)
        hand_back(claimed)
    assert served == [first.pk, second.pk, first.pk, second.pk]


@pytest.mark.django_db
def test_a_slice_does_not_take_its_own_rows_again():
    submit_scan(request("127.0.0.1"))
    lease = uuid4()
    assert len(claim(lease)) == 1
    let_leases_run_out()
    assert claim(lease) == []
    assert len(claim()) == 1


@pytest.mark.django_db
def test_any_list_of_ports_can_be_claimed():
    submit_scan(request("127.0.0.1", ports=tuple(range(1, 65536, 2))))
    (item,) = [item for item in islice(claims.Claims(uuid4()).items(seconds=PATIENCE), 1) if item]
    assert item.ports == tuple(range(1, 65536, 2))


@pytest.mark.django_db
def test_rows_that_failed_before_take_few_neighbours_with_them():
    submit_scan(request("127.0.0.0/26"))
    sizes = []
    for _ in range(claims.MAX_ATTEMPTS):
        sizes.append(len(claim()))
        let_leases_run_out()
    assert sizes == [64, *[8] * (claims.MAX_ATTEMPTS - 1)]
    TargetResult.objects.update(attempts=2)
    assert len(claim()) == 1


@pytest.mark.django_db
def test_the_last_write_closes_the_job_exactly_once():
    job = submit_scan(request("127.0.0.1", "127.0.0.2"))
    first, second = claim()
    assert save_report(first, report_for(first), awaits_summary=False)
    job.refresh_from_db()
    assert job.state == JobState.RUNNING
    assert save_report(second, report_for(second), awaits_summary=False)
    job.refresh_from_db()
    assert (job.state, job.outcome) == (JobState.COMPLETE, "partial")
    assert not finish_job(job.pk, now=timezone.now())


@pytest.mark.django_db
def test_a_worker_presumed_dead_writes_nothing():
    submit_scan(request("127.0.0.1"))
    (late,) = claim()
    let_leases_run_out()
    (current,) = claim()
    assert not save_report(late, report_for(late), awaits_summary=False)
    assert not hand_back(late)
    assert TargetResult.objects.get().lease == current.lease
    assert save_report(current, report_for(current), awaits_summary=False)
    assert not save_report(current, report_for(current), awaits_summary=False)


@pytest.mark.django_db
def test_a_row_handed_back_is_uncounted_and_progress_is_kept():
    submit_scan(request("127.0.0.1"))
    (claimed,) = claim()
    hand_back(claimed)
    row = TargetResult.objects.get()
    assert (row.state, row.attempts, row.partial) == (TargetState.PENDING, 0, None)
    (claimed,) = claim()
    probes = (Probe(22, PortState.OPEN, "syn-ack", 1, 0.5), Probe(80, PortState.FILTERED, "timeout", 2, None))
    hand_back(claimed, Interrupted(known={ip_address("127.0.0.1"): probes}, has_progress=True, notes=("a note",)))
    row.refresh_from_db()
    assert unpack_probes(row.partial["addresses"]["127.0.0.1"]) == probes
    (item,) = islice(claims.Claims(uuid4()).items(seconds=PATIENCE), 1)
    assert (item.known, item.notes) == ({ip_address("127.0.0.1"): probes}, ("a note",))


@pytest.mark.django_db
def test_a_renewed_lease_lasts():
    submit_scan(request("127.0.0.1"))
    lease = uuid4()
    claim(lease)
    let_leases_run_out()
    assert claims.renew(lease) == 1
    assert claim() == []


@pytest.mark.django_db
def test_poison_ends_as_an_explicit_error_after_five_attempts():
    job = submit_scan(request("127.0.0.1"))
    for _ in range(claims.MAX_ATTEMPTS):
        assert len(claim()) == 1
        let_leases_run_out()
    assert claim() == []
    assert reap().given_up == 1
    row = TargetResult.objects.get()
    assert (row.state, row.error_code) == (TargetState.ERROR, "gave_up")
    assert row.evidence["error"]["detail"] == "Gave up after 8 attempts: each time the worker died or made no progress."
    job.refresh_from_db()
    assert job.is_finished
    assert reap().given_up == 0


@pytest.mark.django_db
def test_the_reaper_closes_a_job_that_lost_its_finisher_and_wakes_workers_for_waiting_rows():
    job = submit_scan(request("127.0.0.1", "127.0.0.2"))
    from django_q.models import OrmQ

    OrmQ.objects.all().delete()  # every message is lost
    assert reap().woken == 1
    TargetResult.objects.update(state=TargetState.ERROR, finished_at=timezone.now(), evidence={})
    assert reap().finished_jobs == 1
    job.refresh_from_db()
    assert job.is_finished


@pytest.mark.django_db
def test_the_reaper_does_not_pile_up_wake_ups():
    submit_scan(request("127.0.0.1", "127.0.0.2"))
    from django_q.models import OrmQ

    for _ in range(10):
        reap()
    assert OrmQ.objects.count() == 2


@pytest.mark.django_db
def test_deleting_a_running_job_makes_its_workers_writes_void():
    job = submit_scan(request("127.0.0.1"))
    (claimed,) = claim()
    report = report_for(claimed)
    job.delete()
    assert not save_report(claimed, report, awaits_summary=False)
    assert ScanJob.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_finish_each_target_once_and_the_job_once():
    job = submit_scan(request("127.0.0.0/26"))
    saved, problems = [], []

    def work() -> None:
        try:
            while claimed := claim():
                saved.extend(c.pk for c in claimed if save_report(c, report_for(c), awaits_summary=False))
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    at_once(work, threads=6)
    assert problems == []
    assert sorted(saved) == sorted(job.targets.values_list("pk", flat=True))
    job.refresh_from_db()
    assert job.is_finished


@pytest.mark.django_db(transaction=True)
def test_a_job_deleted_while_its_slice_runs_costs_the_other_jobs_nothing(monkeypatch):
    doomed, other = submit_scan(request("127.0.0.1", ports=(1,))), submit_scan(request("127.0.0.2", ports=(1,)))
    save = slices.save_reports

    def delete_first(*args, **kwargs):
        ScanJob.objects.filter(pk=doomed.pk).delete()
        return save(*args, **kwargs)

    monkeypatch.setattr(slices, "save_reports", delete_first)
    slices.run_slice()
    other.refresh_from_db()
    assert other.is_finished
    assert ScanJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_slice_whose_control_fails_ends_and_hands_back(monkeypatch):
    def broken(_):
        raise OperationalError("database is locked")

    monkeypatch.setattr(claims, "renew", broken)
    monkeypatch.setattr(slices, "RENEW_SECONDS", 0)
    with silent() as dark:
        submit_scan(request("127.0.0.1", ports=(dark.port,)))
        monkeypatch.setenv("PROBE_ATTEMPTS", "5")
        slices.run_slice()
    assert TargetResult.objects.get().state in (TargetState.PENDING, TargetState.DONE)


@pytest.mark.django_db
def test_hosts_are_told_apart_by_their_process_namespace_too():
    assert str(Path("/proc/self/ns/pid").stat().st_ino) in heartbeats.this_host()


# --- Suspects: rows that were held by a worker that died ---------------------------------------------------------------


def items_of(held: claims.Claims) -> list:
    return list(islice(held.items(seconds=PATIENCE), 100))


def failed_before(job: ScanJob, *ordinals: int, attempts: int = 1) -> None:
    job.targets.filter(ordinal__in=ordinals).update(attempts=attempts)


@pytest.mark.django_db
def test_a_slice_with_suspects_takes_nothing_else():
    failed_before(submit_scan(request("127.0.0.0/28")), *range(16))
    fresh = submit_scan(request("127.0.1.0/28"))
    ScanJob.objects.filter(pk=fresh.pk).update(claimed_at=timezone.now())  # the other one is next
    assert len(items_of(claims.Claims(uuid4()))) == 8


@pytest.mark.django_db
def test_a_slice_that_holds_fresh_rows_takes_no_suspect_and_ends_when_they_are_next():
    job = submit_scan(request("127.0.0.0/28"))
    failed_before(job, *range(10, 16))
    held = claims.Claims(uuid4())
    assert {item.target.text for item in items_of(held)} == {f"127.0.0.{n}" for n in range(10)}
    assert set(job.targets.filter(ordinal__gte=10).values_list("state", flat=True)) == {"pending"}
    assert len(items_of(claims.Claims(uuid4()))) == 6


@pytest.mark.django_db
def test_a_row_that_was_in_two_deaths_is_alone_in_its_slice():
    failed_before(submit_scan(request("127.0.0.0/28")), *range(16), attempts=2)
    assert len(items_of(claims.Claims(uuid4()))) == 1


@pytest.mark.django_db
def test_a_target_that_cannot_be_read_ends_with_an_error_and_costs_its_neighbours_nothing():
    job = submit_scan(request("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    job.targets.filter(ordinal=1).update(spec={"kind": "of another version"})
    held = claims.Claims(uuid4())
    found = [item.target.text for item in islice(held.items(seconds=PATIENCE), 2)]
    assert found == ["127.0.0.1", "127.0.0.3"]
    row = job.targets.get(ordinal=1)
    assert (row.state, row.error_code, row.target) == ("error", "unreadable_target", "127.0.0.2")


@pytest.mark.django_db
def test_poison_that_cannot_even_be_read_is_given_up_and_does_not_stop_the_reaper():
    job = submit_scan(request("127.0.0.1", "127.0.0.2"))
    job.targets.update(attempts=claims.MAX_ATTEMPTS)
    job.targets.filter(ordinal=0).update(spec={})
    assert reap().given_up == 2
    assert set(job.targets.values_list("state", "error_code")) == {("error", "gave_up")}


@pytest.mark.django_db
def test_a_lease_given_before_the_clock_was_set_back_does_not_last_for_an_hour():
    submit_scan(request("127.0.0.1"))
    claim()
    TargetResult.objects.update(lease_until=timezone.now() + timedelta(hours=1))
    assert len(claim()) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("is_counted", "attempts"), [(True, 1), (False, 0)])
def test_whatever_a_slice_still_holds_can_be_given_back_at_once(is_counted, attempts):
    job = submit_scan(request("127.0.0.1", "127.0.0.2"))
    lease = uuid4()
    claim(lease)
    assert claims.release(lease, is_counted=is_counted) == 2
    assert set(job.targets.values_list("state", "attempts", "lease")) == {("pending", attempts, None)}


# --- A slice and its database ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_report_that_the_database_refuses_ends_that_target_and_no_other():
    job = submit_scan(request("127.0.0.1", "127.0.0.2", ports=(9,)))
    with refusing_reports_on("127.0.0.2"):
        assert slices.run_slice() == 2
    assert list(job.targets.values_list("target", "state", "error_code")) == [
        ("127.0.0.1", "done", ""),
        ("127.0.0.2", "error", "not_stored"),
    ]


@contextmanager
def refusing_reports_on(target: str):
    """As a constraint that nobody thought of would."""
    condition = f"target = '{target}' AND state = 'done'"
    make = f"ALTER TABLE scans_targetresult ADD CONSTRAINT refuse CHECK (NOT ({condition}))"
    drop = "ALTER TABLE scans_targetresult DROP CONSTRAINT refuse"
    if connection.vendor == "sqlite":
        make = f"""CREATE TRIGGER refuse AFTER UPDATE ON scans_targetresult
        WHEN EXISTS (SELECT 1 FROM scans_targetresult WHERE {condition}) BEGIN SELECT RAISE(ABORT, 'refused'); END"""
        drop = "DROP TRIGGER refuse"
    with connection.cursor() as cursor:
        cursor.execute(make)
        try:
            yield
        finally:
            cursor.execute(drop)


@pytest.mark.django_db(transaction=True)
def test_what_fails_while_the_database_is_away_is_tried_again():
    failures = [OperationalError("restarting"), InterfaceError("closed")]

    def write() -> str:
        if failures:
            raise failures.pop()
        return "written"

    assert persistently(write) == "written"


@pytest.mark.django_db
def test_a_statement_that_took_long_is_in_the_log_without_its_values(monkeypatch, caplog):
    ScanJob.objects.filter(label="a secret of this test").exists()
    assert "locked by somebody or busy" not in caplog.text
    monkeypatch.setattr(endurance, "LONG_SECONDS", 0)
    ScanJob.objects.filter(label="a secret of this test").exists()
    assert "the database, locked by somebody or busy, took 0.0 s for: SELECT" in caplog.text
    assert "a secret" not in caplog.text
