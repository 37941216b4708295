"""The directory of list files and databases.

    put() ─► a temporary file ─► Feed.open(): is it good? ─► renamed over the last one, then its record (JSON) beside it
    load() ─► the table in memory ─┬─ the file is as it was: at once
                                   └─ it has changed: read again; a bad one leaves the table as it is

A file is the truth about itself: one that was copied there by other means is used, too, and a record that is about another
file (its SHA-256 differs) is not believed. Any number of processes read while one writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from scans.core.feeds.base import AnyFeed, Contents, Feed, FeedError, FeedMissingError

Table = TypeVar("Table")

BUILT_IN = "comes with the program"
OVERDUE_FACTOR = 3  # a file is overdue when nobody has asked for a newer one in so many times its rhythm
MOMENTS = ("fetched_at", "checked_at", "dated")
CHECK_SECONDS = 1.0  # how often a process looks whether a file has changed: a scan asks for tables thousands of times
_lock = threading.Lock()
_kept: dict[tuple[Path | None, str], _Kept] = {}  # by directory and feed


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is known about the file of a feed. Stored beside it as JSON, times in ISO 8601."""

    sha256: str
    bytes: int
    origin: str  # a URL, or the name of the file that was imported
    fetched_at: datetime | None = None  # when it came here; None: it comes with the program
    checked_at: datetime | None = None  # when its publisher last said that there is no newer one, or it was imported
    dated: datetime | None = None  # by its own words
    entries: int = 0
    left_out: int = 0
    first_left_out: str = ""
    etag: str = ""  # of the reply it came with, for the next question
    last_modified: str = ""

    def is_overdue(self, feed: AnyFeed, *, now: datetime) -> bool:
        """Whether nobody has asked for a newer one for too long. What comes with the program is, if it is published."""
        if self.checked_at is None:
            return bool(feed.url)
        return (now - self.checked_at).total_seconds() > OVERDUE_FACTOR * feed.refresh_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded(Generic[Table]):
    """The table of a feed, and of when it is."""

    table: Table
    entries: int
    of: datetime | None  # its own date, or else when it came here
    is_built_in: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """What this process read: the file as it was then, and what became of it."""

    looked_at: float  # by the monotonic clock
    path: Path | None  # None: there is no file
    stamp: tuple[int, int, int] | None = None
    loaded: Loaded[Any] | None = None
    error: str = ""


class Store:
    """The files of one directory; an empty name stands for none, so that only what comes with the program is there."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory) if directory else None

    def path(self, feed: AnyFeed) -> Path | None:
        """Where the file of a feed is: in the directory, or the one that comes with the program; None if there is none."""
        own = self.directory / feed.file_name if self.directory else None
        return own if own is not None and own.is_file() else feed.seed

    def load(self, feed: Feed[Table]) -> Loaded[Table]:
        """The table, read again if its file has changed; where the new one is bad, the last good one of this process.

        Raises FeedMissingError if there is no file and FeedError if none that was ever there could be read.
        """
        kept = self._of(feed)
        if kept.loaded is not None:
            return kept.loaded
        if kept.path is not None:
            raise FeedError(kept.error)
        how = "update` or `manage.py feeds import" if feed.url else "import"
        raise FeedMissingError(f"there is no file of {feed.title} here: `manage.py feeds {how}` brings one")

    def has(self, feed: AnyFeed) -> bool:
        """Whether there is a file to load, good or bad."""
        return self._of(feed).path is not None

    def record(self, feed: AnyFeed) -> Record | None:
        """What is known about the file that is in use; None if there is none. Raises FeedError if it cannot be read."""
        path = self.path(feed)
        if path is None:
            return None
        sha256, size = _digest(path)
        stored = self._stored_record(feed)
        if stored is not None and stored.sha256 == sha256 and path != feed.seed:
            return stored
        contents = _opened(feed, path)
        arrived = None if path == feed.seed else datetime.fromtimestamp(path.stat().st_mtime, UTC)
        origin = BUILT_IN if path == feed.seed else f"{path.name}, put there by hand"
        return _record(contents, sha256=sha256, size=size, origin=origin, at=arrived)

    def put(
        self,
        feed: AnyFeed,
        body: bytes,
        *,
        origin: str,
        at: datetime,
        etag: str = "",
        last_modified: str = "",
        least_entries: int = 0,
    ) -> Record:
        """Take in a file. Raises FeedError if it is bad or cannot be written: what was there stays as it is."""
        if len(body) > feed.max_bytes:
            raise FeedError(f"it is larger than {feed.max_bytes >> 20} MiB")
        with self._writing() as directory:
            temporary = _written(directory, feed.file_name, body)
            try:
                contents = _opened(feed, temporary)
                if contents.entries < least_entries:
                    raise FeedError(f"it holds {contents.entries} entries only: if that is right, import it")
                made = _record(contents, sha256=hashlib.sha256(body).hexdigest(), size=len(body), origin=origin, at=at)
                made = replace(made, etag=etag, last_modified=last_modified)
                temporary.replace(directory / feed.file_name)
            finally:
                temporary.unlink(missing_ok=True)
            self._write_record(directory, feed, made)
        _kept.pop((self.directory, feed.name), None)
        return made

    def is_still_good(self, feed: AnyFeed, record: Record, *, at: datetime) -> Record:
        """Write down that its publisher has nothing newer. Raises FeedError if that cannot be written."""
        checked = replace(record, checked_at=at)
        with self._writing() as directory:
            self._write_record(directory, feed, checked)
        return checked

    # ---

    def _of(self, feed: AnyFeed) -> _Kept:
        """What this process has of a feed, as of a second ago at most."""
        key = (self.directory, feed.name)
        kept = _kept.get(key)
        if kept is None or time.monotonic() - kept.looked_at > CHECK_SECONDS:
            with _lock:  # others wait: the second one would only read the same again
                before = _kept.get(key)
                kept = _kept[key] = self._looked_at(feed, before) if before is kept or before is None else before
        return kept

    def _looked_at(self, feed: AnyFeed, before: _Kept | None) -> _Kept:
        now, path = time.monotonic(), self.path(feed)
        stamp = _stamp(path) if path is not None else None
        if path is None or stamp is None:
            return _Kept(looked_at=now, path=None)
        if before is not None and (before.path, before.stamp) == (path, stamp):
            return replace(before, looked_at=now)
        try:
            contents = _opened(feed, path)
        except FeedError as error:
            last_good = before.loaded if before is not None and before.path == path else None
            return _Kept(looked_at=now, path=path, stamp=stamp, loaded=last_good, error=str(error))
        arrived = None if path == feed.seed else datetime.fromtimestamp(stamp[1] / 1e9, UTC)
        loaded = Loaded(
            table=contents.table, entries=contents.entries, of=contents.dated or arrived, is_built_in=path == feed.seed
        )
        return _Kept(looked_at=now, path=path, stamp=stamp, loaded=loaded)

    def _stored_record(self, feed: AnyFeed) -> Record | None:
        if self.directory is None:
            return None
        try:
            said: dict[str, Any] = json.loads(_record_path(self.directory, feed).read_text(encoding="utf-8"))
            said |= {name: datetime.fromisoformat(said[name]) for name in MOMENTS if said[name]}
            return Record(**said)
        except (OSError, ValueError, TypeError, KeyError):  # not there, or not one of ours
            return None

    def _write_record(self, directory: Path, feed: AnyFeed, record: Record) -> None:
        text = json.dumps(asdict(record), indent=1, default=datetime.isoformat) + "\n"
        _written(directory, feed.file_name, text.encode()).replace(_record_path(directory, feed))

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """The directory, for one writer at a time."""
        if self.directory is None:
            raise FeedError("there is no directory for it: set INTEL_DIR or DATA_DIR")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with (self.directory / ".lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self.directory
        except OSError as error:
            raise FeedError(f"{self.directory}: {error.strerror or error}") from error


def _opened(feed: Feed[Table], path: Path) -> Contents[Table]:
    try:
        return feed.open(path)
    except OSError as error:
        raise FeedError(f"{path.name}: {error.strerror or error}") from error


def _record(contents: Contents[Any], *, sha256: str, size: int, origin: str, at: datetime | None) -> Record:
    return Record(
        sha256=sha256,
        bytes=size,
        origin=origin,
        fetched_at=at,
        checked_at=at,
        dated=contents.dated,
        entries=contents.entries,
        left_out=contents.left_out,
        first_left_out=contents.first_left_out,
    )


def _written(directory: Path, name: str, body: bytes) -> Path:
    """A new file beside the others that is on the disk when this returns."""
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # worker processes may run as another user
            file.write(body)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            Path(path).unlink()
        raise
    return Path(path)


def _record_path(directory: Path, feed: AnyFeed) -> Path:
    return directory / f"{feed.file_name}.about.json"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """None if it has just gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _digest(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    except OSError as error:
        raise FeedError(f"{path.name}: {error.strerror or error}") from error
