"""Every read that spans rows: a job's progress, its document on the wire, history. Reads change nothing.

access      who may know of which jobs; whoever lists, counts or reads asks it
jobs        one job: progress, document; egress: who was told about its targets
results     the targets of one job; rescored: what they would be by other rules
job_page    the targets of one job as its page lists them; job_findings: what they have in common;
            job_changes: what is different from the scans before
model_questions  what the model was told about them
history     jobs over time; terms: by what was found
host_page   the other scans of a host, and what changed between them (host_changes)
waivers     accepted risks, and which findings they mark
what_if     what closing ports would do to a host's verdict
readiness   whether this installation can do its work
"""

from __future__ import annotations

from scans.selectors.access import is_token, job_by_token, key_of, sees_all_jobs, visible_jobs, was_deleted
from scans.selectors.egress import EgressLine, egress_document, job_egress
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
from scans.selectors.host_changes import Change, ChangeKind
from scans.selectors.host_page import HostHistory, HostScan, host_history, last_observed
from scans.selectors.job_changes import ChangedTarget, JobChanges, job_changes, repeated_job
from scans.selectors.job_findings import FindingGroup, JobFindings, Unknowns, job_findings
from scans.selectors.job_page import (
    MAX_PORTS_CHARS,
    MAX_STRIP_PORTS,
    ListedTarget,
    Pace,
    RowFilters,
    RowKey,
    RowOrder,
    RowSlice,
    StateFilter,
    level_counts,
    pace,
    row_slice,
    rows_of,
    submit_event,
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
from scans.selectors.model_questions import instruction_of, listed_questions, model_question
from scans.selectors.readiness import (
    WORKER_SILENCE,
    has_live_supervisor,
    live_workers,
    needs_reaping,
    unready_reasons,
)
from scans.selectors.rescored import other_verdicts, rescored_verdicts
from scans.selectors.results import (
    ResultFilters,
    finished_targets,
    host_result,
    job_targets,
    listed_results,
    streamed_results,
    target_by_number,
    timestamp,
    wire_result,
)
from scans.selectors.terms import may_be_found
from scans.selectors.waivers import (
    WaiversInForce,
    listed_waivers,
    may_waive,
    waivers_in_force,
    waivers_mark,
)
from scans.selectors.what_if import Comparison, WhatIf, what_if

__all__ = [
    "MAX_PORTS_CHARS",
    "MAX_STRIP_PORTS",
    "SCHEMA_VERSION",
    "WORKER_SILENCE",
    "WORST_FIRST",
    "Change",
    "ChangeKind",
    "ChangedTarget",
    "Comparison",
    "EgressLine",
    "FindingGroup",
    "HostHistory",
    "HostScan",
    "JobChanges",
    "JobFilters",
    "JobFindings",
    "JobPosition",
    "ListedTarget",
    "Pace",
    "Progress",
    "RecentJob",
    "ResultFilters",
    "RowFilters",
    "RowKey",
    "RowOrder",
    "RowSlice",
    "StateFilter",
    "Unknowns",
    "WaiversInForce",
    "WhatIf",
    "egress_document",
    "eta_seconds",
    "finished_targets",
    "has_live_supervisor",
    "host_history",
    "host_result",
    "instruction_of",
    "is_token",
    "job_by_token",
    "job_changes",
    "job_document",
    "job_egress",
    "job_facts",
    "job_findings",
    "job_head",
    "job_progress",
    "job_status",
    "job_targets",
    "job_version",
    "key_of",
    "last_observed",
    "level_counts",
    "listed_jobs",
    "listed_questions",
    "listed_results",
    "listed_waivers",
    "live_workers",
    "may_be_found",
    "may_waive",
    "model_question",
    "needs_reaping",
    "other_verdicts",
    "pace",
    "recent_jobs",
    "recent_jobs_with_levels",
    "repeated_job",
    "rescored_verdicts",
    "row_slice",
    "rows_of",
    "sees_all_jobs",
    "streamed_results",
    "submit_event",
    "target_by_number",
    "timestamp",
    "unready_reasons",
    "visible_jobs",
    "waivers_in_force",
    "waivers_mark",
    "was_deleted",
    "what_if",
    "wire_result",
    "worst_first",
]
