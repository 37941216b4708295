"""`manage.py doctor`: what is wrong here and how to mend it. Exit code 1 if something does not work."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from scans.services.doctor import Diagnosis, Finding, examine


class Command(BaseCommand):
    """See the module."""

    help = "Examines settings, database, disk, workers and queue; says what is wrong, where, and what to do."
    requires_system_checks = ()  # they are part of the examination

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--json", action="store_true", help="one JSON document, for programs")

    def handle(self, **options: Any) -> None:
        """Examine, say it, and exit with 1 if there is an error."""
        found = examine()
        self.stdout.write(_as_json(found) if options["json"] else _as_text(found))
        if not found.is_healthy:
            sys.exit(1)


def _as_json(found: Diagnosis) -> str:
    return json.dumps({"is_healthy": found.is_healthy, **asdict(found)}, indent=2)


def _as_text(found: Diagnosis) -> str:
    facts = [f"{name}: {value}" for name, value in found.facts.items()]
    findings = [line for finding in found.findings for line in _lines(finding)]
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = len(found.findings) - errors
    verdict = f"{len(found.checks)} checks; errors: {errors}, warnings: {warnings}."
    return "\n".join([*facts, "", *findings, *([""] if findings else []), verdict])


def _lines(finding: Finding) -> list[str]:
    return [
        f"{finding.severity.upper()}  {finding.what}",
        f"  where   {finding.where} ({finding.check})",
        f"  remedy  {finding.remedy}",
    ]
