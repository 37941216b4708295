"""A copy of the SQLite database, taken while it is in use, checked, and put in its place in one step.

    read snapshot ─► part file beside the target (0600) ─► integrity check ─► fsync ─► rename

The snapshot is that of one read transaction, so writers go on and the copy holds exactly what was committed when it
began. Without it SQLite's backup begins anew at every foreign write, and under load never ends.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

STEP_PAGES = 5000  # 20 MB: between two steps it can be interrupted


class BackupError(Exception):
    """There is no new backup; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A finished copy."""

    path: Path
    size: int  # bytes
    seconds: float


def back_up(path: Path, *, may_replace: bool = False) -> Backup:
    """Copy the database to a file. Raises BackupError, and then leaves no file and no half of one."""
    database = _database()
    started_at = time.monotonic()
    target = path.absolute()
    _refuse_bad(target, database, may_replace=may_replace)
    try:
        with _part_file(target) as part:
            _copy(database, part)
            _check(part)
            _sync(part)
            if not may_replace and os.path.lexists(target):
                raise BackupError(f"{path} has appeared meanwhile and was left alone.")
            part.replace(target)
            _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"No backup was made: {error}") from error
    return Backup(path=target, size=target.stat().st_size, seconds=time.monotonic() - started_at)


def _database() -> Path:
    if connection.vendor != "sqlite":
        raise BackupError(
            'This is for SQLite. On Postgres use its own tool: pg_dump --format=custom --file=FILE "$DATABASE_URL"'
        )
    return Path(connection.settings_dict["NAME"]).resolve()


def _refuse_bad(target: Path, database: Path, *, may_replace: bool) -> None:
    live = [Path(f"{database}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
    if target.resolve() in live:
        raise BackupError(f"{target} belongs to the database itself.")
    if target.is_dir():
        raise BackupError(f"{target} is a directory: name a file in it.")
    if os.path.lexists(target) and not may_replace:
        raise BackupError(f"{target} exists: choose another name, or replace it by --force.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no directory {target.parent}.")


@contextmanager
def _part_file(target: Path) -> Iterator[Path]:
    """An empty file of our own beside the target, readable by nobody else; gone at the end, unless renamed."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        yield part
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{part}{suffix}").unlink()


def _copy(database: Path, part: Path) -> None:
    """Copy one snapshot. The copy leaves WAL mode, so that it is a single file; the program turns it on again."""
    with (
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=20)) as source,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the snapshot begins with the first read
        source.backup(copy, pages=STEP_PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")


def _check(part: Path) -> None:
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        said = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(3)")]
    if said != ["ok"]:
        raise BackupError(f"The copy is damaged, as the database itself may be: {'; '.join(said)}")


def _sync(path: Path) -> None:
    """Have the disk hold it, so that a power loss after the rename costs nothing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
