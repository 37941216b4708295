"""Daily counts: each final result and each finished job counts once, whoever dies when, and folding changes no sum."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scans.core import wire
from scans.core.types import Facts, Level, Outcome, SourceState
from scans.models import EVERYBODY, NOBODY, CountKind, DailyCount, JobState, ScanJob, TargetResult, TargetState
from scans.selectors.counts import count_by_day, count_sums
from scans.services import aggregates, purge
from scans.services.audit import COMMAND_LINE
from scans.services.cancel import cancel_job
from scans.services.claims import LEASE
from scans.services.deletion import delete_job
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
from scans.services.reaper import reap
from scans.services.results import Claimed, save_report, save_summary
from tests.factories import make_address, make_failure, make_job, make_report, make_source
from tests.patience import AGES

pytestmark = pytest.mark.django_db
LONG_AGO = date(2020, 1, 1)
TOMORROW = timezone.now().date() + timedelta(days=1)
SYSTEM = {"actor": None, "via": "test", "address": None}


class Killed(BaseException):
    """A worker's end in the middle of a transaction."""


def claimed(row: TargetResult, state: str = TargetState.LEASED) -> Claimed:
    lease = uuid4()
    TargetResult.objects.filter(pk=row.pk).update(state=state, lease=lease, lease_until=timezone.now() + LEASE)
    ScanJob.objects.filter(pk=row.job_id, state=JobState.QUEUED).update(state=JobState.RUNNING, started_at=timezone.now())
    return Claimed(pk=row.pk, job_id=row.job_id, lease=lease)


def saved(job: ScanJob, *reports, awaits_summary: bool = False) -> None:
    for row, report in zip(job.targets.filter(finished_at=None).order_by("ordinal"), reports, strict=False):
        assert save_report(claimed(row), report, awaits_summary=awaits_summary)


def killed_while_saving(held: Claimed, report) -> None:
    """All is written but nothing committed, which is how a kill leaves it."""
    with suppress(Killed), transaction.atomic():
        assert save_report(held, report, awaits_summary=False)
        raise Killed


def sums(owner: int = EVERYBODY) -> dict[tuple[str, str], int]:
    return dict(count_sums(owner, CountKind, since=LONG_AGO).n)


def of(kind: CountKind, owner: int = EVERYBODY) -> dict[str, int]:
    return count_sums(owner, [kind], since=LONG_AGO).of(kind)


def everything() -> dict[tuple, tuple[int, int]]:
    """All counts of every owner and of everybody, folded and fresh together."""
    found: Counter = Counter()
    milliseconds: Counter = Counter()
    for row in DailyCount.objects.all():
        for owner in {row.owner} if row.is_folded else {row.owner, EVERYBODY}:
            key = (row.day, owner, row.kind, row.value)
            found[key] += row.n
            milliseconds[key] += row.milliseconds
    return {key: (n, milliseconds[key]) for key, n in found.items()}


# --- Once each -----------------------------------------------------------------------------------------------------


def test_a_saved_result_counts_its_level_its_ports_its_country_and_its_sources():
    source = make_source(facts=Facts(country_code="NL"))
    saved(make_job("127.66.0.1"), make_report("127.66.0.1", make_address(open_ports=[22, 6379], sources=[source])))
    assert of(CountKind.TARGET) == {"done": 1}
    assert of(CountKind.LEVEL) == {"high": 1}
    assert of(CountKind.PORT) == {"22": 1, "6379": 1}
    assert of(CountKind.COUNTRY) == {"NL": 1}
    assert of(CountKind.SOURCE) == {"ip-api:ok": 1}
    assert of(CountKind.JOB) == {"complete": 1}
    assert of(CountKind.WAIT) == {"1": 1}


def test_a_port_open_at_two_addresses_of_a_name_is_one_target_with_it():
    both = (make_address("127.66.0.6", open_ports=[22]), make_address("127.66.0.7", open_ports=[22]))
    saved(make_job("two.invalid"), make_report("two.invalid", *both))
    assert of(CountKind.PORT) == {"22": 1}
    assert of(CountKind.COUNTRY) == {"DE": 1}


def test_a_write_that_lost_its_lease_counts_nothing():
    job = make_job("127.66.0.1")
    lost = Claimed(pk=job.targets.get().pk, job_id=job.pk, lease=uuid4())
    assert not save_report(lost, make_report("127.66.0.1"), awaits_summary=False)
    assert sums() == {}


def test_a_worker_killed_before_the_commit_has_counted_nothing_and_the_next_counts_once():
    job = make_job("127.66.0.1")
    held = claimed(job.targets.get())
    killed_while_saving(held, make_report("127.66.0.1"))
    assert sums() == {}
    assert save_report(held, make_report("127.66.0.1"), awaits_summary=False)
    assert not save_report(held, make_report("127.66.0.1"), awaits_summary=False)
    assert (of(CountKind.TARGET), of(CountKind.JOB)) == ({"done": 1}, {"complete": 1})


def test_a_target_that_waits_for_words_counts_with_its_verdict_and_never_again():
    job = make_job("127.66.0.1", "127.66.0.2")
    reports = [make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", open_ports=[22])) for n in (1, 2)]
    saved(job, *reports, awaits_summary=True)
    before = (of(CountKind.TARGET), of(CountKind.LEVEL), of(CountKind.PORT))
    assert before == ({"done": 2}, {"low": 2}, {"22": 2})
    first, _ = job.targets.order_by("ordinal")
    assert save_summary(claimed(first, TargetState.SCANNED), reports[0].summary)
    assert cancel_job(job, by=SYSTEM)
    assert (of(CountKind.TARGET), of(CountKind.LEVEL), of(CountKind.PORT)) == before
    assert of(CountKind.JOB) == {"cancelled": 1}


def test_a_cancelled_job_counts_its_open_targets_as_cancelled_and_rates_none_of_them():
    job = make_job("127.66.0.1", "127.66.0.2", "127.66.0.3")
    saved(job, make_report("127.66.0.1"))
    assert cancel_job(job, by=SYSTEM)
    assert not cancel_job(job, by=SYSTEM)
    assert of(CountKind.TARGET) == {"cancelled": 2, "done": 1}
    assert of(CountKind.LEVEL) == {"low": 1}
    assert of(CountKind.JOB) == {"cancelled": 1}


def test_what_the_policy_refuses_counts_when_it_is_submitted():
    request = ScanRequest(items=(SubmittedItem(pointer="/0", text="10.0.0.1"), SubmittedItem(pointer="/1", text="10.0.0.2")))
    submit_scan(request)
    assert of(CountKind.TARGET) == {"refused": 2}
    assert of(CountKind.JOB) == {"partial": 1}
    assert of(CountKind.LEVEL) == of(CountKind.WAIT) == {}
    assert aggregates.rebuild(until=TOMORROW) == 1
    assert of(CountKind.TARGET) == {"refused": 2}


def test_a_job_that_lost_its_finisher_counts_when_the_reaper_closes_it_and_once():
    job = make_job("127.66.0.1", state=JobState.RUNNING, started_at=timezone.now())
    job.targets.update(state=TargetState.DONE, finished_at=timezone.now(), evidence={})
    assert [reap().finished_jobs, reap().finished_jobs] == [1, 0]
    assert of(CountKind.JOB) == {"complete": 1}


def test_a_name_that_leads_nowhere_is_rated_unknown_and_has_no_country():
    saved(make_job("shop.invalid"), make_failure("shop.invalid"))
    assert sums() == {
        ("target", "error"): 1, ("level", "unknown"): 1, ("job", "partial"): 1, ("wait", "1"): 1,
    }  # fmt: skip


# --- What is counted -----------------------------------------------------------------------------------------------


def test_of_a_host_that_answers_everywhere_only_the_known_ports_count():
    ports = range(1, 65536)
    saved(make_job("127.66.0.1"), make_report("127.66.0.1", make_address(open_ports=ports, ports=ports)))
    counted = of(CountKind.PORT)
    assert 100 < len(counted) < 200
    assert "22" in counted
    assert "40001" not in counted


@pytest.mark.parametrize("said", ["", None, "XX", "<script>", "Germany", "D", "\x00", "ß", 49])
def test_what_is_no_country_code_counts_as_not_known(said):
    source = make_source(facts=Facts(country_code=said))
    report = make_report("127.66.0.1", make_address(sources=[source]))
    assert aggregates.result_tally("done", *parts_of(report)).n["country", ""] == 1


def test_a_country_code_may_be_written_small():
    source = make_source(facts=Facts(country_code=" de "))
    report = make_report("127.66.0.1", make_address(sources=[source]))
    assert aggregates.result_tally("done", *parts_of(report)).n["country", "DE"] == 1


def parts_of(report):
    return wire.evidence_dict(report), wire.verdict_dict(report.verdict)


def test_only_requests_that_were_sent_have_a_time_and_only_questions_that_were_asked_have_a_state():
    asked = replace(make_source(), elapsed_ms=250)
    cached = replace(make_source(is_cached=True), elapsed_ms=250)
    down = replace(make_source(SourceState.FAILED), elapsed_ms=5000)
    private = make_source(SourceState.NOT_APPLICABLE)
    for n, source in enumerate((asked, cached, down, private), start=1):
        address = f"127.66.0.{n}"
        saved(make_job(address), make_report(address, make_address(address, sources=[source])))
    assert of(CountKind.SOURCE) == {"ip-api:ok": 2, "ip-api:failed": 1}
    found = count_sums(EVERYBODY, [CountKind.TIMED], since=LONG_AGO)
    assert (found.n["timed", "ip-api"], found.milliseconds["timed", "ip-api"]) == (2, 5250)


@pytest.mark.parametrize(
    ("seconds", "step"), [(0, "1"), (1, "1"), (1.001, "2"), (5, "5"), (299, "300"), (301, "more"), (-3, "1")]
)
def test_a_job_counts_by_how_long_it_waited_for_its_first_claim(seconds, step):
    now = timezone.now()
    job = ScanJob(outcome="complete", created_at=now, started_at=now + timedelta(seconds=seconds))
    assert aggregates.job_tally(job).n["wait", step] == 1


# --- Folding -------------------------------------------------------------------------------------------------------


def test_folding_changes_no_sum_and_leaves_one_row_for_each_key():
    owners = [None, *(User.objects.create_user(name) for name in ("alice", "bob"))]
    for owner in owners:
        saved(make_job("127.66.0.1", "127.66.0.2", owner=owner), *(make_report(f"127.66.0.{n}") for n in (1, 2)))
    before = everything()
    assert aggregates.fold(limit=5) == 5
    assert everything() == before
    while aggregates.fold(limit=5):
        assert everything() == before
    assert not DailyCount.objects.filter(is_folded=False).exists()
    assert DailyCount.objects.count() == len(before)
    saved(make_job("127.66.0.1"), make_report("127.66.0.1"))
    aggregates.fold()
    assert of(CountKind.TARGET) == {"done": 7}
    assert of(CountKind.TARGET, owners[1].pk) == {"done": 2}
    assert of(CountKind.TARGET, NOBODY) == {"done": 3}


def test_one_owner_never_sees_the_counts_of_another_whether_folded_or_not():
    alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
    saved(make_job("127.66.0.1", owner=alice), make_report("127.66.0.1", make_address(open_ports=[6379])))
    for _ in range(2):
        assert sums(bob.pk) == {}
        assert sums(NOBODY) == {}
        assert sums(alice.pk) == sums() != {}
        assert count_sums(None, CountKind, since=LONG_AGO).n == {}
        aggregates.fold()


def test_a_count_belongs_to_its_day_in_utc():
    job = make_job("127.66.0.1")
    at = datetime(2026, 3, 1, 1, 30, tzinfo=UTC).astimezone(timezone.get_fixed_timezone(-180))  # still February there
    aggregates.count_unscanned(job, TargetState.REFUSED, 2, at=at)
    assert count_by_day(EVERYBODY, CountKind, since=LONG_AGO) == {date(2026, 3, 1): {("target", "refused"): 2}}


@pytest.mark.django_db(transaction=True)
def test_savers_and_folders_at_once_lose_and_double_nothing():
    jobs = [make_job(*(f"127.66.{k}.{n}" for n in range(1, 16))) for k in range(3)]
    report, failures = make_report("127.66.0.1", make_address(open_ports=[22, 443])), []
    is_over = threading.Event()

    def worker(work) -> None:
        try:
            work()
        except Exception as error:  # told to the test
            failures.append(error)
        finally:
            connection.close()

    def fold_on() -> None:
        while not is_over.wait(0.002):
            aggregates.fold(limit=20)

    def read_on() -> None:
        seen = 0
        while not is_over.wait(0.002):
            found = count_sums(EVERYBODY, [CountKind.TARGET, CountKind.PORT], since=LONG_AGO).n
            assert found["target", "done"] == found["port", "22"] == found["port", "443"], "a read in the middle of a write"
            assert found["target", "done"] >= seen, "a read in the middle of a fold"
            seen = found["target", "done"]

    savers = [threading.Thread(target=worker, args=[lambda job=job: saved(job, *[report] * 15)]) for job in jobs]
    others = [threading.Thread(target=worker, args=[work]) for work in (fold_on, fold_on, read_on)]
    for thread in (*savers, *others):
        thread.start()
    for thread in savers:
        thread.join(AGES)
    is_over.set()
    for thread in others:
        thread.join(AGES)
    assert failures == []
    while aggregates.fold():
        pass
    assert of(CountKind.PORT) == {"22": 45, "443": 45}
    assert of(CountKind.JOB) == {"complete": 3}
    before = everything()
    aggregates.rebuild(until=TOMORROW)
    assert everything() == before


# --- Against the rows themselves -----------------------------------------------------------------------------------

SOURCES = st.builds(
    make_source, st.sampled_from(SourceState), facts=st.builds(Facts, country_code=st.sampled_from(["DE", "nl", "??", None]))
)
ADDRESSES = st.builds(
    make_address,
    st.sampled_from(["127.66.0.1", "127.66.0.2"]),
    open_ports=st.sets(st.integers(1, 65535), max_size=4),
    sources=st.lists(SOURCES, max_size=2),
)
REPORTS = st.one_of(
    st.builds(make_report, st.just("127.66.0.1"), ADDRESSES),
    st.builds(
        make_failure, st.just("127.66.0.1"), st.just("resolve_failed"), st.just("no"),
        outcome=st.sampled_from([Outcome.ERROR, Outcome.REFUSED]),
    ),
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(["save", "save", "words", "killed", "fold", "cancel"]), st.integers(0, 2), REPORTS),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_happens_the_counts_are_those_of_the_rows(django_user_model, steps):
    with transaction.atomic():
        owners = [None, *(User.objects.get_or_create(username=name)[0] for name in ("alice", "bob"))]
        jobs = [make_job(*(f"127.66.9.{n}" for n in range(1, 4)), owner=owner) for owner in owners]
        for what, n, report in steps:
            row = jobs[n].targets.filter(state=TargetState.PENDING).order_by("ordinal").first()
            if what == "fold":
                aggregates.fold(limit=7)
            elif what == "cancel":
                cancel_job(jobs[n], by=SYSTEM)
            elif row and what == "killed":
                killed_while_saving(claimed(row), report)
            elif row:
                awaits = what == "words" and report.outcome is Outcome.DONE
                assert save_report(claimed(row), report, awaits_summary=awaits)
        before = everything()
        aggregates.rebuild(until=TOMORROW)
        assert everything() == before
        assert aggregates.rebuild(until=TOMORROW) == len({key[0] for key in before})
        assert everything() == before
        transaction.set_rollback(True)


def test_every_level_and_every_state_has_a_count():
    for level in Level:
        assert aggregates.result_tally("error", {"addresses": []}, {"level": level.value}).n["level", level.value] == 1
    for state in ("done", "error", "refused", "cancelled", "scanned"):
        tally = aggregates.result_tally(state, {"addresses": []}, {"level": "low"})
        assert tally.n["target", "done" if state == "scanned" else state] == 1


# --- What stays ----------------------------------------------------------------------------------------------------


def test_deleting_and_purging_leave_the_counts():
    first, second = make_job("127.66.0.1"), make_job("127.66.0.2")
    saved(first, make_report("127.66.0.1"))
    saved(second, make_report("127.66.0.2"))
    before = everything()
    delete_job(first, by=SYSTEM)
    list(purge.purge(purge.Selection(before=timezone.now() + timedelta(days=1)), origin=COMMAND_LINE))
    assert not ScanJob.objects.exists()
    assert everything() == before
    assert aggregates.rebuild(until=TOMORROW) == 0
    assert everything() == before, "a day without rows was purged; its counts are all that is left of it"


def test_a_rebuild_leaves_today_alone_unless_told_otherwise():
    saved(make_job("127.66.0.1"), make_report("127.66.0.1"))
    DailyCount.objects.all().delete()
    assert aggregates.rebuild() == 0
    assert everything() == {}
    ScanJob.objects.update(finished_at=timezone.now() - timedelta(days=1))
    TargetResult.objects.update(scanned_at=timezone.now() - timedelta(days=1))
    assert aggregates.rebuild() == 1
    assert of(CountKind.TARGET) == {"done": 1}
