"""Submitting: everything is validated first, then the job, all its targets and a wake-up are one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from scans.conf import max_targets, scanner_options
from scans.core.pipeline import Item, refusal
from scans.core.policy import ScopePolicy
from scans.core.ports import DEFAULT_SERVICES, compact
from scans.core.targets import TargetError, fold, parse_target, read_items
from scans.core.types import Report, Target
from scans.models import AiChoice, Mode, ScanJob, TargetAddress, TargetResult, TargetState
from scans.services.problems import InvalidSubmissionError, Problem
from scans.services.results import address_rows, finish_job, report_columns
from scans.services.specs import spec_from_target
from scans.services.wakeups import wake


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedItem:
    """One target as typed, and where it stood: a JSON pointer, or a form's line."""

    pointer: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanRequest:
    """A submission whose form is right; whether its targets are, submit_scan() finds out."""

    items: tuple[SubmittedItem, ...]
    ports: tuple[int, ...] = tuple(DEFAULT_SERVICES)
    mode: Mode = Mode.STANDARD
    ai: AiChoice = AiChoice.DEFAULT
    warnings: tuple[str, ...] = ()


def submit_scan(request: ScanRequest) -> ScanJob:
    """Store a job with all its targets and wake the workers. Raises InvalidSubmissionError, and then stores nothing."""
    targets, repeats = _read_targets(request.items)
    now = timezone.now()
    refusals = _refusals(targets, request.ports, now=now)
    job = ScanJob(
        mode=request.mode,
        ai=request.ai,
        total_targets=len(targets),
        ports=compact(request.ports),
        submitted=[_without_secrets(item.text) for item in request.items],
        warnings=[*request.warnings, *_repeat_warnings(repeats)],
        created_at=now,
    )
    with transaction.atomic():
        job.save()
        _create_rows(job, targets, refusals, now=now)
        if len(refusals) == len(targets):
            finish_job(job.pk, now=now)
        else:
            wake("scan", count=min(settings.Q_WORKERS, len(targets) - len(refusals)))
    job.refresh_from_db()
    return job


def _read_targets(items: Sequence[SubmittedItem]) -> tuple[list[Target], list[Target]]:
    """The targets to scan, and the repeats that folded into them."""
    targets, rejected = read_items([item.text for item in items], limit=max_targets())
    problems = [Problem(pointer=items[r.index].pointer, code=r.code, detail=r.reason) for r in rejected]
    if not problems and not targets:
        problems = [Problem(pointer="", code="no_targets", detail="Name at least one address, range, host name or URL.")]
    if problems:
        raise InvalidSubmissionError(problems)
    return fold(targets)


def _refusals(targets: Sequence[Target], ports: tuple[int, ...], *, now: datetime) -> dict[str, Report]:
    """The literal addresses out of scope, by target key. Names are judged once they are resolved."""
    policy = ScopePolicy(scanner_options().scope)
    found = {}
    for target in targets:
        if target.address is not None and not (decision := policy.check(target.address)).allowed:
            item = Item(key=target.key, target=target, ports=ports)
            found[target.key] = refusal(item, {target.address: decision}, started_at=now)
    return found


def _create_rows(job: ScanJob, targets: Sequence[Target], refusals: Mapping[str, Report], *, now: datetime) -> None:
    rows = [_row(job, ordinal, target, refusals.get(target.key), now=now) for ordinal, target in enumerate(targets)]
    TargetResult.objects.bulk_create(rows, batch_size=500)
    refused = [
        address
        for row, target in zip(rows, targets, strict=True)
        if (report := refusals.get(target.key))
        for address in address_rows(row.pk, report)
    ]
    TargetAddress.objects.bulk_create(refused, batch_size=500)


def _row(job: ScanJob, ordinal: int, target: Target, refused: Report | None, *, now: datetime) -> TargetResult:
    row = TargetResult(
        job=job,
        ordinal=ordinal,
        key=hashlib.sha256(target.key.encode()).hexdigest(),
        spec=spec_from_target(target),
        target=target.text,
        host=target.host,
    )
    if refused:
        for name, value in report_columns(refused, now=now).items():
            setattr(row, name, value)
        row.state, row.finished_at = TargetState.REFUSED, now
    return row


def _without_secrets(text: str) -> str:
    """An item as typed, minus userinfo and secret query values. Ranges hold neither."""
    try:
        return parse_target(text).text
    except TargetError:
        return text.strip()


def _repeat_warnings(repeats: Sequence[Target]) -> list[str]:
    if not repeats:
        return []
    shown = ", ".join(target.text[:80] for target in repeats[:5])
    return [f"{len(repeats)} repeated {'target was' if len(repeats) == 1 else 'targets were'} folded: {shown}"]
