"""Whether this installation can do its work right now, and whether a job looks stuck."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import QuerySet

from scans.models import JobState, ScanJob, WorkerHeartbeat, clock

WORKER_SILENCE = timedelta(seconds=15)  # a supervisor beats every two seconds
STUCK_AFTER = timedelta(seconds=20)


def needs_reaping(job: ScanJob) -> bool:
    """Whether a job looks stuck: no worker beats, and a lease has run out or nobody has begun."""
    if job.state == JobState.COMPLETE or has_live_supervisor():
        return False
    return job.created_at < clock.now() - STUCK_AFTER


def has_live_supervisor() -> bool:
    """Whether any supervisor of workers beat lately."""
    return _live_supervisors().exists()


def live_workers() -> int:
    """How many supervisors of workers beat lately: one for each `manage.py up` or `manage.py worker`."""
    return _live_supervisors().count()


def _live_supervisors() -> QuerySet[WorkerHeartbeat]:
    since = clock.ago(WORKER_SILENCE)  # by the clock that the heartbeats follow, whatever this host's says
    return WorkerHeartbeat.objects.filter(kind=WorkerHeartbeat.Kind.SUPERVISOR, seen_at__gte=since)


def unready_reasons() -> list[str]:
    """Why this installation cannot do its work right now; empty when it can."""
    executor = MigrationExecutor(connection)
    reasons = []
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        reasons.append("The database lacks migrations: run manage.py migrate.")
    elif not has_live_supervisor():
        reasons.append("No worker is running: start one with manage.py worker, or everything with manage.py up.")
    return reasons
