"""Each system check speaks up for what it is there for, and is silent about our own settings."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from django.conf import settings
from django.core.checks import run_checks

from scans.checks import (
    ForeignDatabaseError,
    check_database_file,
    database_problems,
    foreign_tables,
    host_problems,
    metrics_token_problems,
    queue_problems,
    refuse_foreign,
    secret_problems,
)
from tests.patience import AGES
from tests.stack import ROOT, environment

QUEUE = {"name": "scan", "workers": 2, "queue_limit": 2, "timeout": 60, "retry": 120}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "x"}
OPTIONS = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"}
POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "x"}


def ids(problems):
    assert all(problem.hint for problem in problems)
    return [problem.id for problem in problems]


def test_our_own_settings_pass():
    ours = [problem for problem in run_checks() if problem.id.startswith("scans.")]
    assert ours == []
    assert queue_problems(settings.Q_CLUSTER) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"timeout": None}, ["scans.E001"]),
        ({"retry": 119}, ["scans.E002"]),
        ({"queue_limit": 3}, ["scans.E003"]),
        ({"timeout": None, "queue_limit": 3}, ["scans.E001", "scans.E003"]),
        ({"ALT_CLUSTERS": {"ai": {"timeout": 61}}}, ["scans.E002"]),
        ({"ALT_CLUSTERS": {"ai": {"workers": 1}}}, ["scans.E003"]),
    ],
)
def test_a_queue_that_would_lose_or_double_work_is_refused(changes, expected):
    assert ids(queue_problems({**QUEUE, **changes})) == expected


def test_the_default_fetch_ahead_of_the_queue_is_refused():
    assert ids(queue_problems({name: value for name, value in QUEUE.items() if name != "queue_limit"})) == ["scans.E003"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**SQLITE, "OPTIONS": OPTIONS}, []),
        ({**SQLITE}, ["scans.E004"]),
        ({**SQLITE, "OPTIONS": {**OPTIONS, "transaction_mode": "DEFERRED"}}, ["scans.E004"]),
        ({**SQLITE, "OPTIONS": {**OPTIONS, "init_command": "PRAGMA synchronous=FULL"}}, ["scans.E004"]),
        ({**POSTGRES, "CONN_MAX_AGE": 600}, []),
        ({**POSTGRES, "CONN_MAX_AGE": None}, []),
        ({**POSTGRES, "CONN_MAX_AGE": 0}, ["scans.E005"]),
    ],
)
def test_a_database_that_cannot_bear_the_load_is_refused(config, expected):
    assert ids(database_problems(config)) == expected


@pytest.mark.parametrize(
    ("key", "is_local", "expected"),
    [
        ("0123456789" * 5, True, []),
        ("0123456789" * 4, True, ["scans.E006"]),
        ("a" * 60, True, ["scans.E006"]),
        ("change-me-" * 6, False, ["scans.E006"]),
        ("django-insecure-" + "0123456789" * 5, False, ["scans.E006"]),
    ],
)
def test_a_key_that_can_be_guessed_is_refused_and_never_shown(key, is_local, expected):
    problems = secret_problems(key, is_local=is_local)
    assert ids(problems) == expected
    assert not [problem for problem in problems if key in str(problem)]


@pytest.mark.parametrize(("token", "expected"), [("", []), ("0123456789abcdef", []), ("0123456789abcde", ["scans.E014"])])
def test_a_token_that_can_be_guessed_is_refused_and_never_shown(token, expected):
    problems = metrics_token_problems(token)
    assert ids(problems) == expected
    assert not [problem for problem in problems if token in str(problem)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_the_local_profile_listens_on_loopback(host):
    assert host_problems(host, is_local=True) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "localhost.invalid"])
def test_the_local_profile_listens_on_nothing_else(host):
    assert ids(host_problems(host, is_local=True)) == ["scans.E008"]
    assert host_problems(host, is_local=False) == []


# --- The database file -------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path):
    """Makes a SQLite file by some statements; returns its path."""

    def make(*statements: str, name: str = "odd ?name#1.sqlite"):
        path = tmp_path / name
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return path

    return make


DJANGO = "CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT)"


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], []),
        (["CREATE TABLE b (x)", "CREATE TABLE a (x INTEGER PRIMARY KEY AUTOINCREMENT)"], ["a", "b"]),
        (["CREATE TABLE auth_user (x)"], ["auth_user"]),  # without django_migrations no Django made it
        ([DJANGO, "CREATE TABLE auth_user (x)"], []),  # ours, cut short at the first migrations
        ([DJANGO, "CREATE TABLE auth_user (x)", "CREATE TABLE shop_order (x)"], ["shop_order"]),
        ([DJANGO, "INSERT INTO django_migrations VALUES (1, 'scans', '0001_initial')", "CREATE TABLE kept (x)"], []),
    ],
)
def test_tables_of_other_programs_are_told_from_ours(database, statements, expected):
    path = database(*statements)
    before = path.read_bytes()
    assert foreign_tables(path) == expected
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_fine_and_is_not_made_by_looking(tmp_path):
    path = tmp_path / "new.sqlite"
    refuse_foreign(path)
    assert not path.exists()


def test_a_file_being_written_by_its_program_is_seen_with_its_latest_tables(database):
    path = database("PRAGMA journal_mode=WAL", "CREATE TABLE a (x)")
    with closing(sqlite3.connect(path)) as owner:
        owner.execute("CREATE TABLE b (x)")  # still in the write-ahead log
        assert foreign_tables(path) == ["a", "b"]


def test_a_refusal_names_the_file_some_tables_and_the_remedy(database):
    path = database(*(f"CREATE TABLE t{n} (x)" for n in range(7)))
    with pytest.raises(ForeignDatabaseError) as caught:
        refuse_foreign(path)
    assert str(caught.value) == (
        f"{path} holds tables of another program (t0, t1, t2, t3, t4 and 2 more): choose another SCAN_DB_PATH."
    )


@pytest.mark.parametrize("kind", ["text", "directory", "nowhere"])
def test_what_cannot_be_a_database_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "text":
        path.write_text("These are notes, and more of them than a header has room for.\n" * 20)
    elif kind == "directory":
        path.mkdir()
    else:
        path = tmp_path / "missing" / "scans.sqlite"
    with pytest.raises(ForeignDatabaseError, match=r"choose another SCAN_DB_PATH\.$") as caught:
        refuse_foreign(path)
    assert str(path) in str(caught.value)


@pytest.mark.django_db
def test_our_own_database_is_ours():
    assert check_database_file(databases=["default"]) == []


def test_migrate_itself_refuses_a_foreign_file(database, tmp_path):
    path = database("CREATE TABLE scan_jobs (x)")
    env = environment(tmp_path / "data", SCAN_DB_PATH=str(path))
    ended = subprocess.run(
        [sys.executable, "manage.py", "migrate"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=AGES
    )
    assert ended.returncode == 1
    assert "(scans.E007)" in ended.stderr
    assert "scan_jobs" in ended.stderr
