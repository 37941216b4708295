"""Results of targets that were not scanned: refused by the policy, or failed, and why. They are as complete as any other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from scans.core import risk, summary
from scans.core.policy import Decision
from scans.core.types import AddressReport, IPAddress, Outcome, PortState, Probe, Report, Target


def refusal(
    target: Target,
    ports: tuple[int, ...],
    decisions: Mapping[IPAddress, Decision],
    *,
    started_at: datetime,
    pack: risk.Pack | None = None,
) -> Report:
    """The result of a target that the scope policy forbids. Nothing is sent to it; one bad address refuses a name."""
    bad = next(decision for decision in decisions.values() if not decision.allowed)
    probes = _refused_probes(ports, bad.rule)
    return failure(
        target,
        "refused_scope",
        f"Out of scope: {bad.reason} {bad.remedy}".strip(),
        started_at=started_at,
        outcome=Outcome.REFUSED,
        pack=pack,
        addresses=tuple(
            AddressReport(address=address, is_global=decision.is_global, probes=probes)
            for address, decision in decisions.items()
        ),
    )


@lru_cache(maxsize=8)
def _refused_probes(ports: tuple[int, ...], rule: str) -> tuple[Probe, ...]:
    """Shared by all targets that the same rule refuses: a thousand of them may name 65,535 ports each."""
    return tuple(Probe(port, PortState.REFUSED, rule, 0, None) for port in ports)


def failure(
    target: Target,
    error_code: str,
    error: str,
    *,
    started_at: datetime,
    outcome: Outcome = Outcome.ERROR,
    addresses: tuple[AddressReport, ...] = (),
    pack: risk.Pack | None = None,
) -> Report:
    """The result of a target that could not be scanned: unknown, never low, and why.

    By the built-in rules unless others are given; none of them fires on nothing, but the verdict names them.
    """
    return Report(
        target=target,
        outcome=outcome,
        addresses=addresses,
        verdict=risk.rate(risk.gather(()), pack),
        summary=summary.failed(target, error_code, error),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        error_code=error_code,
        error=error,
    )
