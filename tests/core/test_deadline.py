"""A call ends on time, and its result or error arrives."""

from __future__ import annotations

import threading
import time

import pytest

from scans.core.deadline import within


def test_the_result_arrives():
    assert within(5, lambda: "done") == "done"


def test_a_result_of_none_is_a_result():
    assert within(5, lambda: None) is None


def test_the_error_arrives():
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_call_that_takes_too_long_is_left_behind():
    release = threading.Event()
    started_at = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: release.wait(5))
    assert time.monotonic() - started_at < 1
    release.set()
