"""How often the model may be called: by all workers of all hosts together, on one day, and for one job.

A day is UTC's, by the database's clock. Its count is one row of RateBucket, a job's a column of its own; each is drawn by
one conditional UPDATE. A call is one question to the service, about one target or several; attempts after a passing failure
of the service belong to it.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from scans.core.options import AiOptions
from scans.models import RateBucket, ScanJob, clock

NAME = "model:day"


def draw(job_id: int, options: AiOptions) -> str | None:
    """Take one call for this job. None when granted, otherwise why not, with the setting that says so."""
    with transaction.atomic():
        if not _draw_of_job(job_id, options.calls_per_job):
            return f"no call is left for this job: AI_CALLS_PER_JOB allows {options.calls_per_job}"
        if not _draw_of_day(options.calls_per_day):
            transaction.set_rollback(True)
            return f"no call is left for today (UTC): AI_CALLS_PER_DAY allows {options.calls_per_day}"
    return None


def _draw_of_job(job_id: int, limit: int) -> bool:
    job = ScanJob.objects.filter(pk=job_id, model_calls__lt=limit)
    return bool(job.update(model_calls=F("model_calls") + 1))


def _draw_of_day(limit: int) -> bool:
    if limit < 1:
        return False
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    row = RateBucket.objects.filter(name=NAME)
    if row.filter(counted_at=today, tokens__lt=limit).update(tokens=F("tokens") + 1):
        return True
    # Any other day, be it a later one of a clock that was wrong. Of two that are first, one finds the other's row here.
    if row.exclude(counted_at=today).update(tokens=1, counted_at=today):
        return True
    if row.exists():
        return False
    RateBucket.objects.bulk_create([RateBucket(name=NAME, tokens=0, counted_at=today)], ignore_conflicts=True)
    return bool(row.filter(counted_at=today, tokens__lt=limit).update(tokens=F("tokens") + 1))
