"""How connections to SQLite are opened: to a new file, and to one in which somebody writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from ipscanner.settings import SQLITE_OPTIONS

pytestmark = pytest.mark.django_db  # else no connection may be opened at all
INCREMENTAL = 2  # of PRAGMA auto_vacuum


@contextmanager
def opened(path: Path) -> Iterator[DatabaseWrapper]:
    """A connection as the settings ask for it, but without any patience for locks."""
    asked: dict[str, Any] = {"NAME": path, "OPTIONS": {**SQLITE_OPTIONS, "timeout": 0}}
    others = {"ENGINE": "", "TIME_ZONE": None, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True}
    connection = DatabaseWrapper(others | asked)
    try:
        connection.ensure_connection()
        yield connection
    finally:
        connection.close()


def asked(connection: DatabaseWrapper, sql: str) -> Any:
    with connection.cursor() as cursor:
        return cursor.execute(sql).fetchone()[0]


def test_a_new_file_can_be_shrunk_and_read_while_somebody_writes(tmp_path):
    with opened(tmp_path / "new.sqlite") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE some (thing)")
    with opened(tmp_path / "new.sqlite") as connection:
        assert (asked(connection, "PRAGMA auto_vacuum"), asked(connection, "PRAGMA journal_mode")) == (INCREMENTAL, "wal")


def test_to_open_a_connection_neither_waits_for_whoever_writes_nor_writes(tmp_path):
    path = tmp_path / "some.sqlite"
    with opened(path) as writer, writer.cursor() as cursor:
        cursor.execute("CREATE TABLE some (thing)")
        written = path.with_name("some.sqlite-wal").stat().st_size
        cursor.execute("BEGIN IMMEDIATE")
        with opened(path) as reader:  # "database is locked" if it needed the lock
            assert asked(reader, "SELECT count(*) FROM some") == 0
        cursor.execute("ROLLBACK")
        with opened(path):
            assert path.with_name("some.sqlite-wal").stat().st_size == written
