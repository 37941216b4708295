"""`manage.py replay FILE`: run a recorded scan again, without any network, and say what differs.

Exit codes: 0 evidence and verdicts are the same, 1 they differ, 2 the recording cannot be replayed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scans.conf import scanner_options
from scans.core.recording import RecordingError, read_recording, replay
from scans.core.text import clean_text

DIFFERS, NOT_REPLAYED = 1, 2


class Command(BaseCommand):
    """See the module."""

    help = "Run a recorded scan again without a network, and say what differs."
    requires_system_checks = ()  # it needs no database

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("file", metavar="FILE", help="what manage.py record has made")

    def handle(self, **options: Any) -> None:
        """Replay and compare."""
        targets = differing = 0
        try:
            with Path(options["file"]).open(encoding="utf-8", newline="\n") as file:
                lines = read_recording(file)
            for number, differences in replay(lines, options=scanner_options()):
                targets += 1
                differing += bool(differences)
                for one in differences:
                    recorded, replayed = (clean_text(said) or "nothing" for said in (one.recorded, one.replayed))
                    self.stdout.write(f"target {number} {clean_text(one.where)}: was {recorded}, is {replayed}")
        except (OSError, RecordingError) as error:
            raise CommandError(clean_text(str(error), limit=500), returncode=NOT_REPLAYED) from error
        self.stdout.write(f"{targets} targets replayed, {differing} differ")
        if differing:
            sys.exit(DIFFERS)
