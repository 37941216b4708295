"""A call ends on time, and its result or error arrives."""

from __future__ import annotations

import threading
import time

import pytest

from scans.core.deadline import within
from tests.patience import AGES, AT_ONCE, PATIENCE


def test_the_result_arrives():
    assert within(PATIENCE, lambda: "done") == "done"


def test_a_result_of_none_is_a_result():
    assert within(PATIENCE, lambda: None) is None


def test_the_error_arrives():
    with pytest.raises(ZeroDivisionError):
        within(PATIENCE, lambda: 1 // 0)


def test_a_call_that_takes_too_long_is_left_behind():
    release = threading.Event()
    started_at = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: release.wait(AGES))
    assert time.monotonic() - started_at < AT_ONCE
    release.set()
