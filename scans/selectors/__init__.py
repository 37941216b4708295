"""Every read that spans rows: a job's progress, its document on the wire, history. Reads change nothing.

access      who may know of which jobs; whoever lists, counts or reads asks it
jobs        one job: progress, document
results     the targets of one job
history     jobs over time
readiness   whether this installation can do its work
"""

from __future__ import annotations

from scans.selectors.access import is_token, job_by_token, key_of, sees_all_jobs, visible_jobs, was_deleted
from scans.selectors.history import (
    WORST_FIRST,
    JobFilters,
    JobPosition,
    RecentJob,
    listed_jobs,
    recent_jobs,
    recent_jobs_with_levels,
    worst_first,
)
from scans.selectors.jobs import (
    SCHEMA_VERSION,
    Progress,
    eta_seconds,
    job_document,
    job_facts,
    job_head,
    job_progress,
    job_status,
    job_version,
)
from scans.selectors.readiness import WORKER_SILENCE, has_live_supervisor, needs_reaping, unready_reasons
from scans.selectors.results import (
    ResultFilters,
    finished_targets,
    job_targets,
    listed_results,
    listed_targets,
    numbered_result,
    streamed_results,
    target_by_number,
    timestamp,
    wire_result,
)

__all__ = [
    "SCHEMA_VERSION",
    "WORKER_SILENCE",
    "WORST_FIRST",
    "JobFilters",
    "JobPosition",
    "Progress",
    "RecentJob",
    "ResultFilters",
    "eta_seconds",
    "finished_targets",
    "has_live_supervisor",
    "is_token",
    "job_by_token",
    "job_document",
    "job_facts",
    "job_head",
    "job_progress",
    "job_status",
    "job_targets",
    "job_version",
    "key_of",
    "listed_jobs",
    "listed_results",
    "listed_targets",
    "needs_reaping",
    "numbered_result",
    "recent_jobs",
    "recent_jobs_with_levels",
    "sees_all_jobs",
    "streamed_results",
    "target_by_number",
    "timestamp",
    "unready_reasons",
    "visible_jobs",
    "was_deleted",
    "wire_result",
    "worst_first",
]
