"""The watchdog: work waits, and a cluster that looks healthy does none of it.

django-q2 can stall for ever: a worker killed while it waits for a task takes the lock of the shared queue with it, its
successors wait for that lock, and the guard of the cluster sees nothing amiss (measured: 8 of 8 with one worker). Only
the rows tell.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from scans.models import TargetResult, WorkerHeartbeat
from scans.services import claims, heartbeats

STALL_LOOKS = 5  # ten seconds: a slice beats every three
START_LOOKS = 15  # a cluster that was never seen at work may be starting still: on a busy machine that takes long

_WAITING = {"scan": claims.claimable, "ai": claims.awaiting_summary}
Waiting = tuple[int, int, UUID | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What there is to see of one cluster. Two equal sights: nothing has moved between them."""

    waiting: Waiting | None  # one row that no worker holds: its key, attempts and last lease
    beats: frozenset[tuple[UUID, datetime]]  # the living slices of the cluster and when they beat last


def look(pids: Mapping[str, int | None]) -> dict[str, Sight]:
    """What there is to see of each cluster, by queue; `pids` are their process groups."""
    slices = WorkerHeartbeat.objects.filter(kind=WorkerHeartbeat.Kind.SLICE, host=heartbeats.this_host())
    grouped = [(_group(row.pid), (row.pk, row.seen_at)) for row in slices]
    return {
        queue: Sight(
            waiting=_first(_WAITING[queue](timezone.now())),
            beats=frozenset(beat for group, beat in grouped if group is not None and group == pid),
        )
        for queue, pid in pids.items()
    }


class Watchdog:
    """Watches one cluster. It counts looks and not seconds: a machine that slept has not stalled."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._last: Sight | None = None
        self._is_started = False
        self._looks = 0  # at this process
        self._still = 0  # of these, the last ones in which work waited and nothing moved

    def is_stalled(self, pid: int | None, sight: Sight) -> bool:
        """Take one more look. True if work has waited for so many of them in which nothing moved."""
        if pid != self._pid:
            self._pid, self._last, self._is_started, self._looks = pid, None, False, 0
        self._looks += 1
        self._is_started = self._is_started or bool(sight.beats) or self._looks > START_LOOKS
        is_still = pid is not None and sight.waiting is not None and sight == self._last
        self._still = self._still + 1 if is_still else 0
        self._last = sight
        return self._is_started and self._still >= STALL_LOOKS


def _first(condition: Q) -> Waiting | None:
    """Any one row; unordered, since to sort a million finished rows every two seconds would be too dear."""
    rows = TargetResult.objects.filter(condition).order_by().values_list("pk", "attempts", "lease")
    return next(iter(rows[:1]), None)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
