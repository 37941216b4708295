"""Who was told about the targets of a job, and what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scans.core.intel import RemoteSource
from scans.core.types import ASKED_MODEL, ASKED_NAMES
from scans.core.vulnerabilities import ALL_SOURCES
from scans.models import ScanJob
from scans.selectors.jobs import job_status

TELLS = {
    **{kind.name: kind.tells for kind in ALL_SOURCES if issubclass(kind, RemoteSource)},
    ASKED_NAMES: "the host name",
    ASKED_MODEL: "facts about the target: ports, services, findings and what sources said",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressLine:
    """One host that learned of targets."""

    host: str
    source: str
    tells: str
    count: int
    first_at: datetime
    last_at: datetime


def job_egress(job: ScanJob) -> list[EgressLine]:
    """The ledger of a job, by source and host."""
    return [
        EgressLine(
            host=entry.host,
            source=entry.source,
            tells=TELLS.get(entry.source, "the address"),  # a source that has been taken out since
            count=entry.n,
            first_at=entry.first_at,
            last_at=entry.last_at,
        )
        for entry in job.egress.order_by("source", "host")
    ]


def egress_document(job: ScanJob) -> dict[str, Any]:
    """The same as clients read it."""
    lines = [
        {
            "host": line.host, "source": line.source, "tells": line.tells, "count": line.count,
            "first_at": line.first_at, "last_at": line.last_at,
        }
        for line in job_egress(job)
    ]  # fmt: skip
    return {"token": job.token, "status": job_status(job), "egress": lines}
