"""The log says it when a clock is not what it seems."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from scans.supervisor.clockwatch import ClockWatch


def said_by(caplog) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name == "scans.supervisor.clockwatch"]
    caplog.clear()
    return found


@pytest.mark.django_db
def test_a_clock_that_is_set_is_said_once_and_a_steady_one_never(caplog, monkeypatch):
    watch, true_time, true_now = ClockWatch(), time.time, timezone.now
    with caplog.at_level(logging.WARNING):
        watch.look()
        assert said_by(caplog) == []
        monkeypatch.setattr(time, "time", lambda: true_time() - 3600)
        monkeypatch.setattr(timezone, "now", lambda: true_now() - timedelta(hours=1))
        watch.look()
        assert said_by(caplog)[0] == "the clock of this machine was set 3,600 s back"
        watch.look()
        assert said_by(caplog) == []
