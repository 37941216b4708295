"""Heartbeats: who is alive, and whose leases may be taken away at once."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

from django.db.models import Q

from scans.models import TargetResult, WorkerHeartbeat, clock

FORGET_AFTER = timedelta(minutes=10)


@cache
def this_host() -> str:
    """Host name and PID namespace: two containers may share a name, and a pid means nothing outside its namespace."""
    return f"{platform.node()} {Path('/proc/self/ns/pid').stat().st_ino} {_boot_id()[:8]}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@contextmanager
def beating(pk: UUID, kind: WorkerHeartbeat.Kind) -> Iterator[None]:
    """A heartbeat row for the length of the block; the block beats it."""
    begin(pk, kind)
    try:
        yield
    finally:
        end(pk)


def begin(pk: UUID, kind: WorkerHeartbeat.Kind) -> None:
    """The first beat of this process."""
    now = clock.now()
    host = this_host()
    WorkerHeartbeat.objects.create(pk=pk, kind=kind, host=host, pid=os.getpid(), started_at=now, seen_at=now)


def beat(pk: UUID) -> bool:
    """Say that we are alive. False if the row is gone: others forget who was silent for long, such as a sleeping laptop."""
    return bool(WorkerHeartbeat.objects.filter(pk=pk).update(seen_at=clock.now()))


def end(pk: UUID) -> None:
    """Say good-bye."""
    WorkerHeartbeat.objects.filter(pk=pk).delete()


def ask_to_stop(pk: UUID) -> None:
    """Tell the slices of a supervisor to hand back their rows; they look every second."""
    WorkerHeartbeat.objects.filter(pk=pk).update(is_stopping=True, seen_at=clock.now())


def is_stopping(supervisor: str | None) -> bool:
    """Whether the supervisor with this id wants its slices to end; false for a worker that has none."""
    return supervisor is not None and WorkerHeartbeat.objects.filter(pk=supervisor, is_stopping=True).exists()


def expire_dead() -> int:
    """End the leases of this host's slices whose process is gone, and forget old heartbeats. Returns how many were dead."""
    now = clock.now()
    here = WorkerHeartbeat.objects.filter(kind=WorkerHeartbeat.Kind.SLICE, host=this_host())
    dead = [row.pk for row in here if not _is_alive(row.pid)]
    TargetResult.objects.filter(lease__in=dead).update(lease_until=now - timedelta(seconds=1))
    WorkerHeartbeat.objects.filter(Q(pk__in=dead) | Q(seen_at__lt=now - FORGET_AFTER)).delete()
    return len(dead)


def _is_alive(pid: int) -> bool:
    """A zombie is not: in a container whose first process collects no orphans it stays for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # the name in parentheses may hold anything
