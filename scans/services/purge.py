"""Purging: old jobs with all that belongs to them, and what has expired. In chunks, so that nobody waits long.

A chunk is one transaction of whole jobs, about CHUNK_ROWS targets; only a job with more targets than that is taken down
in several. Each chunk leaves the database right, so a purge that was interrupted is simply run again.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Model, Q, QuerySet, Sum
from django.utils import timezone

from scans.core.tools import STALE_SECONDS
from scans.models import FINISHED_JOB_STATES, DeletedJob, IdempotencyKey, ModelAnswer, ScanJob, SourceReply, TargetResult
from scans.services import model_answers
from scans.services.audit import Action, Origin, record

CHUNK_ROWS = 1024  # measured with 4 kB rows: it locks SQLite for 50 ms, at worst 0.15 s
CHUNK_JOBS = 200
PAUSE_SECONDS = 0.02  # between chunks: SQLite's busy handler is unfair, and other writers would hardly get a turn
VACUUM_PAGES = 2000  # 8 MB
CHECKPOINT_PATIENCE_MS = 200  # while it waits for readers, nobody can write
IDEMPOTENCY_LIFETIME = timedelta(days=1)
TOMBSTONE_LIFETIME = timedelta(days=90)  # after this a deleted job is answered like one that never was


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which finished jobs may go: those that ended before a moment, of one owner or all, but never the newest few."""

    before: datetime
    keep_last: int = 0
    owner_id: int | None = None  # None: everybody's


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """How much there is to purge, or was purged."""

    jobs: int = 0
    targets: int = 0
    replies: int = 0  # of sources
    answers: int = 0  # of the model
    keys: int = 0  # of submissions
    tombstones: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


def purgeable(selection: Selection, *, all_replies: bool = False) -> Amounts:
    """What a purge would take, counted now. Changes nothing."""
    jobs = _jobs(selection).aggregate(n=Count("pk"), targets=Sum("total_targets"))
    counts = {name: rows.count() for name, rows in _expired(all_replies=all_replies).items()}
    return Amounts(jobs=jobs["n"], targets=jobs["targets"] or 0, **counts)


def purge(selection: Selection, *, origin: Origin, all_replies: bool = False) -> Generator[Amounts, None, None]:
    """Purge; yields what each chunk took, after its commit. Closed early it stops; the audit trail has what was taken."""
    total = Amounts()
    try:
        for taken in _chunks(selection, all_replies=all_replies):
            total += taken
            yield taken
            time.sleep(PAUSE_SECONDS)
    finally:
        if total != Amounts():
            record(
                Action.PURGE,
                **origin,
                before=selection.before.isoformat(timespec="seconds"),
                keep_last=selection.keep_last,
                owner_id=selection.owner_id,
                **asdict(total),
            )


def _chunks(selection: Selection, *, all_replies: bool) -> Iterator[Amounts]:
    for name, rows in _expired(all_replies=all_replies).items():
        while taken := _delete_some(rows):
            yield Amounts(**{name: taken})
    jobs, last = _jobs(selection).order_by("pk"), 0
    while chunk := _next_jobs(jobs.filter(pk__gt=last)):
        for job in chunk:
            while job.total_targets > CHUNK_ROWS and (taken := _delete_some(TargetResult.objects.filter(job=job))):
                yield Amounts(targets=taken)
        yield _delete_jobs(chunk)
        last = chunk[-1].pk


def give_back_space() -> bool:
    """Shrink SQLite's file by what was purged, in short steps; Postgres does that by itself. Not inside a transaction.

    False if other connections were reading just then: the log beside the file keeps its length until the next time.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:  # executescript() would commit that block
        return True
    with connection.cursor() as cursor:
        for _ in range(_pragma(cursor, "freelist_count") // VACUUM_PAGES + 1):
            # It frees a page a step. execute() takes one step only, since there are no columns to fetch the others by.
            cursor.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            time.sleep(PAUSE_SECONDS)
        patience = _pragma(cursor, "busy_timeout")
        _pragma(cursor, f"busy_timeout={CHECKPOINT_PATIENCE_MS}")
        try:
            is_busy = _pragma(cursor, "wal_checkpoint(TRUNCATE)")
        finally:
            _pragma(cursor, f"busy_timeout={patience}")
    return not is_busy


def _jobs(selection: Selection) -> QuerySet[ScanJob]:
    """Finished jobs that the selection gives away."""
    jobs = ScanJob.objects.filter(state__in=FINISHED_JOB_STATES)
    if selection.owner_id is not None:
        jobs = jobs.filter(owner_id=selection.owner_id)
    if selection.keep_last:
        newest_first = jobs.order_by("-finished_at", "-pk").values_list("finished_at", "pk")
        oldest_kept = newest_first[selection.keep_last - 1 : selection.keep_last].first()
        if oldest_kept is None:
            return jobs.none()
        at, pk = oldest_kept
        jobs = jobs.filter(Q(finished_at__lt=at) | Q(finished_at=at, pk__lt=pk))
    return jobs.filter(finished_at__lt=selection.before)


def _expired(*, all_replies: bool) -> dict[str, QuerySet[Any]]:
    """Rows whose time is over, by the name of their amount."""
    now = timezone.now()
    replies = SourceReply.objects.all()
    return {
        "replies": replies if all_replies else replies.filter(expires_at__lt=now - timedelta(seconds=STALE_SECONDS)),
        "answers": ModelAnswer.objects.filter(created_at__lt=now - model_answers.LIFETIME),
        "keys": IdempotencyKey.objects.filter(created_at__lt=now - IDEMPOTENCY_LIFETIME),
        "tombstones": DeletedJob.objects.filter(deleted_at__lt=now - TOMBSTONE_LIFETIME),
    }


def _next_jobs(jobs: QuerySet[ScanJob]) -> list[ScanJob]:
    """The next jobs that together have about CHUNK_ROWS targets, and at least one."""
    chunk: list[ScanJob] = []
    rows = 0
    for job in jobs.only("token", "owner_id", "total_targets")[:CHUNK_JOBS]:
        rows += job.total_targets
        if chunk and rows > CHUNK_ROWS:
            break
        chunk.append(job)
    return chunk


def _delete_jobs(jobs: list[ScanJob]) -> Amounts:
    """One transaction: the jobs, everything that hangs on them, and a tombstone for each."""
    now = timezone.now()
    tombstones = [DeletedJob(token=job.token, owner_id=job.owner_id, deleted_at=now) for job in jobs]
    with transaction.atomic():
        DeletedJob.objects.bulk_create(tombstones, ignore_conflicts=True)
        _, by_model = ScanJob.objects.filter(pk__in=[job.pk for job in jobs]).only("pk").delete()
    return Amounts(jobs=by_model.get(ScanJob._meta.label, 0), targets=by_model.get(TargetResult._meta.label, 0))


def _delete_some(rows: QuerySet[Any]) -> int:
    """One transaction: the first CHUNK_ROWS of these rows, with what hangs on them. Returns how many of them."""
    model: type[Model] = rows.model
    chosen = list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK_ROWS])
    _, by_model = model._default_manager.filter(pk__in=chosen).only("pk").delete()
    return by_model.get(model._meta.label, 0)


def _pragma(cursor: Any, text: str) -> int:
    """The first value that a PRAGMA answers with, or 0."""
    row = cursor.execute(f"PRAGMA {text}").fetchone()
    return int(row[0]) if row else 0
