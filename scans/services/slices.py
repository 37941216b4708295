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
LAST_SECOND = 18  # and what is still out is interrupted now: django-q2's limit of a task is far away
RENEW_SECONDS = 3.0
LOOK_SECONDS = 1.0  # how often the stop flag is read
STALL_SECONDS = 10.0  # a pipeline that has not turned for so long gets no more lease
WORK_PROBES = 8192  # planned at once, about four seconds of work


def run_slice() -> int:
    """Scan rows until none is left or the time is up. Returns how many were finished."""
    lease = uuid4()
    tools = make_tools(stop=threading.Event())
    with heartbeats.beating(lease, WorkerHeartbeat.Kind.SLICE):
        control = _Control(lease, tools)
        control.start()
        try:
            finished = _work(lease, tools, control)
        finally:
            control.end()
    if claims.has_claimable():
        wake("scan")
    return finished


def _work(lease: UUID, tools: Tools, control: _Control) -> int:
    claimed = claims.Claims(lease)
    until = timezone.now() + timedelta(seconds=SLICE_SECONDS)
    finished = 0
    try:
        for key, result in pipeline.scan(claimed.items(until=until), tools, max_probes=WORK_PROBES):
            row = claimed.rows[key]
            if isinstance(result, Interrupted):
                hand_back(row, result, is_counted=not control.is_told_to_stop)
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
    """Renews the slice's leases while its pipeline turns, and passes the stop flag on. Has a connection of its own."""

    def __init__(self, lease: UUID, tools: Tools) -> None:
        super().__init__(name="control", daemon=True)
        self._lease = lease
        self._tools = tools
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
                if now - renewed_at >= RENEW_SECONDS and now - turned_at < STALL_SECONDS:
                    claims.renew(self._lease)
                    heartbeats.beat(self._lease)
                    renewed_at = now
        except Exception:  # the edge of the thread: without renewals the leases run out, which is what should happen
            log.exception("the control thread of a slice ended")
        finally:
            connection.close()
