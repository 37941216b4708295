"""`manage.py backup`: a copy taken under load is whole, private, checked, and a start from it loses nothing."""

from __future__ import annotations

import io
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from scans.models import RateBucket, ScanJob
from scans.services import backup
from tests.factories import make_job
from tests.patience import AGES
from tests.stack import ROOT, Stack, becomes, environment

on_sqlite = pytest.mark.sqlite
pytestmark = [pytest.mark.django_db(transaction=True), on_sqlite]


def run(path, *arguments):
    out = io.StringIO()
    call_command("backup", str(path), *arguments, stdout=out)
    return out.getvalue()


def read(path, query):
    with closing(sqlite3.connect(path)) as copy:
        return copy.execute(query).fetchall()


@contextmanager
def writing(write, *, writers=2):
    """Threads that call `write(writer, number)` over and over until the block ends; what any raised, it raises."""
    end, failed = threading.Event(), []

    def work(writer):
        try:
            number = 0
            while not end.is_set() and number < 20_000:
                write(writer, number)
                number += 1
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join(AGES)
        assert failed == []


# --- The file ------------------------------------------------------------------------------------------------------


def test_the_copy_is_one_private_file_that_holds_every_row(tmp_path):
    jobs = [make_job(f"127.66.0.{n}") for n in range(1, 4)]
    said = run(tmp_path / "copy.sqlite")
    (path,) = tmp_path.iterdir()
    assert said.startswith(f"{path}: {path.stat().st_size:,} bytes, checked, in ")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {token for (token,) in read(path, "SELECT token FROM scans_scanjob")} == {job.token for job in jobs}
    assert read(path, "PRAGMA integrity_check") == [("ok",)]
    assert read(path, "PRAGMA auto_vacuum") == read(connection.settings_dict["NAME"], "PRAGMA auto_vacuum")


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_text("precious")
    with pytest.raises(CommandError, match="exists: choose another name, or replace it by --force"):
        run(path)
    assert path.read_text() == "precious"
    run(path, "--force")
    assert read(path, "PRAGMA integrity_check") == [("ok",)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_to_a_file_is_not_followed(tmp_path):
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "copy.sqlite"
    path.symlink_to(elsewhere)
    with pytest.raises(CommandError, match="exists"):
        run(path)
    elsewhere.write_text("precious")
    run(path, "--force")
    assert elsewhere.read_text() == "precious"
    assert not path.is_symlink()


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "copy.sqlite"
    check = backup._check

    def slow_check(part):
        check(part)
        path.write_text("precious")

    monkeypatch.setattr(backup, "_check", slow_check)  # the only moment at which it can happen
    with pytest.raises(CommandError, match="has appeared meanwhile"):
        run(path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_the_database_itself_is_never_the_target(suffix, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(f"{connection.settings_dict['NAME']}{suffix}")
    for path in (link.readlink(), link):
        with pytest.raises(CommandError, match="belongs to the database itself"):
            run(path, "--force")


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    with pytest.raises(CommandError, match=f"{tmp_path} is a directory: name a file in it"):
        run(tmp_path, "--force")
    with pytest.raises(CommandError, match=f"There is no directory {tmp_path}/missing"):
        run(tmp_path / "missing" / "copy.sqlite")


def test_a_full_disk_leaves_the_old_copy_and_no_half_of_a_new_one(tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_text("precious")
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "ipscanner.settings",
        "SCAN_DB_PATH": str(connection.settings_dict["NAME"]),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "backup", str(path), "--force"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=AGES,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_960, 40_960)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: No backup was made: ")
    assert "Traceback" not in done.stderr
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_damage_is_found_before_the_copy_counts(tmp_path):
    for n in range(1, 40):
        make_job(f"127.66.0.{n}")
    path = tmp_path / "copy.sqlite"
    run(path)
    pages = read(path, "PRAGMA page_count")[0][0]
    with path.open("r+b") as file:
        for page in range(2, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    with pytest.raises((backup.BackupError, sqlite3.DatabaseError), match=r"damaged|malformed"):
        backup._check(path)


# --- Under load ----------------------------------------------------------------------------------------------------


def test_writers_neither_stop_the_copy_nor_wait_for_it_and_it_is_of_one_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "STEP_PAGES", 2)  # many steps, between which there is always a foreign write
    for writer in range(2):
        for name in "ab":
            RateBucket.objects.create(name=f"{writer}{name}", tokens=0, counted_at=timezone.now())
    count = [0, 0]

    def write(writer, number):
        with transaction.atomic():
            for name in "ab":
                RateBucket.objects.filter(name=f"{writer}{name}").update(tokens=number)
        count[writer] = number
        time.sleep(0.001)  # without it one of two writers hardly gets a turn

    with writing(write):
        assert becomes(lambda: min(count) > 5)
        before = list(count)
        run(tmp_path / "copy.sqlite")
        after = list(count)
    rows = dict(read(tmp_path / "copy.sqlite", "SELECT name, tokens FROM scans_ratebucket"))
    for writer in range(2):
        assert rows[f"{writer}a"] == rows[f"{writer}b"]
        assert before[writer] <= rows[f"{writer}a"] <= after[writer] + 1
    assert sum(after) > sum(before)  # while it went on, from its first step to its last


def test_a_start_from_a_copy_taken_under_load_has_every_job_and_goes_on(tmp_path):
    stack = Stack(tmp_path / "first")
    tokens: list[tuple[float, str]] = []

    def submit(writer, number):
        token = stack.scan(ip_addresses=[f"127.0.{writer}.2/31"], ports="1-20")
        tokens.append((time.monotonic(), token))
        time.sleep(0.02)

    try:
        assert becomes(stack.is_ready)
        with writing(submit):
            assert becomes(lambda: len(tokens) > 20)
            began = time.monotonic()
            env = environment(stack.data_dir)
            subprocess.run(
                [sys.executable, "manage.py", "backup", tmp_path / "copy.sqlite"],
                cwd=ROOT,
                env=env,
                check=True,
                timeout=AGES,
                stdout=subprocess.DEVNULL,
            )
            copied = len(tokens)
            assert becomes(lambda: len(tokens) > copied + 5)  # the writers go on
    finally:
        stack.kill()
    committed = [token for at, token in tokens if at < began]
    restored = tmp_path / "second"
    restored.mkdir()
    shutil.copy(tmp_path / "copy.sqlite", restored / "scans.sqlite")
    assert read(restored / "scans.sqlite", "PRAGMA integrity_check") == [("ok",)]
    again = Stack(restored)
    try:
        assert becomes(again.is_ready)
        assert len(committed) > 20
        assert becomes(lambda: all(again.is_complete(token) for token in committed))
        again.stop()
    finally:
        again.kill()
    assert read(restored / "scans.sqlite", "PRAGMA journal_mode") == [("wal",)]


# --- Elsewhere -----------------------------------------------------------------------------------------------------


def test_on_postgres_it_names_the_tool_in_one_line_and_says_nothing_secret(tmp_path):
    env = environment(tmp_path / "data") | {"DATABASE_URL": "postgres://scanner:canary@127.0.0.1:9/scans"}
    done = subprocess.run(
        [sys.executable, "manage.py", "backup", str(tmp_path / "copy")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=AGES,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: This is for SQLite. On Postgres use its own tool: pg_dump ")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr + done.stdout
    assert not (tmp_path / "copy").exists()


def test_a_job_written_after_the_copy_is_not_in_it(tmp_path):
    make_job("127.66.0.1")
    run(tmp_path / "copy.sqlite")
    make_job("127.66.0.2")
    assert read(tmp_path / "copy.sqlite", "SELECT count(*) FROM scans_scanjob") == [(1,)]
    assert ScanJob.objects.count() == 2
    assert Path(connection.settings_dict["NAME"]).exists()
