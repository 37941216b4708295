"""One job: its progress and its document on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count
from django.utils import timezone

from scans.models import JobState, ScanJob, TargetState
from scans.selectors.results import finished_targets, timestamp, wire_results
from scans.selectors.waivers import waivers_in_force

SCHEMA_VERSION = 2  # its results tell services since 2; it is part of the ETag, so that nobody keeps the older form


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A job's targets by state; the counts add up to the total."""

    total: int
    waiting: int
    working: int
    summarising: int
    done: int
    error: int
    refused: int
    cancelled: int

    @property
    def finished(self) -> int:
        """Targets that have their one result."""
        return self.done + self.without_result

    @property
    def without_result(self) -> int:
        """Targets that ended without a full result."""
        return self.error + self.refused + self.cancelled

    @property
    def in_work(self) -> int:
        """Targets that a worker holds, and those that only wait for the model's words."""
        return self.working + self.summarising

    @property
    def percent(self) -> int:
        """Rounded down: 100 means all."""
        return self.finished * 100 // self.total if self.total else 100


def job_progress(job: ScanJob) -> Progress:
    """How far a job has come."""
    counts = dict(job.targets.values_list("state").annotate(n=Count("pk")).order_by())
    return Progress(
        total=job.total_targets,
        waiting=counts.get(TargetState.PENDING, 0),
        working=counts.get(TargetState.LEASED, 0),
        summarising=counts.get(TargetState.SCANNED, 0),
        done=counts.get(TargetState.DONE, 0),
        error=counts.get(TargetState.ERROR, 0),
        refused=counts.get(TargetState.REFUSED, 0),
        cancelled=counts.get(TargetState.CANCELLED, 0),
    )


def eta_seconds(job: ScanJob, done: int) -> int | None:
    """What is left at the pace so far; None before there is one, 0 at the end."""
    if job.is_finished:
        return 0
    if not job.started_at or not done:
        return None
    elapsed = (timezone.now() - job.started_at).total_seconds()
    return round(elapsed / done * (job.total_targets - done))


def job_version(job: ScanJob) -> int | None:
    """The version as it stands in the database; None if the job has been deleted."""
    return ScanJob.objects.filter(pk=job.pk).values_list("version", flat=True).first()


def job_status(job: ScanJob) -> str:
    """The original's four words: a cancelled job is a failed one to a client that knows no other."""
    return "failed" if job.state == JobState.CANCELLED else job.state


def job_document(job: ScanJob) -> dict[str, Any]:
    """What GET /scan/<token> answers: the original's fields, and ours beside them."""
    results = wire_results(job, list(finished_targets(job)), waivers_in_force())
    # Counted here, so that the numbers fit the list whatever happens meanwhile.
    return job_head(job, done=len(results)) | {"results": results}


def job_head(job: ScanJob, *, done: int) -> dict[str, Any]:
    """A job's document without its results."""
    return job_facts(job, done=done) | {
        "schema_version": SCHEMA_VERSION,
        "eta_seconds": eta_seconds(job, done),
        "ports": job.ports,
        "rejected": job.rejected,
        "warnings": job.warnings,
    }


def job_facts(job: ScanJob, *, done: int) -> dict[str, Any]:
    """What a list of jobs says of each, and the job's own document repeats."""
    total = job.total_targets
    return {
        "token": job.token,
        "total_targets": total,
        "completed_targets": done,
        "status": job_status(job),
        "mode": job.mode,
        "started_at": timestamp(job.created_at),
        "finished_at": timestamp(job.finished_at) if job.finished_at else None,
        "state": job.state,
        "outcome": job.outcome or None,
        "progress": {"done": done, "total": total, "percent": done * 100 // total},
        "label": job.label,
        "tags": sorted(tag.name for tag in job.tags.all()),
        "owner": job.owner.get_username() if job.owner else None,
        "scanner_version": job.scanner_version or None,
        "rerun_of": job.rerun_of or None,
    }
