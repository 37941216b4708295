"""`manage.py purge`: what goes, what stays, in chunks that hold nobody up, and what it leaves behind."""

from __future__ import annotations

import io
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from scans.management.commands.purge import age
from scans.models import (
    AuditEvent,
    DeletedJob,
    IdempotencyKey,
    JobTag,
    ModelAnswer,
    RateBucket,
    ResultTerm,
    ScanJob,
    SourceReply,
    TargetAddress,
    TargetResult,
)
from scans.services import purge
from scans.services.audit import COMMAND_LINE
from scans.services.purge import Amounts, Selection
from tests.factories import finish, make_address, make_job, make_report, make_result
from tests.patience import AGES, AT_ONCE, PATIENCE

pytestmark = pytest.mark.django_db


def finished(*texts, days_ago=100, **columns):
    """A finished job that ended some days ago, with a result, an address, its terms and a tag for good measure."""
    job = make_job(*(texts or ("127.66.0.1",)), **columns)
    first = texts[0] if texts else "127.66.0.1"
    make_result(make_report(first, make_address(first, open_ports=[6379])), job=job)
    job.targets.filter(finished_at=None).update(state="cancelled", finished_at=timezone.now(), evidence={})
    JobTag.objects.create(job=job, name="old")
    finish(job)
    ScanJob.objects.filter(pk=job.pk).update(finished_at=timezone.now() - timedelta(days=days_ago))
    return job


def run(*arguments):
    out = io.StringIO()
    call_command("purge", *arguments, stdout=out)
    return out.getvalue()


def older_than(days=90, **more):
    return Selection(before=timezone.now() - timedelta(days=days), **more)


def left():
    return set(ScanJob.objects.all())


# --- What goes -----------------------------------------------------------------------------------------------------


def test_old_finished_jobs_go_with_everything_that_hangs_on_them():
    gone = [finished(), finished("127.66.0.2", "127.66.0.3")]
    kept = finished("127.66.0.9", days_ago=80)
    assert run("--older-than", "90d").startswith("Purged 2 jobs with 3 targets, ")
    assert left() == {kept}
    assert set(TargetResult.objects.values_list("job", flat=True)) == {kept.pk}
    assert set(ResultTerm.objects.values_list("job", "result__job")) == {(kept.pk, kept.pk)}
    assert TargetAddress.objects.count() == JobTag.objects.count() == 1
    assert set(DeletedJob.objects.values_list("token", flat=True)) == {job.token for job in gone}


def test_a_job_that_is_not_finished_stays_however_old():
    created_at = timezone.now() - timedelta(days=1000)
    waiting, running = make_job("127.66.0.1", created_at=created_at), make_job("127.66.0.2", state="running")
    run("--older-than", "1h")
    assert left() == {waiting, running}


def test_a_dry_run_says_what_would_go_and_changes_nothing():
    jobs = {finished(), finished("127.66.0.2", "127.66.0.3")}
    said = run("--older-than", "90d", "--dry-run")
    assert said.startswith("Would purge 2 jobs with 3 targets, ")
    assert left() == jobs
    assert TargetResult.objects.count() == 3
    assert not AuditEvent.objects.exists()
    assert run("--older-than", "90d").removeprefix("Purged") == said.removeprefix("Would purge")


def test_the_last_jobs_stay_whatever_their_age():
    oldest, *newer = (finished(days_ago=days) for days in (400, 300, 200))
    run("--older-than", "90d", "--keep-last", "2")
    assert left() == set(newer)
    run("--older-than", "90d", "--keep-last", "3")
    assert left() == set(newer)
    assert DeletedJob.objects.get().token == oldest.token


def test_one_owners_jobs_can_be_purged_alone_and_keep_their_own_last():
    ada, ben = (User.objects.create_user(name) for name in ("ada", "ben"))
    of_ada = [finished(owner=ada, days_ago=days) for days in (300, 200)]
    others = {finished(owner=ben), finished()}
    run("--older-than", "90d", "--owner", "ada", "--keep-last", "1")
    assert left() == {of_ada[1], *others}
    assert DeletedJob.objects.get().owner == ada
    with pytest.raises(CommandError, match="There is no user 'nobody'"):
        run("--older-than", "90d", "--owner", "nobody")


def test_what_has_expired_goes_and_the_rest_only_when_asked():
    now = timezone.now()
    day = timedelta(days=1)
    for number, expires_at in enumerate((now - 8 * day, now - day)):  # the second may still stand in for a new one
        SourceReply.objects.create(
            source="ip-api", address=f"127.66.0.{number}", state="ok", observed_at=now, expires_at=expires_at
        )
    for hours in (1, 25):
        IdempotencyKey.objects.create(owner_key="", key=str(hours), body_digest="", created_at=now - timedelta(hours=hours))
    for days in (29, 31):
        ModelAnswer.objects.create(digest=str(days), answer="{}", model="m", created_at=now - days * day)
    for days in (1, 100):
        DeletedJob.objects.create(token=f"{days:032}", deleted_at=now - days * day)
    assert run("--older-than", "90d") == (
        "Purged 0 jobs with 0 targets, 1 replies of sources, 1 answers of the model, 1 submission keys and 1 traces of "
        "deleted jobs.\n"
    )
    assert [row.address for row in SourceReply.objects.all()] == ["127.66.0.1"]
    assert IdempotencyKey.objects.get().key == "1"
    assert ModelAnswer.objects.get().digest == "29"
    assert DeletedJob.objects.get().token == f"{1:032}"
    run("--older-than", "90d", "--replies")
    assert not SourceReply.objects.exists()


def test_the_audit_trail_says_what_was_purged_and_by_which_rule():
    finished("127.66.0.1", "127.66.0.2")
    run("--older-than", "90d", "--keep-last", "0")
    event = AuditEvent.objects.get()
    assert (event.action, event.via, event.actor) == ("purge", "command line", "")
    assert (event.detail["jobs"], event.detail["targets"], event.detail["keep_last"]) == (1, 2, 0)
    run("--older-than", "90d")
    assert AuditEvent.objects.count() == 1  # nothing went


# --- The command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("90d", 2160), ("2w", 336), ("36500d", 876_000)])
def test_an_age_is_a_number_and_a_unit(text, hours):
    assert age(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "90", "d", "0d", "-1d", "1.5d", "90 d", "90m", "1d2h", "٣d", "36501d", "999999w", "9" * 50 + "d"]
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(CommandError, match="is not an age: write a whole number and h, d or w, like 12h, 90d or 2w"):
        call_command("purge", f"--older-than={text}")


def test_an_age_must_be_given():
    with pytest.raises(CommandError, match="--older-than"):
        call_command("purge")


# --- Chunks --------------------------------------------------------------------------------------------------------


def test_chunks_are_of_whole_jobs_and_a_purge_that_stopped_goes_on(monkeypatch):
    monkeypatch.setattr(purge, "CHUNK_ROWS", 4)
    jobs = [finished(*(f"127.66.{n}.{m}" for m in range(1, 4))) for n in range(3)]
    chunks = purge.purge(older_than(), origin=COMMAND_LINE)
    assert next(chunks) == Amounts(jobs=1, targets=3)
    chunks.close()  # as Ctrl-C does
    assert left() == set(jobs[1:])
    assert AuditEvent.objects.get().detail["jobs"] == 1
    assert list(purge.purge(older_than(), origin=COMMAND_LINE)) == [Amounts(jobs=1, targets=3)] * 2
    assert not left()


def test_a_job_larger_than_a_chunk_is_taken_down_in_several(monkeypatch):
    monkeypatch.setattr(purge, "CHUNK_ROWS", 4)
    finished(*(f"127.66.0.{n}" for n in range(1, 11)))
    taken = list(purge.purge(older_than(), origin=COMMAND_LINE))
    assert [amounts.targets for amounts in taken] == [4, 4, 2, 0]
    assert taken[-1].jobs == 1
    assert AuditEvent.objects.get().detail["targets"] == 10


def test_many_small_jobs_share_a_chunk():
    for _ in range(20):
        finished()
    assert list(purge.purge(older_than(), origin=COMMAND_LINE)) == [Amounts(jobs=20, targets=20)]


def test_a_chunk_costs_as_many_queries_for_many_jobs_as_for_few(django_assert_max_num_queries):
    for n in range(10):
        finished(*(f"127.66.{n}.{m}" for m in range(1, 21)))
    with django_assert_max_num_queries(25):
        assert sum(amounts.targets for amounts in purge.purge(older_than(), origin=COMMAND_LINE)) == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite
def test_the_file_shrinks_again_and_the_log_beside_it_is_cut():
    for _ in range(8):
        finished(*(f"127.66.0.{n}" for n in range(1, 60)))
    TargetResult.objects.update(partial={"filler": "x" * 9000})
    path = Path(connection.settings_dict["NAME"])
    full = path.stat().st_size + Path(f"{path}-wal").stat().st_size
    assert full > 4_000_000
    run("--older-than", "90d")
    assert path.stat().st_size < full / 4
    assert Path(f"{path}-wal").stat().st_size == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite
def test_a_long_reader_does_not_make_the_purge_hold_up_writers():
    finished()
    is_reading, end = threading.Event(), threading.Event()

    def read():
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM scans_scanjob")
            is_reading.set()
            end.wait(AGES)
            cursor.execute("ROLLBACK")
        connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert is_reading.wait(PATIENCE)
        began = time.monotonic()
        assert "was being read" in run("--older-than", "90d")
        assert time.monotonic() - began < AT_ONCE
        RateBucket.objects.create(name="written", tokens=1, counted_at=timezone.now())
    finally:
        end.set()
        reader.join(PATIENCE)
