"""`manage.py reindex`: make the results of earlier versions findable by service, product, certificate name and finding."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from scans.services.terms import reindex


class Command(BaseCommand):
    """See above."""

    help = "Make results of earlier versions findable by what was found. May run while all else runs, and be repeated."

    def handle(self, *args: Any, **options: Any) -> None:
        """Only that."""
        looked_at = 0
        for rows in reindex():
            looked_at += rows
            if looked_at % 20_000 < rows:
                self.stdout.write(f"{looked_at:,} results so far, from the newest on.")
        self.stdout.write(f"Looked at {looked_at:,} results.")
