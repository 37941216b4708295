"""`manage.py scan TARGET…`: submit to the running workers, watch on stderr, results on stdout.

Exit codes: 0 every target was scanned, 2 some could not be or the wait ended, 130 interrupted (the job goes on).
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scans import selectors
from scans.core.output import WRITERS, Result
from scans.core.ports import PROFILES, PortError, parse_ports
from scans.core.targets import split_lines
from scans.models import AiChoice, JobOutcome, ScanJob
from scans.services.admission import AdmissionRefusedError
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
from scans.services.problems import InvalidSubmissionError
from scans.services.reaper import reap

POLL_SECONDS = 0.2
OK, NOT_EVALUATED, INTERRUPTED = 0, 2, 130


class Command(BaseCommand):
    """See the module."""

    help = "Submit targets to the running workers and print the results as they come."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("targets", nargs="*", metavar="TARGET", help="address, CIDR, range a-b, host name or URL")
        parser.add_argument("-l", "--list", metavar="FILE", help="read targets from a file, - for standard input")
        parser.add_argument("--ports", default="default", help=f'"22,80,8000-8100" or one of: {", ".join(PROFILES)}')
        parser.add_argument("--ai", choices=["yes", "no"], help="whether the model explains; without: if there is a key")
        parser.add_argument("--format", choices=list(WRITERS), default="table")
        parser.add_argument("--no-wait", action="store_true", help="print the token and leave")
        parser.add_argument("--timeout", type=float, default=3600, metavar="SECONDS", help="how long to wait, at most")

    def handle(self, **options: Any) -> None:
        """Submit, wait, print."""
        job = self._submit(options)
        if options["no_wait"]:
            self.stdout.write(job.token)
            return
        try:
            WRITERS[options["format"]](self._results(job, give_up_at=time.monotonic() + options["timeout"]))
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted. The job goes on: /scan/{job.token}")
            sys.exit(INTERRUPTED)
        job.refresh_from_db()
        if not job.is_finished:
            self.stderr.write(f"The wait ended. The job goes on: /scan/{job.token}")
        sys.exit(OK if job.outcome == JobOutcome.COMPLETE else NOT_EVALUATED)

    def _submit(self, options: dict[str, Any]) -> ScanJob:
        texts = [*options["targets"], *split_lines(_file_text(options["list"]))]
        items = tuple(SubmittedItem(pointer=f"target {n}", text=text) for n, text in enumerate(texts, start=1))
        ai = {"yes": AiChoice.ASKED, "no": AiChoice.OFF, None: AiChoice.DEFAULT}[options["ai"]]
        try:
            return submit_scan(ScanRequest(items=items, ports=parse_ports(options["ports"]), ai=ai, via="command line"))
        except (PortError, AdmissionRefusedError) as error:
            raise CommandError(str(error), returncode=NOT_EVALUATED) from error
        except InvalidSubmissionError as error:
            lines = "\n".join(f"{p.pointer}: {p.detail}".lstrip(": ") for p in error.problems)
            raise CommandError(lines, returncode=NOT_EVALUATED) from error

    def _results(self, job: ScanJob, *, give_up_at: float) -> Iterator[Result]:
        """Finished targets as they come, each once."""
        if not selectors.has_live_supervisor():
            self.stderr.write("No worker is running yet: start one with manage.py worker, or everything with manage.py up.")
        console = Console(stderr=True)
        columns = TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        printed: set[int] = set()
        waivers = selectors.waivers_in_force()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("targets", total=job.total_targets)
            while time.monotonic() < give_up_at:
                job.refresh_from_db()
                for row in selectors.finished_targets(job).exclude(ordinal__in=printed):
                    printed.add(row.ordinal)
                    yield {"ordinal": row.ordinal, **selectors.wire_result(row, waivers)}
                progress.update(bar, completed=len(printed))
                if job.is_finished:
                    return
                if selectors.needs_reaping(job):
                    reap()
                time.sleep(POLL_SECONDS)


def _file_text(name: str | None) -> str:
    try:
        return "" if name is None else sys.stdin.read() if name == "-" else Path(name).read_text(errors="replace")
    except OSError as error:
        raise CommandError(str(error), returncode=NOT_EVALUATED) from error
