"""A directory with the sample lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from scans.core.feeds import Store, store
from scans.core.vulnerabilities import ENDOFLIFE, EPSS, KEV, Library
from tests.core.vulnerabilities.test_product_lists import BODIES, NOW


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the list files lie, each looked at whenever it is needed."""
    monkeypatch.setattr(store, "CHECK_SECONDS", -1.0)
    for feed in (KEV, EPSS, ENDOFLIFE):
        Store(str(tmp_path)).put(feed, BODIES[feed.name], origin="a test", at=NOW)
    return tmp_path


@pytest.fixture
def library(lists: Path) -> Library:
    """The lists of that directory."""
    return Library(Store(str(lists)))
