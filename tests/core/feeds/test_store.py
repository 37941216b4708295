"""The directory of list files: the last good file stays, whatever comes; and everyone sees a new one."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scans.core.feeds import Contents, Feed, FeedError, FeedMissingError, Sieve, Store, base, json_object, numbered_lines
from scans.core.feeds import store as store_module
from scans.core.feeds.store import BUILT_IN

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
reads = []


def words(body: bytes) -> Contents[list[str]]:
    """A word a line, in lower case."""
    reads.append(body)
    sieve, found = Sieve(), []
    for number, line in numbered_lines(body):
        if line.islower():
            found.append(line)
        else:
            sieve.leave_out(f"line {number}", line, "in lower case")
    return sieve.contents(found, len(found))


FEED = Feed(name="words", title="Words", terms="none", file_name="words.txt", url="https://words.invalid/", read=words)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(store_module, "CHECK_SECONDS", -1.0)  # look each time
    reads.clear()
    return Store(str(tmp_path / "intel"))


def put(store: Store, body: bytes, **more: str):
    return store.put(FEED, body, origin="https://words.invalid/", at=NOW, **more)


def files(store: Store) -> set[str]:
    return {path.name for path in store.directory.iterdir()}


def test_what_is_put_there_is_read_and_a_record_says_where_it_is_from(store):
    record = put(store, b"one\ntwo\n", etag='"1"')
    assert store.load(FEED).table == ["one", "two"]
    assert store.load(FEED).of == datetime.fromtimestamp(store.path(FEED).stat().st_mtime_ns / 1e9, UTC)
    assert (record.entries, record.bytes, record.sha256) == (2, 8, hashlib.sha256(b"one\ntwo\n").hexdigest())
    assert store.record(FEED) == record
    assert (record.origin, record.fetched_at, record.etag) == ("https://words.invalid/", NOW, '"1"')
    assert files(store) == {"words.txt", "words.txt.about.json", ".lock"}
    assert store.path(FEED).stat().st_mode & 0o777 == 0o644


def test_without_a_file_it_says_which_command_brings_one(store):
    with pytest.raises(FeedMissingError, match=r"`manage.py feeds update` or `manage.py feeds import` brings one"):
        store.load(FEED)
    with pytest.raises(FeedMissingError, match=r"Words here: `manage.py feeds import` brings one"):
        store.load(replace(FEED, url=""))
    assert store.record(FEED) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "there are no entries in it"),
        (b"\n\n", "there are no entries in it"),
        (b"<HTML>\n<P>Sign in\n</HTML>\n", "line 1: '<HTML>' is not in lower case; 3 of 3 entries cannot be read"),
        (b"one\ntwo\nTHREE\nFOUR\n", "line 3: 'THREE' is not in lower case; 2 of 4 entries cannot be read"),
        (b"one\ntw\xffo\n", "line 2: not UTF-8 text"),
        (b"one\n" + b"a" * (25 << 20), "it is larger than 20 MiB"),
        (b"one\n\x1b[31m\xe2\x80\xaeEVIL\nX\n", "line 2: '[31m EVIL' is not in lower case; 2 of 3 entries cannot be read"),
    ],
    ids=["empty", "blank", "html", "many bad lines", "not utf-8", "25 MB", "hostile text"],
)
def test_a_bad_file_is_refused_with_its_line_and_the_last_good_one_stays(store, body, said):
    put(store, b"good\n")
    with pytest.raises(FeedError) as refused:
        put(store, body)
    assert str(refused.value) == said
    assert store.load(FEED).table == ["good"]
    assert store.record(FEED).bytes == 5
    assert files(store) == {"words.txt", "words.txt.about.json", ".lock"}


def test_one_bad_line_among_many_is_left_out_and_told(store):
    record = put(store, b"one\n" * 99 + b"TWO\n")
    assert (record.entries, record.left_out, record.first_left_out) == (99, 1, "line 100: 'TWO' is not in lower case")
    assert len(store.load(FEED).table) == 99


def test_a_reader_that_fails_in_an_unforeseen_way_is_a_bad_file(store):
    with pytest.raises(FeedError, match=r"it is not in the format of Words \(ZeroDivisionError\)"):
        store.put(replace(FEED, read=lambda body: 1 / 0), b"x", origin="x", at=NOW)


@pytest.mark.parametrize("body", [b"[1, 2]", b"<html>", b'{"a": [1, 2', b"[" * 100_000, b"null", b"\xff"])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(FeedError):
        json_object(body)


def test_a_table_is_read_once_and_again_only_when_the_file_changes(store):
    put(store, b"one\n")
    reads.clear()
    assert {tuple(store.load(FEED).table) for _ in range(100)} == {("one",)}
    assert len(reads) == 1
    put(store, b"two\n")
    reads.clear()
    assert {tuple(store.load(FEED).table) for _ in range(100)} == {("two",)}
    assert len(reads) == 1


def test_a_process_looks_at_a_file_once_in_a_while_and_at_one_that_it_put_there_at_once(store, monkeypatch):
    put(store, b"one\n")
    assert store.load(FEED).table == ["one"]
    looks = []
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "CHECK_SECONDS", 1e9)
        patched.setattr(store_module, "_stamp", looks.append)
        assert {tuple(store.load(FEED).table) for _ in range(1000)} == {("one",)}
    assert looks == []
    put(store, b"two\n")
    assert store.load(FEED).table == ["two"]


def test_many_threads_read_a_new_file_once(store):
    put(store, b"one\n")
    reads.clear()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: store.load(FEED).table == ["one"], range(64)))
    assert len(reads) == 1


def test_a_file_that_goes_bad_under_a_running_process_leaves_its_table_in_use(store):
    put(store, b"good\n")
    assert store.load(FEED).table == ["good"]
    store.path(FEED).write_bytes(b"<BAD>\n<BAD>\n")
    reads.clear()
    assert {tuple(store.load(FEED).table) for _ in range(10)} == {("good",)}
    assert len(reads) == 1  # it is not read again each time
    with pytest.raises(FeedError, match="line 1"):
        store.record(FEED)


def test_a_process_that_never_saw_a_good_file_says_what_is_wrong(store):
    store.directory.mkdir()
    (store.directory / FEED.file_name).write_bytes(b"<BAD>\n<BAD>\n")
    for _ in range(2):
        with pytest.raises(FeedError, match="line 1: '<BAD>' is not in lower case"):
            store.load(FEED)
    assert len(reads) == 1


def test_a_file_that_was_copied_there_is_used_and_the_record_of_another_is_not_believed(store):
    put(store, b"one\n", etag='"of-one"')
    store.path(FEED).write_bytes(b"copied\n")
    record = store.record(FEED)
    assert store.load(FEED).table == ["copied"]
    assert (record.origin, record.etag, record.entries) == ("words.txt, put there by hand", "", 1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 1}', '{"surprise": 1}', "null"])
def test_a_record_that_cannot_be_read_is_made_anew(store, text):
    put(store, b"one\n")
    (store.directory / "words.txt.about.json").write_text(text)
    assert store.record(FEED).entries == 1


def test_where_there_is_no_file_the_one_that_comes_with_the_program_stands_in(store, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "SEEDS", tmp_path)
    (tmp_path / "words.txt").write_bytes(b"seed\n")
    assert store.load(FEED).table == ["seed"]
    assert (store.load(FEED).is_built_in, store.load(FEED).of) == (True, None)
    record = store.record(FEED)
    assert (record.origin, record.fetched_at, record.is_overdue(FEED, now=NOW)) == (BUILT_IN, None, True)
    assert Store("").load(FEED).table == ["seed"]
    put(store, b"newer\n")
    assert store.load(FEED).table == ["newer"]
    assert not store.load(FEED).is_built_in


def test_a_file_is_overdue_when_nobody_asked_for_a_newer_one_for_long(store):
    record = put(store, b"one\n")
    assert not record.is_overdue(FEED, now=NOW + timedelta(days=3))
    assert record.is_overdue(FEED, now=NOW + timedelta(days=3, seconds=1))
    store.is_still_good(FEED, record, at=NOW + timedelta(days=3))
    assert not store.record(FEED).is_overdue(FEED, now=NOW + timedelta(days=6))
    assert store.record(FEED).fetched_at == NOW


def test_without_a_directory_nothing_can_be_put():
    with pytest.raises(FeedError, match="set INTEL_DIR or DATA_DIR"):
        put(Store(""), b"one\n")


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "intel").write_text("a file")
    with pytest.raises(FeedError, match=r"intel: File exists"):
        put(Store(str(tmp_path / "intel")), b"one\n")


def test_writers_at_once_leave_a_file_and_the_record_of_that_file(store):
    bodies = [f"{'x' * n}\n".encode() for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: put(store, body), bodies))
    stored = json.loads((store.directory / "words.txt.about.json").read_text())
    assert stored["sha256"] == hashlib.sha256(store.path(FEED).read_bytes()).hexdigest()
    assert files(store) == {"words.txt", "words.txt.about.json", ".lock"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_half_way_leaves_what_was_there(store, monkeypatch, call):
    put(store, b"good\n")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, fails)
    with pytest.raises(FeedError, match="No space left on device"):
        put(store, b"newer\n")
    monkeypatch.undo()
    assert store.load(FEED).table == ["good"]
    assert files(store) == {"words.txt", "words.txt.about.json", ".lock"}
