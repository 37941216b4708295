"""Admission: whether one more job may be taken in, asked inside the transaction that would store it.

    own caps (429)      open jobs and open targets of one user: the others must find room too
    service caps (503)  open jobs and targets in all, how long the oldest job has waited, free space on the disks

A job counts with all its targets until its end, which is what one look at the index of open jobs can say, however many
targets there are. Refusing is cheap, and reads are never refused. The local profile has one person and no own caps.

Two who submit at the same moment: SQLite's write transactions follow one another, so the count is exact. On Postgres the
submissions of one user wait for each other; those of different users may both pass the last free place of the whole service,
so it may be overrun by as many jobs as there are threads that serve requests.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q, Sum

from scans.models import OPEN_JOB_STATES, JobState, ScanJob, clock

MEGABYTE = 1_000_000
COME_BACK_SECONDS = {429: 30, 503: 60}
LOCK_SPACE = 0x5CA7  # of Postgres' advisory locks: ours


class AdmissionRefusedError(Exception):
    """The submission is right as it is, but comes at a bad time; nothing was stored."""

    def __init__(self, status: Literal[429, 503], code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_seconds = COME_BACK_SECONDS[status]


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is open right now, of one owner and in all."""

    jobs: int
    targets: int
    own_jobs: int
    own_targets: int
    late_jobs: int  # that have waited for a worker longer than is bearable
    oldest_queued_at: datetime | None


def admit(*, owner: int | None, targets: int) -> None:
    """Return if a job with so many open targets may be stored. Raises AdmissionRefusedError. Needs a transaction."""
    _refuse_full_disk()
    if targets:
        if owner is not None:
            _wait_for_turn(owner)
        load = current_load(owner)
        _refuse_overload(load, targets)
        if owner is not None and not settings.IS_LOCAL:
            _refuse_too_much_of_one(load, targets)


def current_load(owner: int | None) -> Load:
    """What is open, in one query over the index of open jobs."""
    own = Q(owner=owner) if owner is not None else Q(owner__isnull=True)
    bearable = timedelta(seconds=settings.MAX_QUEUE_AGE_SECONDS)
    found: dict[str, Any] = ScanJob.objects.filter(state__in=OPEN_JOB_STATES).aggregate(
        jobs=Count("pk"),
        targets=Sum("total_targets", default=0),
        own_jobs=Count("pk", filter=own),
        own_targets=Sum("total_targets", filter=own, default=0),
        late_jobs=Count("pk", filter=Q(state=JobState.QUEUED, created_at__lt=clock.ago(bearable))),
        oldest_queued_at=Min("created_at", filter=Q(state=JobState.QUEUED)),
    )
    return Load(**found)


def disks() -> dict[str, Path]:
    """The directories whose disks must have room, by what they hold; one if both lie on the same disk."""
    found = {"data directory": _existing(settings.DATA_DIR)}
    if connection.vendor == "sqlite" and Path(connection.settings_dict["NAME"]).is_absolute():  # not one in memory
        database = _existing(Path(connection.settings_dict["NAME"]).parent)
        if _device(database) != _device(found["data directory"]):
            found["database"] = database
    return found


def full_disks() -> list[str]:
    """What lies on a disk with too little room for more jobs: "data directory", "database". One that cannot be asked has."""
    return [name for name, place in disks().items() if _is_full(place)]


def _device(place: Path) -> int | None:
    try:
        return place.stat().st_dev
    except OSError:  # nobody is turned away for that
        return None


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < settings.MIN_FREE_DISK_MB * MEGABYTE
    except OSError:
        return False


def _refuse_full_disk() -> None:
    if full := full_disks():
        detail = f"The disk of the {' and the '.join(full)} is nearly full: no new jobs until the operator has made room."
        raise AdmissionRefusedError(503, "disk_full", detail)


def _refuse_overload(load: Load, targets: int) -> None:
    if settings.MAX_QUEUE_AGE_SECONDS and load.late_jobs and load.oldest_queued_at:
        waited = (clock.now() - load.oldest_queued_at).total_seconds()
        detail = f"The oldest job has waited {int(waited):,} s for a worker: no new jobs until the workers have caught up."
        raise AdmissionRefusedError(503, "queue_too_old", detail)
    if _is_over(load.jobs + 1, settings.MAX_OPEN_JOBS):
        have = f"{load.jobs:,} job{'s are' if load.jobs != 1 else ' is'} open"
        detail = f"{have}, as many as this service takes in: try again when some have ended."
        raise AdmissionRefusedError(503, "too_many_jobs", detail)
    if _is_over(load.targets + targets, settings.MAX_OPEN_TARGETS):
        have = f"{load.targets:,} target{'s are' if load.targets != 1 else ' is'} open"
        detail = f"{have}; with {targets:,} more there would be too many: try again later."
        raise AdmissionRefusedError(503, "too_many_targets", detail)


def _refuse_too_much_of_one(load: Load, targets: int) -> None:
    jobs, most = settings.MAX_OPEN_JOBS_PER_OWNER, settings.MAX_OPEN_TARGETS_PER_OWNER
    if _is_over(load.own_jobs + 1, jobs):
        have = f"{load.own_jobs:,} open job{'s' if load.own_jobs != 1 else ''}"
        detail = f"You have {have}; {jobs:,} is the limit: wait for one to end, or cancel one."
        raise AdmissionRefusedError(429, "too_many_own_jobs", detail)
    if _is_over(load.own_targets + targets, most):
        detail = (
            f"Your open jobs have {load.own_targets:,} targets, and this one {targets:,}; {most:,} together is the limit: "
            "wait for a job to end, cancel one, or submit fewer targets."
        )
        raise AdmissionRefusedError(429, "too_many_own_targets", detail)


def _is_over(number: int, limit: int) -> bool:
    """0 is no limit."""
    return 0 < limit < number


def _wait_for_turn(owner: int) -> None:
    """Until the end of this transaction nobody else submits for this owner. On SQLite there is one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_SPACE, owner % 2**31])


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
