"""The model's words: asked for after the verdict, in a queue of their own, so that a slow model holds up no probe."""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection

from scans.conf import scanner_options
from scans.core import wire
from scans.core.egress import Egress
from scans.core.summary import GeminiClient
from scans.core.types import Report, SummaryState
from scans.models import AiChoice, TargetResult, WorkerHeartbeat, clock
from scans.services import claims, heartbeats
from scans.services.explaining import Turn
from scans.services.results import Claimed, save_summary
from scans.services.wakeups import wake

log = logging.getLogger(__name__)

SLICE_SECONDS = 20
RENEW_SECONDS = 3.0
PATIENCE = timedelta(seconds=120)  # after this a target ends without the model's words


def awaits_model(choice: AiChoice) -> bool:
    """Whether a finished scan waits for the model: it was not declined, there is a key, and we are not offline."""
    options = scanner_options()
    return choice != AiChoice.OFF and bool(options.ai.api_key) and not options.intel.offline


def with_reason_now(report: Report, choice: AiChoice) -> Report:
    """The report of a job that asked for words that cannot be had (no key, offline): the summary says so."""
    if choice != AiChoice.ASKED:
        return report
    evidence, verdict = wire.evidence_dict(report), wire.verdict_dict(report.verdict)
    return replace(report, summary=_client().explain(evidence, verdict, report.summary))


def run_summaries() -> int:
    """Ask the model about targets that wait for its words. Returns how many were finished."""
    lease, give_up_at, finished = uuid4(), time.monotonic() + SLICE_SECONDS, 0

    def is_over() -> bool:
        return time.monotonic() >= give_up_at or heartbeats.is_stopping(os.environ.get("SCANNER_SUPERVISOR"))

    with (
        heartbeats.beating(lease, WorkerHeartbeat.Kind.SLICE),
        _renewing(lease),
        ThreadPoolExecutor(claims.SUMMARY_CALLS, thread_name_prefix="model") as threads,
    ):
        turn = Turn(lease, _client(), threads)
        while not is_over() and (rows := claims.claim_summaries(lease)):
            finished += turn.explain(rows)
    if claims.has_awaiting_summary():
        wake("ai")
    return finished


def end_late_summaries() -> int:
    """Targets whose words did not come in time end with the deterministic text and the reason."""
    late = TargetResult.objects.filter(state="scanned", scanned_at__lt=clock.now() - PATIENCE)
    ended = 0
    for row in late[:200]:
        lease = uuid4()
        mine = TargetResult.objects.filter(pk=row.pk, state="scanned")
        if not mine.update(lease=lease, lease_until=clock.now() + claims.LEASE):
            continue
        *_, summary = row.parts
        words = replace(
            wire.summary_from_dict(summary), state=SummaryState.FAILED, reason=f"no answer within {PATIENCE.seconds} s"
        )
        ended += save_summary(Claimed(pk=row.pk, job_id=row.job_id, lease=lease), words)
    return ended


def _client() -> GeminiClient:
    options = scanner_options()
    return GeminiClient(options.ai, permit=Egress(options).permit)


class _renewing(threading.Thread):  # noqa: N801 - used as a context manager
    """Renews the lease while the block runs; a model may take longer to answer than a lease lasts."""

    def __init__(self, lease: UUID) -> None:
        super().__init__(name="renew", daemon=True)
        self._lease = lease
        self._ended = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Renew until the block ends."""
        try:
            while not self._ended.wait(RENEW_SECONDS):
                claims.renew(self._lease)
                heartbeats.beat(self._lease)
        finally:
            connection.close()
