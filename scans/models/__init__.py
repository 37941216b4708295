"""The rows: jobs and results, what intelligence said, and what keeps the work going."""

from scans.models.intel import SourceReply
from scans.models.jobs import (
    OPEN_STATES,
    AiChoice,
    JobOutcome,
    JobState,
    Mode,
    ScanJob,
    TargetAddress,
    TargetResult,
    TargetState,
)
from scans.models.ops import RateBucket, WorkerHeartbeat

__all__ = [
    "OPEN_STATES",
    "AiChoice",
    "JobOutcome",
    "JobState",
    "Mode",
    "RateBucket",
    "ScanJob",
    "SourceReply",
    "TargetAddress",
    "TargetResult",
    "TargetState",
    "WorkerHeartbeat",
]
