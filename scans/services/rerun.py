"""Scanning a finished job's targets once more, as a job of its own."""

from __future__ import annotations

from django.db import transaction

from scans.core.ports import expand
from scans.models import AiChoice, Mode, ScanJob, TargetState
from scans.services import audit
from scans.services.audit import Action, Origin
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan

WITHOUT_RESULT = (TargetState.ERROR, TargetState.REFUSED, TargetState.CANCELLED)


class NothingToRerunError(Exception):
    """No target of the job is without a full result."""


def rerun_job(job: ScanJob, *, only_failed: bool, owner: int | None, by: Origin) -> ScanJob:
    """Submit the targets again, or only those without a full result. Raises NothingToRerunError.

    Secrets of submitted URLs were never stored, so a redacted URL is scanned as redacted.
    """
    targets = job.targets.order_by("ordinal")
    if only_failed:
        targets = targets.filter(state__in=WITHOUT_RESULT)
    items = tuple(
        SubmittedItem(pointer=f"/{n}", text=text) for n, text in enumerate(targets.values_list("target", flat=True))
    )
    if not items:
        raise NothingToRerunError
    request = ScanRequest(
        items=items,
        ports=expand(job.ports),
        mode=Mode(job.mode),
        ai=AiChoice(job.ai),
        owner=owner,
        via=by["via"],
        address=by["address"],
        label=job.label,
        tags=tuple(job.tags.values_list("name", flat=True)),
        rerun_of=job.token,
    )
    with transaction.atomic():
        again = submit_scan(request)
        audit.record(Action.RERUN, **by, job_token=job.token, new_token=again.token, targets=again.total_targets)
    return again
