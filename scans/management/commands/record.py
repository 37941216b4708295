"""`manage.py record JOB`: scan a job's targets anew and keep all that came from outside, for `manage.py replay`.

It runs in this process, beside the workers: it keeps the limits of sources that all share, and its own probe rate.
Exit codes: 0 recorded, 2 not.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scans import selectors
from scans.adapters import DatabaseBudget
from scans.conf import scanner_options
from scans.core.pipeline import Item
from scans.core.ports import expand
from scans.core.recording import RecordingError, record
from scans.core.tools import Tools
from scans.models import ScanJob
from scans.services.specs import target_from_spec

NOT_RECORDED = 2
PATIENCE_SECONDS = 30.0  # for answers of sources: nobody waits for a report


class Command(BaseCommand):
    """See the module."""

    help = "Scan a job's targets anew and keep all that came from outside in a file, without keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("job", metavar="JOB", help="a job's token")
        parser.add_argument("--to", metavar="FILE", help="where to; without: recording-<token>.jsonl here")

    def handle(self, **options: Any) -> None:
        """Scan and write."""
        job = ScanJob.objects.filter(token=options["job"]).first() if selectors.is_token(options["job"]) else None
        if job is None:
            raise CommandError("There is no such job.", returncode=NOT_RECORDED)
        path = Path(options["to"] or f"recording-{job.token}.jsonl")
        try:
            with open(path, "x", encoding="utf-8", newline="\n", opener=_private) as file:
                for report in record(_items(job), _tools(), file):
                    self.stderr.write(f"{report.target.text}: {report.outcome}")
        except FileExistsError as error:
            raise CommandError(f"{path} is there already.", returncode=NOT_RECORDED) from error
        except (OSError, RecordingError) as error:
            raise CommandError(str(error), returncode=NOT_RECORDED) from error
        self.stdout.write(str(path))


def _private(path: str, flags: int) -> int:
    """It holds what sources say and what targets show: nobody else's business."""
    return os.open(path, flags, 0o600)


def _items(job: ScanJob) -> list[Item]:
    rows = job.targets.order_by("ordinal").values_list("spec", flat=True)
    return [Item(key=n, target=target_from_spec(spec), ports=expand(job.ports)) for n, spec in enumerate(rows)]


def _tools() -> Tools:
    options = scanner_options()
    patient = replace(options.intel, grace_seconds=max(PATIENCE_SECONDS, options.intel.grace_seconds))
    return Tools(options=replace(options, intel=patient), budget=DatabaseBudget())
