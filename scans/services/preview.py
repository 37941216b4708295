"""The dry run: what a submission comes to and what the policy says of it. Nothing is stored, nothing is resolved.

plan_scan ─┬─► preview_scan: the document that the API answers
           └─► preview_input: the same for the form, which wants to know it line by line and while a line is still bad
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scans.conf import max_targets, scanner_options
from scans.core.policy import Decision
from scans.core.ports import compact
from scans.core.probe.patience import BACKOFF, NOBODY_HEARD_SECONDS
from scans.core.probe.politeness import network_of
from scans.core.targets import expand
from scans.core.types import Target
from scans.services.jobs import Plan, ScanRequest, SubmittedItem, plan_scan, rejected_list
from scans.services.problems import Problem

OVERHEAD_SECONDS = 1.0  # waking a worker, resolving, reading services, asking sources
JUDGED_LATER = {"allowed": None, "rule": "", "reason": "Names are judged after resolution.", "remedy": ""}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadItem:
    """One item that can be scanned: what it was read as, and the decisions against those of its addresses out of scope."""

    pointer: str
    text: str
    targets: tuple[Target, ...]
    refusals: tuple[Decision, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputPreview:
    """What of an input can be scanned comes to: what a submission that skips the rest would create."""

    targets: int  # as many as the job would have, the refused among them
    refused: int
    names: int
    folded: int
    ports: int  # asked on every target in scope; a URL's own comes on top
    probes: int
    quickest_seconds: float  # if every port answers at once
    slowest_seconds: float  # if none ever does
    items: tuple[ReadItem, ...]
    rejected: tuple[Problem, ...]

    @property
    def in_scope(self) -> int:
        """Targets that are probed; the names among them are judged once they are resolved."""
        return self.targets - self.refused

    @property
    def own_ports(self) -> int:
        """Probes of the ports that only a URL names: `in_scope` times `ports` plus these are all."""
        return self.probes - self.in_scope * self.ports


def preview_input(request: ScanRequest) -> InputPreview:
    """What a submission that leaves out the bad items comes to. Raises InvalidSubmissionError where even that would."""
    plan = plan_scan(replace(request, skip_invalid=True))
    ports = len(frozenset(request.ports))
    quickest, slowest = _seconds(plan, ports)
    return InputPreview(
        targets=len(plan.targets),
        refused=len(plan.refused),
        names=sum(target.address is None for target in plan.targets),
        folded=len(plan.repeats),
        ports=ports,
        probes=plan.probes,
        quickest_seconds=quickest,
        slowest_seconds=slowest,
        items=tuple(_read_items(request.items, plan)),
        rejected=tuple(Problem(pointer=request.items[r.index].pointer, code=r.code, detail=r.reason) for r in plan.rejected),
    )


def _read_items(items: Sequence[SubmittedItem], plan: Plan) -> list[ReadItem]:
    """The items that can be scanned, read once more: the plan no longer knows which target came from which."""
    bad = {rejected.index for rejected in plan.rejected}
    found = []
    for index, item in enumerate(items):
        if index in bad:
            continue
        targets = expand(item.text, limit=max_targets())
        decisions = (plan.decisions.get(target.key) for target in targets)
        refusals = tuple(decision for decision in decisions if decision and not decision.allowed)
        found.append(ReadItem(pointer=item.pointer, text=item.text, targets=tuple(targets), refusals=refusals))
    return found


def _seconds(plan: Plan, ports: int) -> tuple[float, float]:
    """How long the probes take on free workers, at best and at worst. Only public addresses are paced.

    At worst every probe holds its place until the last attempt is given up, and places are limited in all and per host.
    """
    if not plan.probes:
        return 0.0, 0.0
    options = scanner_options().probe
    silence = sum(NOBODY_HEARD_SECONDS * BACKOFF**attempt for attempt in range(options.attempts))
    networks = Counter(_paced_networks(plan))
    paced, together = networks.total() * ports, max(networks.values(), default=0) * ports
    pace = paced / options.rate_per_second if options.rate_per_second else 0.0
    if options.network_per_second:
        pace = max(pace, together / options.network_per_second)
    places = plan.probes * silence / options.max_inflight if options.max_inflight else 0.0
    one_host = (ports / options.per_host if options.per_host else 1.0) * silence
    return OVERHEAD_SECONDS + pace, OVERHEAD_SECONDS + max(options.attempts * pace, places, one_host, silence)


def _paced_networks(plan: Plan) -> Iterator[Hashable]:
    """The network of each public target, and for each name one of its own."""
    for target in plan.targets:
        decision = plan.decisions.get(target.key)
        if target.address is None:
            yield target.key
        elif decision is not None and decision.is_global:
            yield network_of(target.address)


def preview_scan(request: ScanRequest) -> dict[str, Any]:
    """The document of a dry run. Raises InvalidSubmissionError where the submission itself would."""
    plan = plan_scan(request)
    return {
        "dry_run": True,
        "counts": _counts(plan),
        "ports": compact(request.ports),
        "probes": plan.probes,
        "targets": [_target(target, plan.decisions.get(target.key)) for target in plan.targets],
        "rejected": rejected_list(request.items, plan.rejected),
        "warnings": list(plan.warnings),
    }


def _counts(plan: Plan) -> dict[str, int]:
    return {
        "targets": len(plan.targets),
        "allowed": sum(decision.allowed for decision in plan.decisions.values()),
        "refused": len(plan.refused),
        "judged_later": len(plan.targets) - len(plan.decisions),
        "folded": len(plan.repeats),
        "rejected": len(plan.rejected),
    }


def _target(target: Target, decision: Decision | None) -> dict[str, Any]:
    return {
        "text": target.text,
        "kind": target.kind.value,
        "host": target.host,
        "port": target.port,
        "key": target.key,
        "notes": list(target.notes),
        "policy": _policy(decision) if decision else JUDGED_LATER,
    }


def _policy(decision: Decision) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "rule": decision.rule,
        "reason": decision.reason,
        "remedy": decision.remedy,
    }
