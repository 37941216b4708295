"""`manage.py backup FILE`: a checked copy of the SQLite database while everything runs."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scans.services.backup import BackupError, back_up


class Command(BaseCommand):
    """See the module."""

    help = "Copies the SQLite database to a file while it is in use, checks the copy, and puts it in place in one step."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--force", action="store_true", help="replace FILE if it exists, once the new copy is good")

    def handle(self, **options: Any) -> None:
        """Back up, and say where to."""
        try:
            done = back_up(options["file"], may_replace=options["force"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{done.path}: {done.size:,} bytes, checked, in {done.seconds:.1f} s.")
