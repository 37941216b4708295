"""`manage.py recount`: count the days before today again, for the dashboard, from the results that are left."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from scans.services.aggregates import rebuild


class Command(BaseCommand):
    """See above."""

    help = "Count the days before today again from the stored results. Days that were purged keep their counts."

    def handle(self, *args: Any, **options: Any) -> None:
        """Only that."""
        self.stdout.write(f"Counted {rebuild():,} days again.")
