"""The watchdog: work waits, and a cluster that looks healthy does none of it.

django-q2 can stall for ever: a worker killed while it waits for a task takes the lock of the shared queue with it, its
successors wait for that lock, and the guard of the cluster sees nothing amiss (measured: 8 of 8 with one worker). Only
the rows tell. In the same way a killed monitor leaves one that reads no results: the work goes on, but no message is ever
acknowledged, each comes again and again, and they pile up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from django_q.models import OrmQ

from scans.models import TargetResult, WorkerHeartbeat, clock
from scans.services import claims, heartbeats

STALL_LOOKS = 5  # ten seconds: a slice beats every three
DEATH_LOOKS = 3  # six, if one of its processes has died since it last did anything
MOST_UNACKNOWLEDGED = 50  # messages; as many as there are workers and places in the queue are usual
START_LOOKS = 15  # a cluster that was never seen at work may be starting still: on a busy machine that takes long

_WAITING = {"scan": claims.claimable, "ai": claims.awaiting_summary}
Waiting = tuple[int, int, UUID | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What there is to see of one cluster. Two equal sights: nothing has moved between them."""

    waiting: Waiting | None  # one row that no worker holds: its key, attempts and last lease
    beats: frozenset[tuple[UUID, datetime]]  # the living slices of the cluster and when they beat last
    family: frozenset[int] = field(default=frozenset(), compare=False)  # what its guard has started: workers and the like
    unacknowledged: int = field(default=0, compare=False)  # messages that were taken and are not done with


def look(pids: Mapping[str, int | None]) -> dict[str, Sight]:
    """What there is to see of each cluster, by queue; `pids` are their process groups."""
    slices = WorkerHeartbeat.objects.filter(kind=WorkerHeartbeat.Kind.SLICE, host=heartbeats.this_host())
    grouped = [(_group(row.pid), (row.pk, row.seen_at)) for row in slices]
    return {
        queue: Sight(
            waiting=_first(_WAITING[queue](clock.now())),
            beats=frozenset(beat for group, beat in grouped if group is not None and group == pid),
            family=_family(pid),
            unacknowledged=OrmQ.objects.filter(key=queue, lock__gt=timezone.now()).count(),  # django-q2's own clock
        )
        for queue, pid in pids.items()
    }


class Watchdog:
    """Watches one cluster. It counts looks and not seconds: a machine that slept has not stalled."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._last: Sight | None = None
        self._is_started = False
        self._has_lost = False  # a process, since it last did anything
        self._left_behind = 0  # messages that the process before this one never acknowledged
        self._looks = 0  # at this process
        self._still = 0  # of these, the last ones in which work waited and nothing moved

    def is_stalled(self, pid: int | None, sight: Sight) -> bool:
        """Take one more look. True if work has waited for so many of them in which nothing moved, or messages pile up."""
        if pid != self._pid:
            self._pid, self._last, self._looks = pid, None, 0
            self._is_started = self._has_lost = False
            self._left_behind = sight.unacknowledged
        self._looks += 1
        self._is_started = self._is_started or bool(sight.beats or sight.family) or self._looks > START_LOOKS
        if self._last is not None:
            if sight.beats - self._last.beats:
                self._has_lost = False
            self._has_lost = self._has_lost or bool(self._last.family - sight.family)
        is_still = pid is not None and sight.waiting is not None and sight == self._last
        self._still = self._still + 1 if is_still else 0
        self._last = sight
        is_piling_up = sight.unacknowledged - self._left_behind > MOST_UNACKNOWLEDGED
        return is_piling_up or (self._is_started and self._still >= (DEATH_LOOKS if self._has_lost else STALL_LOOKS))


def _first(condition: Q) -> Waiting | None:
    """Any one row; unordered, since to sort a million finished rows every two seconds would be too dear."""
    rows = TargetResult.objects.filter(condition).order_by().values_list("pk", "attempts", "lease")
    return next(iter(rows[:1]), None)


def _family(pid: int | None) -> frozenset[int]:
    """The grandchildren of a cluster's main process: its child is the guard, which starts all others."""
    guards = _children(pid) if pid is not None else frozenset()
    return frozenset().union(*map(_children, guards))


def _children(pid: int) -> frozenset[int]:
    with suppress(OSError):
        return frozenset(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return frozenset()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
