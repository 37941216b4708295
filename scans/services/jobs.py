"""Submitting: everything is validated first, then the job, all its targets and a wake-up are one transaction.

ScanRequest ─► plan_scan ─► Plan ─► submit_scan: rows and a wake-up
                                └─► preview_scan (preview.py): the same plan, and nothing stored
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from scans.conf import max_probes, max_targets, risk_pack, scanner_options
from scans.core.pipeline import Item
from scans.core.policy import Decision, ScopePolicy
from scans.core.ports import DEFAULT_SERVICES, compact
from scans.core.targets import Rejected, TargetError, fold, parse_target, read_items
from scans.core.types import Report, Target
from scans.core.unscanned import refusal
from scans.models import AiChoice, JobTag, Mode, ScanJob, TargetAddress, TargetResult, TargetState, clock
from scans.services import aggregates, audit
from scans.services.admission import admit
from scans.services.audit import Action
from scans.services.problems import InvalidSubmissionError, Problem
from scans.services.results import address_rows, finish_job, report_columns
from scans.services.rows import Insert
from scans.services.specs import spec_from_target
from scans.services.wakeups import wake


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmittedItem:
    """One target as typed, and where it stood: a JSON pointer, or a form's line."""

    pointer: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanRequest:
    """A submission whose form is right; whether its targets are, plan_scan() finds out."""

    items: tuple[SubmittedItem, ...]
    ports: tuple[int, ...] = tuple(DEFAULT_SERVICES)
    mode: Mode = Mode.STANDARD
    ai: AiChoice = AiChoice.DEFAULT
    owner: int | None = None  # a user's id
    via: str = ""  # how it was asked for and from where, for the audit trail
    address: str | None = None
    label: str = ""
    tags: tuple[str, ...] = ()
    skip_invalid: bool = False  # scan what can be read, and list the rest as rejected
    warnings: tuple[str, ...] = ()
    rerun_of: str = ""  # token of the job whose targets these are


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a submission comes to. The names' addresses are judged later, when they are known."""

    targets: tuple[Target, ...]
    repeats: tuple[Target, ...]
    rejected: tuple[Rejected, ...]
    decisions: Mapping[str, Decision]  # by target key, for the literal addresses
    probes: int  # of the targets in scope; a name counts as one address
    warnings: tuple[str, ...]

    @property
    def refused(self) -> tuple[Target, ...]:
        """The literal addresses out of scope."""
        refused = _refused_keys(self.decisions)
        return tuple(target for target in self.targets if target.key in refused) if refused else ()


def plan_scan(request: ScanRequest) -> Plan:
    """Read, fold and judge the targets; nothing is stored and nothing is resolved. Raises InvalidSubmissionError."""
    read, rejected = _read_targets(request)
    targets, repeats = fold(read)
    policy = ScopePolicy(scanner_options().scope)
    decisions = {target.key: policy.check(target.address) for target in targets if target.address is not None}
    refused = _refused_keys(decisions)
    in_scope = [target for target in targets if target.key not in refused] if refused else targets
    return Plan(
        targets=tuple(targets),
        repeats=tuple(repeats),
        rejected=tuple(rejected),
        decisions=decisions,
        probes=_checked_probes(in_scope, request.ports),
        warnings=(*request.warnings, *_repeat_warnings(repeats), *_rejected_warnings(rejected)),
    )


def submit_scan(request: ScanRequest) -> ScanJob:
    """Store a job with all its targets and wake the workers. What can be prepared is, before the transaction: on SQLite all
    other writers wait for its end.

    Raises InvalidSubmissionError or AdmissionRefusedError, and then stores nothing.
    """
    plan = plan_scan(request)
    now = clock.now()
    refusals = _refusals(plan, request.ports, now=now)
    rows = [(key := target.key, _columns(ordinal, key, target)) for ordinal, target in enumerate(plan.targets)]
    waiting = Insert(TargetResult, [columns for key, columns in rows if key not in refusals])
    refused = [(columns, refusals[key]) for key, columns in rows if key in refusals]
    job = ScanJob(
        owner_id=request.owner,
        label=request.label,
        mode=request.mode,
        ai=request.ai,
        total_targets=len(plan.targets),
        ports=compact(request.ports),
        submitted=_submitted(request.items, plan.rejected),
        rejected=rejected_list(request.items, plan.rejected),
        warnings=list(plan.warnings),
        rerun_of=request.rerun_of,
        created_at=now,
    )
    with transaction.atomic():
        admit(owner=request.owner, targets=len(plan.targets) - len(refusals))
        job.save()
        JobTag.objects.bulk_create(JobTag(job=job, name=name) for name in request.tags)
        waiting.write(job_id=job.pk)
        _create_refused(job, refused, now=now)
        aggregates.count_unscanned(job, TargetState.REFUSED, len(refusals), at=now)
        if len(refusals) == len(plan.targets):
            finish_job(job.pk, now=now)
            job.refresh_from_db()
        else:
            wake("scan", count=min(settings.Q_WORKERS, len(plan.targets) - len(refusals)))
        audit.record(
            Action.SUBMIT,
            actor=job.owner,
            via=request.via,
            address=request.address,
            job_token=job.token,
            targets=job.total_targets,
        )
    return job


def rejected_list(items: Sequence[SubmittedItem], rejected: Sequence[Rejected]) -> list[dict[str, str | int]]:
    """The items left out as a client sees them: where each stood, what can be shown of it, and why."""
    return [
        {"index": r.index, "pointer": items[r.index].pointer, "text": r.text, "code": r.code, "reason": r.reason}
        for r in rejected
    ]


def _read_targets(request: ScanRequest) -> tuple[list[Target], list[Rejected]]:
    """The targets before folding, and the items that skip_invalid leaves out."""
    items = request.items
    targets, rejected = read_items([item.text for item in items], limit=max_targets())
    is_read_to_the_end = all(r.code != "not_read" for r in rejected)  # what nobody has read is not skipped silently
    if rejected and not (request.skip_invalid and targets and is_read_to_the_end):
        raise InvalidSubmissionError(
            [Problem(pointer=items[r.index].pointer, code=r.code, detail=r.reason) for r in rejected]
        )
    if not targets:
        detail = "Name at least one address, range, host name or URL."
        raise InvalidSubmissionError([Problem(pointer="", code="no_targets", detail=detail)])
    return targets, rejected


def _refused_keys(decisions: Mapping[str, Decision]) -> set[str]:
    return {key for key, decision in decisions.items() if not decision.allowed}


def _checked_probes(targets: Sequence[Target], ports: Sequence[int]) -> int:
    """How many ports are asked in all. Raises InvalidSubmissionError if one job may not ask so many."""
    listed = frozenset(ports)
    probes = sum(len(listed) + (target.port is not None and target.port not in listed) for target in targets)
    if probes > max_probes():
        detail = (
            f"{len(targets):,} targets need {probes:,} probes; the limit is {max_probes():,}: name fewer ports or targets."
        )
        raise InvalidSubmissionError([Problem(pointer="/ports", code="too_many_probes", detail=detail)])
    return probes


def _refusals(plan: Plan, ports: tuple[int, ...], *, now: datetime) -> dict[str, Report]:
    """The results of the literal addresses out of scope, by target key. Names are judged once they are resolved."""
    found = {}
    for target in plan.refused:
        if target.address is not None:
            all_ports = Item(key=target.key, target=target, ports=ports).all_ports
            decisions = {target.address: plan.decisions[target.key]}
            found[target.key] = refusal(target, all_ports, decisions, started_at=now, pack=risk_pack())
    return found


def _columns(ordinal: int, key: str, target: Target) -> dict[str, Any]:
    return {
        "ordinal": ordinal,
        "key": hashlib.sha256(key.encode()).hexdigest(),
        "spec": spec_from_target(target),
        "target": target.text,
        "host": target.host,
    }


def _create_refused(job: ScanJob, rows: Sequence[tuple[Mapping[str, Any], Report]], *, now: datetime) -> None:
    made = [_refused_row(job, columns, report, now=now) for columns, report in rows]
    TargetResult.objects.bulk_create(made, batch_size=500)
    addresses = [address for row, (_, report) in zip(made, rows, strict=True) for address in address_rows(row.pk, report)]
    TargetAddress.objects.bulk_create(addresses, 500)


def _refused_row(job: ScanJob, columns: Mapping[str, Any], report: Report, *, now: datetime) -> TargetResult:
    row = TargetResult(job=job, **columns, state=TargetState.REFUSED, finished_at=now)
    for name, value in report_columns(report, now=now).items():
        setattr(row, name, value)
    return row


def _submitted(items: Sequence[SubmittedItem], rejected: Sequence[Rejected]) -> list[str]:
    """The input as typed; of what could not be read only what can be shown, since it may hold anything."""
    unread = {r.index: r.text for r in rejected}
    return [unread[index] if index in unread else _without_secrets(item.text) for index, item in enumerate(items)]


def _without_secrets(text: str) -> str:
    """An item as typed, minus userinfo and secret query values, which only a URL holds."""
    if "://" not in text:
        return text.strip()
    try:
        return parse_target(text).text
    except TargetError:
        return text.strip()


def _repeat_warnings(repeats: Sequence[Target]) -> list[str]:
    if not repeats:
        return []
    shown = ", ".join(target.text[:80] for target in repeats[:5])
    return [f"{len(repeats)} repeated {'target was' if len(repeats) == 1 else 'targets were'} folded: {shown}"]


def _rejected_warnings(rejected: Sequence[Rejected]) -> list[str]:
    if not rejected:
        return []
    what, they = ("item was", "it") if len(rejected) == 1 else ("items were", "they")
    return [f"{len(rejected)} {what} left out because {they} cannot be scanned"]
