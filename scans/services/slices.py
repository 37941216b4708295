"""A slice: some seconds of work for whatever rows wait, over all jobs.

It claims as capacity frees, launches nothing new after SLICE_SECONDS, saves each report as it is ready, gives back
what a stop or the end of its time interrupts, and wakes the next slice if rows are left.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection
from django.utils import timezone

from scans.adapters import make_tools
from scans.core import pipeline
from scans.core.pipeline import Interrupted
from scans.core.tools import Tools
from scans.core.types import Outcome, Report
from scans.models import AiChoice, WorkerHeartbeat
from scans.services import claims, heartbeats
from scans.services.results import Claimed, hand_back, save_report
from scans.services.summaries import awaits_model, with_reason_now
from scans.services.wakeups import wake, wake_if_idle

log = logging.getLogger(__name__)

SLICE_SECONDS = 15  # nothing new is claimed after this
CHANCE_SECONDS = 10.0  # who had less before a cut is given back uncounted
LAST_SECOND = 18  # and what is still out is interrupted now: django-q2's limit of a task is far away
RENEW_SECONDS = 3.0
LOOK_SECONDS = 1.0  # how often the stop flag is read
STALL_SECONDS = 10.0  # a pipeline that has not turned for so long gets no more lease
WORK_PROBES = 8192  # planned at once, about four seconds of work


def run_slice() -> int:
    """Scan rows until none is left or the time is up. Returns how many were finished."""
    lease = uuid4()
    tools, claimed = make_tools(stop=threading.Event()), claims.Claims(lease)
    with heartbeats.beating(lease, WorkerHeartbeat.Kind.SLICE):
        control = _Control(lease, tools, claimed)
        control.start()
        try:
            finished = _work(claimed, tools, control)
        finally:
            control.end()
    if claims.has_claimable():
        wake("scan")
    return finished


def _work(claimed: claims.Claims, tools: Tools, control: _Control) -> int:
    until = timezone.now() + timedelta(seconds=SLICE_SECONDS)
    finished = 0
    try:
        for key, result in pipeline.scan(claimed.items(until=until), tools, max_probes=WORK_PROBES):
            row = claimed.held.pop(key)
            if isinstance(result, Interrupted):
                had_its_chance = result.probing_seconds >= CHANCE_SECONDS and not control.is_told_to_stop
                hand_back(row, result, is_counted=had_its_chance)
            else:
                finished += _save(row, result)
    finally:
        claimed.hand_back_unstarted()
    return finished


def _save(row: Claimed, report: Report) -> bool:
    choice = AiChoice(row.ai)
    awaits_summary = report.outcome is Outcome.DONE and awaits_model(choice)
    if report.outcome is Outcome.DONE and not awaits_summary:
        report = with_reason_now(report, choice)
    is_saved = save_report(row, report, awaits_summary=awaits_summary)
    if not is_saved:
        log.info("target %s was no longer ours: its report is discarded", row.pk)
    elif awaits_summary:
        wake_if_idle("ai")
    return is_saved


class _Control(threading.Thread):
    """Renews the slice's leases while its pipeline turns, and passes on what is to stop. Has a connection of its own."""

    def __init__(self, lease: UUID, tools: Tools, claimed: claims.Claims) -> None:
        super().__init__(name="control", daemon=True)
        self._lease = lease
        self._tools = tools
        self._claimed = claimed
        self._ended = threading.Event()
        self._started_at = time.monotonic()
        self.is_told_to_stop = False

    def end(self) -> None:
        """Stop the thread and wait for it."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        """See the class."""
        turns, turned_at, renewed_at = -1, time.monotonic(), time.monotonic()
        try:
            while not self._ended.wait(LOOK_SECONDS):
                now = time.monotonic()
                if self._tools.pulse.turns != turns:
                    turns, turned_at = self._tools.pulse.turns, now
                self.is_told_to_stop = self.is_told_to_stop or heartbeats.is_stopping(os.environ.get("SCANNER_SUPERVISOR"))
                if now - self._started_at >= LAST_SECOND or self.is_told_to_stop:
                    self._tools.stop.set()
                for key in self._claimed.lost():
                    self._tools.drops.put(key)
                if now - renewed_at >= RENEW_SECONDS and now - turned_at < STALL_SECONDS:
                    claims.renew(self._lease)
                    heartbeats.beat(self._lease)
                    renewed_at = now
        except Exception:  # the edge of the thread: nobody else would now notice the end of the slice's time
            log.exception("the control thread of a slice ended")
            self._tools.stop.set()
        finally:
            connection.close()
