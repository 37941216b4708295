"""The rows: jobs and results, who may ask, what intelligence said, counts by day, waivers, and what keeps the work going."""

from scans.models.access import KEY_PREFIX, ClientKey, IdempotencyKey, Scope
from scans.models.answers import ModelAnswer, ModelQuestion
from scans.models.counts import EVERYBODY, NOBODY, CountKind, DailyCount, RestartReason
from scans.models.egress import EgressEntry
from scans.models.intel import SourceHealth, SourceReply
from scans.models.jobs import (
    FINISHED_JOB_STATES,
    MAX_LABEL_CHARS,
    MAX_TAG_CHARS,
    OPEN_JOB_STATES,
    OPEN_STATES,
    AiChoice,
    DeletedJob,
    JobOutcome,
    JobState,
    JobTag,
    Mode,
    ScanJob,
    TargetAddress,
    TargetResult,
    TargetState,
)
from scans.models.ops import AuditEvent, RateBucket, WorkerHeartbeat
from scans.models.rescores import Rescore, RescoredVerdict
from scans.models.terms import MAX_TERM_CHARS, ResultTerm, TermKind, term_value
from scans.models.waivers import MAX_OWNER_CHARS, MAX_REASON_CHARS, MAX_SCOPE_CHARS, Waiver

__all__ = [
    "EVERYBODY",
    "FINISHED_JOB_STATES",
    "KEY_PREFIX",
    "MAX_LABEL_CHARS",
    "MAX_OWNER_CHARS",
    "MAX_REASON_CHARS",
    "MAX_SCOPE_CHARS",
    "MAX_TAG_CHARS",
    "MAX_TERM_CHARS",
    "NOBODY",
    "OPEN_JOB_STATES",
    "OPEN_STATES",
    "AiChoice",
    "AuditEvent",
    "ClientKey",
    "CountKind",
    "DailyCount",
    "DeletedJob",
    "EgressEntry",
    "IdempotencyKey",
    "JobOutcome",
    "JobState",
    "JobTag",
    "Mode",
    "ModelAnswer",
    "ModelQuestion",
    "RateBucket",
    "Rescore",
    "RescoredVerdict",
    "RestartReason",
    "ResultTerm",
    "ScanJob",
    "Scope",
    "SourceHealth",
    "SourceReply",
    "TargetAddress",
    "TargetResult",
    "TargetState",
    "TermKind",
    "Waiver",
    "WorkerHeartbeat",
    "term_value",
]
