"""A database that is restarted, full or locked, and clocks that are wrong: the jobs end, and nothing is lost or counted."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests import with_postgres
from tests.chaos.figures import record
from tests.chaos.ground import ground, silent_everywhere
from tests.chaos.ledger import Ledger
from tests.stack import Stack, becomes

pytestmark = [pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]


def errors(ledger: Ledger) -> list[tuple[str, int]]:
    return ledger.rows("SELECT error_code, count(*) FROM scans_targetresult WHERE state <> 'done' GROUP BY error_code")


@pytest.fixture
def postgres():
    """A server of this test's own, which may be restarted: the URL and how to do that."""
    tools = with_postgres.postgres_bin()
    if tools is None:
        pytest.skip("needs Postgres")
    with with_postgres.server(tools) as url:
        with psycopg.connect(url) as connection:
            connection.execute("ALTER ROLE scanner SET synchronous_commit = on")  # as in real use: what is committed stays
            (data,) = connection.execute("SHOW data_directory").fetchone()

        def restart() -> None:
            home = str(Path(data).parent)
            how = ["-w", "-m", "immediate", "-l", f"{home}/log"]
            with_postgres.control(tools, "pg_ctl", "-D", data, *how, "restart", cwd=home)

        yield Ledger(url=url), restart


# --- Restarted, full, locked -------------------------------------------------------------------------------------------


@pytest.mark.sqlite  # brings a Postgres of its own: once is enough
def test_a_postgres_that_crashes_in_mid_job_costs_no_result_and_no_attempt(postgres, tmp_path):
    ledger, restart = postgres
    stack = Stack(tmp_path / "data", **ledger.environment)
    try:
        assert becomes(stack.is_ready), stack.text()
        ledger.count_from_now()
        with ground() as ports:
            for n in range(4):
                stack.scan(ip_addresses=[f"127.50.{n}.0-127.50.{n}.199"], ports=ports.all)
            assert becomes(ledger.holders)
            restart()
            back = time.time()
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
        stack.stop()
    finally:
        stack.kill()
    assert re.search(r"(the database is away|leases wait for the database|failed, tried again every).*: \S", stack.text())
    assert ledger.not_once() == []
    assert errors(ledger) == []
    after = [at - back for at in ledger.write_times() if at > back]
    record("Postgres crashed and restarted", ledger.name, targets=800, lost=0, twice=0, resume_s=min(after))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def filled(disk: Path):
    """Not a byte is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break
    yield
    filler.unlink()


@pytest.mark.sqlite
def test_a_full_disk_turns_submissions_away_and_costs_no_result(small_disk, tmp_path):
    ledger = Ledger(path=small_disk / "scans.sqlite")
    stack = Stack(tmp_path / "data", MIN_FREE_DISK_MB="0", **ledger.environment)  # nothing turns them away before it is full
    try:
        assert becomes(stack.is_ready), stack.text()
        ledger.count_from_now()
        with ground() as ports:
            tokens = [stack.scan(ip_addresses=[f"127.51.{n}.0-127.51.{n}.199"], ports=ports.all) for n in range(4)]
            assert becomes(ledger.holders)
            with filled(small_disk):
                body = f'{{"ip_addresses": ["127.52.0.0/24"], "ports": {ports.all}}}'
                replies = []
                until = time.monotonic() + 20
                while time.monotonic() < until:
                    replies.append(stack.request("POST", "/scan", body, Content_Type="application/json"))
                    tokens += [reply.text.split('"')[3] for reply in replies[-1:] if reply.status == 202]
                    time.sleep(1)
                assert replies[-1].status == 503, replies[-1].text
                assert {reply.status for reply in replies} <= {202, 503}
                assert {reply.headers["Content-Type"] for reply in replies if reply.status == 503} == {
                    "application/problem+json"
                }
            freed = time.time()
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
        assert stack.request("POST", "/scan", body, Content_Type="application/json").status == 202
        assert becomes(ledger.is_all_done), stack.text()[-3000:]
        stack.stop()
    finally:
        stack.kill()
    assert "database or disk is full" in stack.text()
    assert ledger.not_once() == []
    assert errors(ledger) == []
    after = [at - freed for at in ledger.write_times() if at > freed]
    record("Disk full for 20 s", ledger.name, jobs=len(tokens), lost=0, twice=0, resume_s=min(after))


def test_a_database_that_somebody_locks_for_ten_seconds_costs_no_result(start, ledger):
    stack = start()
    ledger.count_from_now()
    with ground() as ports:
        for n in range(3):
            stack.scan(ip_addresses=[f"127.53.{n}.0-127.53.{n}.199"], ports=ports.all)
        assert becomes(ledger.holders)
        lock_for(ledger, 10)
        unlocked = time.time()
        assert becomes(ledger.is_all_done), stack.text()[-3000:]
    stack.stop()
    assert re.search(r"the database, locked by somebody or busy, took \d+\.\d s for: \S", stack.text())
    assert ledger.not_once() == []
    assert errors(ledger) == []
    after = [at - unlocked for at in ledger.write_times() if at > unlocked]
    record("Database locked for 10 s", ledger.name, targets=600, lost=0, twice=0, resume_s=min(after))


def lock_for(ledger: Ledger, seconds: float) -> None:
    if ledger.url:
        with psycopg.connect(ledger.url) as connection:
            connection.execute("LOCK TABLE scans_targetresult, scans_scanjob IN EXCLUSIVE MODE")
            time.sleep(seconds)
        return
    with ledger.writing() as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)


# --- Wrong clocks --------------------------------------------------------------------------------------------------------


def wrong_clock(file: Path) -> dict[str, str]:
    """A program's clock is off by what the file says, and follows when that changes; only this program's."""
    return {"CHAOS_CLOCK": str(file), "PYTHONPATH": str(Path(__file__).with_name("wrong_clock"))}


@pytest.mark.parametrize("jumps", [("+3600", "+0"), ("-3600", "+0")], ids=["forward and back", "back and forward"])
def test_a_clock_that_is_set_in_mid_job_costs_no_result_and_is_in_the_log(start, ledger, tmp_path, jumps):
    file = tmp_path / "offset"
    file.write_text("+0")
    stack = start(**wrong_clock(file))
    ledger.count_from_now()
    with ground() as ports:
        for n, jump in enumerate(("+0", *jumps)):
            file.write_text(jump)
            stack.scan(ip_addresses=[f"127.54.{n}.0-127.54.{n}.199"], ports=ports.all)
            assert becomes(ledger.holders)
            time.sleep(3)
        assert becomes(ledger.is_all_done), stack.text()[-3000:]
    stack.stop()
    assert ledger.not_once() == []
    assert errors(ledger) == []
    said = ["forward", "back"] if jumps[0] == "+3600" else ["back", "forward"]
    for word in said:
        assert f"the clock of this machine was set 3,600 s {word}" in stack.text()


@pytest.mark.sqlite  # brings a Postgres of its own
@pytest.mark.parametrize(("offset", "words"), [("+3600", "3,600 s ahead of"), ("-3600", "3,600 s behind")])
def test_a_worker_host_whose_clock_is_an_hour_off_takes_no_row_from_others_and_loses_none(postgres, tmp_path, offset, words):
    """On Postgres, where there are several hosts: leases follow the database's clock."""
    file = tmp_path / "offset"
    file.write_text(offset)
    ledger, _ = postgres
    slow = {**ledger.environment, "PROBE_ATTEMPTS": "5", "Q_WORKERS": "1", "SECRET_KEY": "the-same-on-both-hosts-" * 3}
    stack, other = Stack(tmp_path / "data", **slow), None
    try:
        assert becomes(stack.is_ready), stack.text()
        ledger.count_from_now()
        other = Stack(tmp_path / "other", "worker", **{**slow, **wrong_clock(file)})
        with silent_everywhere() as dark:
            for n in range(3):  # more than one worker holds at once
                stack.scan(ip_addresses=[f"127.55.{4 * n}.0/22"], ports=[dark])
            assert becomes(lambda: len(ledger.holders()) == 2), other.text()[-3000:]
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
        other.stop()
        stack.stop()
    finally:
        for started in filter(None, (other, stack)):
            started.kill()
    assert ledger.not_once() == []
    assert errors(ledger) == []
    assert max(ledger.attempts()) == 1
    assert f"the clock of this machine is {words} the database's" in other.text()
