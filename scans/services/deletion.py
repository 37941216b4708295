"""Deleting a job: its rows go, its token stays as a tombstone, so that its owner is told 410 and not 404."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from scans.models import DeletedJob, ScanJob
from scans.services import audit
from scans.services.audit import Action, Origin


def delete_job(job: ScanJob, *, by: Origin) -> None:
    """Delete a job with all its results, whatever its state. What its workers still find meets no row."""
    with transaction.atomic():
        DeletedJob.objects.get_or_create(token=job.token, defaults={"owner_id": job.owner_id, "deleted_at": timezone.now()})
        audit.record(Action.DELETE, **by, job_token=job.token, targets=job.total_targets)
        job.delete()
