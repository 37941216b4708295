"""A slice: some seconds of work for whatever rows wait, over all jobs.

It claims as capacity frees, launches nothing new after SLICE_SECONDS, saves each report as it is ready, gives back
what a stop or the end of its time interrupts, and wakes the next slice if rows are left. A database that is away for some
seconds costs nothing: what is found is kept and saved when it is back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from functools import partial
from uuid import UUID, uuid4

from django.db import DataError, IntegrityError, connection

from scans.adapters import make_tools
from scans.conf import risk_pack, scanner_options
from scans.core import pipeline
from scans.core.pipeline import Interrupted
from scans.core.tools import Tools
from scans.core.types import Outcome, Report
from scans.core.unscanned import failure
from scans.models import AiChoice, WorkerHeartbeat, clock
from scans.services import claims, heartbeats
from scans.services.budgets import ProbeGrants
from scans.services.egress import record_told_in_vain
from scans.services.endurance import AWAY, persistently
from scans.services.results import Claimed, Finished, hand_back, save_reports
from scans.services.summaries import awaits_model, with_reason_now
from scans.services.wakeups import wake, wake_if_idle

log = logging.getLogger(__name__)

SLICE_SECONDS = 15  # nothing new is claimed after this
CHANCE_SECONDS = 10.0  # who had less before a cut is given back uncounted
LAST_SECOND = 18  # and what is still out is interrupted now: django-q2's limit of a task is far away
RENEW_SECONDS = 3.0
LOOK_SECONDS = 1.0  # how often the stop flag is read
STALL_SECONDS = 10.0  # a pipeline that has not turned for so long gets no more lease
SAVED_AT_ONCE = 64  # reports in one transaction, which is some hundredths of a second for others to wait
WORK_PROBES = 8192  # planned at once, about four seconds of work


def run_slice() -> int:
    """Scan rows until none is left or the time is up. Returns how many were finished."""
    lease = uuid4()
    budgets = scanner_options().probe
    grants = ProbeGrants(per_second=budgets.rate_per_second, network_per_second=budgets.network_per_second)
    tools, claimed = make_tools(stop=threading.Event(), pace=grants.pace), claims.Claims(lease)
    with heartbeats.beating(lease, WorkerHeartbeat.Kind.SLICE):
        control = _Control(lease, tools, claimed, grants)
        control.start()
        try:
            finished = _work(claimed, tools, control)
        finally:
            control.end()
    if claims.has_claimable():
        wake("scan")
    return finished


def _work(claimed: claims.Claims, tools: Tools, control: _Control) -> int:
    finished = 0
    try:
        items = claimed.items(seconds=SLICE_SECONDS)
        for batch in pipeline.scan_in_batches(items, tools, max_probes=WORK_PROBES, is_urgent=claimed.has_newcomers):
            finished += _settle([(claimed.held.pop(key), result) for key, result in batch], control)
    except Exception as error:
        # Whoever is under way goes on at once with the next slice, not when the lease has run out. One of them may be to
        # blame, so the attempt counts; not if the database was.
        persistently(partial(claims.release, claimed.lease, is_counted=not isinstance(error, AWAY)))
        raise
    finally:
        claimed.hand_back_unstarted()
    _note_told_in_vain(claimed, tools)
    return finished


def _note_told_in_vain(claimed: claims.Claims, tools: Tools) -> None:
    """Targets that were dropped: nothing of them is stored, but others were told about them."""
    told = []
    while not tools.told_in_vain.empty():
        key, those = tools.told_in_vain.get()
        told.append((claimed.held[key].job_id, those))
    persistently(partial(record_told_in_vain, told, at=clock.now()))


def _settle(batch: list[tuple[Claimed, Report | Interrupted]], control: _Control) -> int:
    """Save what is finished and hand back what was interrupted. Returns how many were finished."""
    finished = [_finished(row, result) for row, result in batch if isinstance(result, Report)]
    count = sum(_save(finished[at : at + SAVED_AT_ONCE]) for at in range(0, len(finished), SAVED_AT_ONCE))
    for row, result in batch:
        if isinstance(result, Interrupted):
            had_its_chance = result.probing_seconds >= CHANCE_SECONDS and not control.is_told_to_stop
            persistently(partial(hand_back, row, result, is_counted=had_its_chance))
    return count


def _finished(row: Claimed, report: Report) -> Finished:
    choice = AiChoice(row.ai)
    awaits_summary = report.outcome is Outcome.DONE and awaits_model(choice)
    if report.outcome is Outcome.DONE and not awaits_summary:
        report = with_reason_now(report, choice)
    return Finished(claimed=row, report=report, awaits_summary=awaits_summary)


def _save(finished: list[Finished]) -> int:
    """Store reports together. Returns how many were stored: those whose rows were still ours."""
    try:
        saved = persistently(partial(save_reports, finished))
    except (DataError, IntegrityError) as error:  # no later attempt could store it, and it must not cost its neighbours one
        if len(finished) > 1:
            return sum(_save([one]) for one in finished)
        (refused,) = finished
        log.error("the report on target %s was refused by the database: %s", refused.claimed.pk, error)
        text = "What was found here cannot be stored; the log has the reason."
        report = failure(refused.report.target, "not_stored", text, started_at=refused.report.started_at, pack=risk_pack())
        saved = persistently(partial(save_reports, [Finished(claimed=refused.claimed, report=report)]))
    for one in finished:
        if one.claimed.pk not in saved:
            log.info("target %s was no longer ours: its report is discarded", one.claimed.pk)
    in_vain = [(one.claimed.job_id, one.report.told) for one in finished if one.claimed.pk not in saved]
    persistently(partial(record_told_in_vain, in_vain, at=clock.now()))
    if any(one.awaits_summary for one in finished if one.claimed.pk in saved):
        wake_if_idle("ai")
    return len(saved)


class _Control(threading.Thread):
    """Renews the slice's leases while its pipeline turns, passes on what is to stop, and draws the grants that the probes
    want. Has a connection of its own."""

    def __init__(self, lease: UUID, tools: Tools, claimed: claims.Claims, grants: ProbeGrants) -> None:
        super().__init__(name="control", daemon=True)
        self._lease = lease
        self._tools = tools
        self._claimed = claimed
        self._grants = grants
        self._ended = threading.Event()
        self._started_at = time.monotonic()
        self._turns, self._turned_at, self._renewed_at = -1, self._started_at, self._started_at
        self.is_told_to_stop = False

    def end(self) -> None:
        """Stop the thread and wait for it."""
        self._ended.set()
        self._grants.wake()
        self.join()

    def run(self) -> None:
        """See the class."""
        try:
            while not self._ended.is_set():
                self._keep_time()
                try:
                    self._round()
                except AWAY as error:
                    log.warning("leases wait for the database: %s", error)
                    connection.close_if_unusable_or_obsolete()
                    self._ended.wait(LOOK_SECONDS)
            self._grants.end()  # what is left goes back
        except Exception:  # the edge of the thread: nobody else would now notice the end of the slice's time
            log.exception("the control thread of a slice ended")
            self._tools.stop.set()
        finally:
            connection.close()

    def _keep_time(self) -> None:
        """What needs no database."""
        now = time.monotonic()
        if self._tools.pulse.turns != self._turns:
            self._turns, self._turned_at = self._tools.pulse.turns, now
        if now - self._started_at >= LAST_SECOND or self.is_told_to_stop:
            self._tools.stop.set()

    def _round(self) -> None:
        """A second of grants, then a look at everything else."""
        if self._grants.serve(self._ended, LOOK_SECONDS):
            return
        self._keep_time()
        self.is_told_to_stop = self.is_told_to_stop or heartbeats.is_stopping(os.environ.get("SCANNER_SUPERVISOR"))
        if self.is_told_to_stop:
            self._tools.stop.set()
        for key in self._claimed.lost():
            self._tools.drops.put(key)
        now = time.monotonic()
        if now - self._renewed_at >= RENEW_SECONDS and now - self._turned_at < STALL_SECONDS:
            claims.renew(self._lease)
            heartbeats.beat(self._lease)
            self._renewed_at = now
