"""Reports stored as a worker stores them, and as a program that does so in a database of its own.

    DATABASE_URL=… python -m tests.stored REPORTS
    → the rows and the exports as JSON whose order says nothing, to compare one database with another

REPORTS is a file of pickled reports by host; without DATABASE_URL the database is an SQLite file in TEST_DATA_DIR.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from scans.core.types import Report

COLUMNS = (
    "ordinal", "target", "host", "state", "evidence", "verdict", "summary", "ip_address", "risk_level", "risk_score",
    "open_ports", "error_code",
)  # fmt: skip


def store(reports: Mapping[str, Report]) -> Any:
    """A job of these targets, submitted, claimed and saved by the services. Returns it as it is stored then."""
    from scans.services.claims import claim_targets
    from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
    from scans.services.results import Claimed, Finished, save_reports

    ports = {probe.port for report in reports.values() for address in report.addresses for probe in address.probes}
    items = tuple(SubmittedItem(pointer="", text=report.target.text) for report in reports.values())
    job, lease = submit_scan(ScanRequest(items=items, ports=tuple(sorted(ports)))), uuid4()
    while rows := claim_targets(lease):
        held = [(Claimed(pk=row.pk, job_id=row.job_id, lease=lease), reports[row.host]) for row in rows]
        save_reports([Finished(claimed=claimed, report=report) for claimed, report in held])
    job.refresh_from_db()
    return job


def stored(job: Any) -> dict[str, Any]:
    """Every row of it that a report fills, and what the exports make of them."""
    from scans.api.export import FORMATS

    addresses = job.targets.values_list("addresses__address", "addresses__is_global", "ordinal")
    exports = {name: "".join(write(job)) for name, (write, _) in FORMATS.items()}
    return {
        "rows": list(job.targets.order_by("ordinal").values(*COLUMNS)),
        "addresses": sorted(map(list, addresses)),
        "results": json.loads(exports["json"])["results"],
        "lines": [json.loads(line) for line in exports["ndjson"].split("\n")[:-1]],
        "csv": exports["csv"],
    }


def main() -> None:
    """Make the database, store, and say what is stored."""
    import django
    from django.core.management import call_command

    from tests import guard

    guard.install()
    django.setup()
    call_command("migrate", verbosity=0)
    job = store(pickle.loads(Path(sys.argv[1]).read_bytes()))
    print(json.dumps(stored(job), sort_keys=True))


if __name__ == "__main__":
    main()
