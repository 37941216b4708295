"""Workers that are stopped, and programs that are told to stop: nothing is written twice and no attempt is lost.

A worker that sleeps past its lease wakes up with reports on rows that others have finished: kill -9 cannot test that fence.
STOPS and TERMS make it a long run.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time

import pytest

from tests.chaos.figures import record
from tests.chaos.ground import silent_everywhere
from tests.chaos.kill_loop import percentile
from tests.chaos.roles import kill
from tests.stack import becomes

pytestmark = [pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]


def test_what_a_worker_writes_that_slept_past_its_lease_is_discarded(start, ledger):
    least, stops, fenced = int(os.environ.get("STOPS", 3)), 0, 0
    stack = start(PROBE_ATTEMPTS="1")
    ledger.count_from_now()
    with silent_everywhere() as dark:
        # A worker that finds out first that its rows are gone writes nothing at all; sooner or later one does not.
        while stops < least or (not fenced and stops < 5 * least):
            stack.scan(ip_addresses=[f"127.30.{stops}.0/29"], ports=[dark])
            assert becomes(ledger.holders)
            (pid, *_) = ledger.holders()
            kill(pid, number=signal.SIGSTOP)
            try:
                assert becomes(lambda pid=pid: pid not in ledger.holders())  # the others have taken its rows
            finally:
                kill(pid, number=signal.SIGCONT)
            assert becomes(ledger.is_all_done), stack.text()[-3000:]
            time.sleep(1)  # whatever the sleeper still has to say
            stops, fenced = stops + 1, len(re.findall("was no longer ours: its report is discarded", stack.text()))
    stack.stop()
    assert ledger.not_once() == []
    assert ledger.count("SELECT count(*) FROM scans_targetresult WHERE state = 'done'") == 8 * stops
    assert fenced >= max(1, stops // 4)
    record("Worker stopped past its lease", ledger.name, stops=stops, targets=8 * stops, late_writes_fenced=fenced, twice=0)


def test_a_stop_is_clean_in_time_and_costs_no_attempt(start, ledger):
    terms, seconds = int(os.environ.get("TERMS", 5)), []
    chance = random.Random(7)
    stack = start(PROBE_ATTEMPTS="5")
    ledger.count_from_now()
    with silent_everywhere() as dark:
        for n in range(terms):
            if ledger.open_targets() < 100:
                stack.scan(ip_addresses=[f"127.31.{n}.0-127.31.{n}.199"], ports=[dark])
            assert becomes(ledger.holders)
            time.sleep(chance.uniform(0, 3))
            seconds.append(stack.stop())
            assert stack.descendants() == {}
            left = ledger.rows("SELECT DISTINCT state, attempts FROM scans_targetresult WHERE state <> 'done'")
            assert set(left) <= {("pending", 0)}, stack.text()[-3000:]
            stack = start(PROBE_ATTEMPTS="5")
        assert becomes(ledger.is_all_done), stack.text()[-3000:]
    stack.stop()
    assert ledger.not_once() == []
    assert max(ledger.attempts()) == 1
    record(
        "SIGTERM under load",
        ledger.name,
        stops=terms,
        stop_p50_s=percentile(seconds, 50),
        stop_max_s=max(seconds),
        attempts_lost=0,
    )
