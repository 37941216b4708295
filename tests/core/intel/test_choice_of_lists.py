"""Which sources are on: those on by default only where there is something to answer from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from scans.core.feeds import Store
from scans.core.feeds import base as feeds_base
from scans.core.intel import FEEDS, SOURCES, LocalSource, check_choice, switched_on
from scans.core.options import IntelOptions, OptionError

SAMPLES = Path(__file__).parent / "samples"
LOCAL = {kind.name for kind in SOURCES if issubclass(kind, LocalSource)}


def on(tmp_path, *names: str) -> set[str]:
    options = IntelOptions(sources=names or ("default",), directory=str(tmp_path / "intel"))
    return {source.name for source in switched_on(options, SOURCES)} & LOCAL


def put(tmp_path, name: str, file: str) -> None:
    (feed,) = [feed for feed in FEEDS if feed.name == name]
    body = (SAMPLES / file).read_bytes()
    Store(str(tmp_path / "intel")).put(feed, body, origin="a test", at=datetime.now(UTC))


def test_a_source_without_its_files_is_not_on_unless_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_base, "SEEDS", tmp_path / "none")
    assert on(tmp_path) == set()
    assert on(tmp_path, "default", "tor-exits") == {"tor-exits"}


def test_it_is_on_as_soon_as_its_file_is_there_and_can_be_taken_out(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_base, "SEEDS", tmp_path / "none")
    put(tmp_path, "tor-exits", "tor/torbulkexitlist.txt")
    put(tmp_path, "drop-v6", "spamhaus/drop_v6.json")
    assert on(tmp_path) == {"tor-exits", "spamhaus-drop"}
    assert on(tmp_path, "default", "-tor-exits") == {"spamhaus-drop"}


def test_one_whose_terms_must_be_read_first_is_on_only_if_it_is_named(tmp_path):
    put(tmp_path, "firehol-level1", "firehol/firehol_level1.netset")
    assert "firehol" not in on(tmp_path)
    assert "firehol" in on(tmp_path, "default", "firehol")


def test_the_ranges_that_come_with_the_program_are_enough(tmp_path):
    assert on(tmp_path) == {"cloud"}


def test_the_address_of_a_feed_may_be_set_by_its_name_and_a_wrong_name_is_told(tmp_path):
    check_choice(IntelOptions(urls={"aws": "http://127.0.0.1:9/"}), SOURCES)
    with pytest.raises(OptionError, match="INTEL_AWZ_URL: 'awz' is no source"):
        check_choice(IntelOptions(urls={"awz": "http://127.0.0.1:9/"}), SOURCES)
    with pytest.raises(OptionError, match="INTEL_AWS_KEY: 'aws' is no source"):
        check_choice(IntelOptions(keys={"aws": "secret"}), SOURCES)
