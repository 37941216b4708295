"""Writing the ledger: who was told about a job's targets, added up in the transaction that stores what came of it.

So it is as durable as the results: a worker killed at any moment leaves both or neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from django.db import connection, transaction

from scans.core.types import Told
from scans.models import EgressEntry, ScanJob
from scans.models.egress import MAX_CONTACT_CHARS

_COLUMNS = ("job_id", "source", "host", "n", "first_at", "last_at")
INSERT_ROWS = 500


def record_told(told: Iterable[tuple[int, Iterable[Told]]], *, at: datetime) -> None:
    """Add to the ledger of each job who was told; within the transaction of the write that it belongs to."""
    counts: Counter[tuple[int, str, str]] = Counter()
    for job_id, contacts in told:
        for source, host, n in contacts:
            counts[job_id, source, host[:MAX_CONTACT_CHARS]] += n
    moment = connection.ops.adapt_datetimefield_value(at)
    ordered = sorted(counts.items())  # as all keep it: no two wait for each other
    rows: list[tuple[int | str | None, ...]] = [(*key, n, moment, moment) for key, n in ordered]
    for start in range(0, len(rows), INSERT_ROWS):
        _add(rows[start : start + INSERT_ROWS])


def record_told_in_vain(told: Iterable[tuple[int, Iterable[Told]]], *, at: datetime) -> None:
    """The same for targets of which nothing is stored: their job was cancelled, or is gone, and with it its ledger.

    Mostly there is nothing to say, and then no transaction: on SQLite it would wait for all other writers.
    """
    contacts = [(job_id, tuple(those)) for job_id, those in told]
    with_something = {job_id for job_id, those in contacts if those}
    if not with_something:
        return
    jobs = ScanJob.objects.filter(pk__in=with_something).order_by("pk")
    with transaction.atomic():
        left = set(jobs.select_for_update(no_key=True).values_list("pk", flat=True))  # none goes before this is written
        record_told(((job_id, those) for job_id, those in contacts if job_id in left), at=at)


def _add(rows: list[tuple[int | str | None, ...]]) -> None:
    """Insert, or add to what is there; bulk_create() could only replace it."""
    table, one = EgressEntry._meta.db_table, f"({', '.join(['%s'] * len(_COLUMNS))})"
    statement = (  # of names and placeholders only
        f"INSERT INTO {table} ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * len(rows))} "  # noqa: S608 - see above
        f"ON CONFLICT (job_id, source, host) DO UPDATE SET n = {table}.n + excluded.n, last_at = excluded.last_at"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [value for row in rows for value in row])
