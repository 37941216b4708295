"""The dry run: what a submission comes to and what the policy says of it. Nothing is stored, nothing is resolved."""

from __future__ import annotations

from typing import Any

from scans.core.policy import Decision
from scans.core.ports import compact
from scans.core.types import Target
from scans.services.jobs import Plan, ScanRequest, plan_scan, rejected_list

JUDGED_LATER = {"allowed": None, "rule": "", "reason": "Names are judged after resolution.", "remedy": ""}


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
