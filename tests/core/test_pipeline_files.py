"""Scans whose sources read files on this machine: offline, with newer files between scans, and with a bad one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scans.core.feeds import Store
from scans.core.feeds import store as store_module
from scans.core.intel import FEEDS
from scans.core.types import SourceResult, SourceState
from tests.core.test_pipeline import scan, tools
from tests.servers import refusing

FEED = {feed.name: feed for feed in FEEDS}


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(store_module, "CHECK_SECONDS", -1.0)
    return Store(str(tmp_path / "intel"))


def put(store: Store, name: str, text: str) -> None:
    store.put(FEED[name], text.encode(), origin="a test", at=datetime.now(UTC))


def said(store: Store, *names: str) -> dict[str, SourceResult]:
    """What each source says of one public address."""
    kit = tools(sources=names or ("default",), directory=str(store.directory), offline=True)
    with refusing("127.66.0.5") as port:
        report = scan(["127.66.0.5"], [port], kit)[0]
    return {result.source: result for result in report.addresses[0].sources}


def test_offline_a_scan_is_answered_from_files_and_nothing_is_sent(store):
    put(store, "aws", "127.66.0.0/16 EC2 loop-1\n")
    put(store, "tor-exits", "127.66.0.5\n")
    answers = said(store)
    assert answers["ip-api"].state is SourceState.SKIPPED
    assert (answers["cloud"].facts.cloud_service, answers["cloud"].facts.cloud_region) == ("EC2", "loop-1")
    assert answers["tor-exits"].facts.is_tor_exit
    assert {source for source, answer in answers.items() if answer.contacted} == set()
    assert not {"spamhaus-drop", "firehol", "ipsum", "geo"} & set(answers)  # without a file they are not on, and say nothing


def test_the_next_scan_of_a_process_uses_the_file_that_came_meanwhile(store):
    put(store, "ipsum", "127.66.0.5\t3\n")
    assert said(store)["ipsum"].facts.vendor_flags == 3
    put(store, "ipsum", "127.66.0.5\t7\n")
    assert said(store)["ipsum"].facts.vendor_flags == 7
    put(store, "tor-exits", "127.66.0.5\n")
    assert said(store)["tor-exits"].facts.is_tor_exit  # it was not even on before


def test_a_bad_file_costs_its_own_source_only(store):
    put(store, "tor-exits", "127.66.0.5\n")
    (store.directory / FEED["ipsum"].file_name).write_bytes(b"<html>\n")
    answers = said(store, "tor-exits", "ipsum")
    assert answers["tor-exits"].state is SourceState.OK
    assert answers["ipsum"].state is SourceState.FAILED
