"""Restarts as daily counts: they outlive the supervisor that had to do it, and add up over all hosts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from scans.models import NOBODY, CountKind, DailyCount, RestartReason, clock
from scans.services.aggregates import Tally


def count_restarts(restarts: Mapping[tuple[str, RestartReason], int]) -> None:
    """So often each program was started again for this reason."""
    if not restarts:
        return
    tally = Tally()
    for (program, reason), n in restarts.items():
        tally.add(CountKind.RESTART, f"{program}:{reason.value}", n)
    DailyCount.objects.bulk_create(tally.rows(day=clock.now().astimezone(UTC).date(), owner=NOBODY, is_folded=False))
