"""`manage.py purge --older-than 90d`: old jobs go, with all that belongs to them, and what has expired.

Interrupted, it has purged what it says, and another run goes on. A cron job may run it as it is: nothing is asked.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import closing
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from scans.services import purge
from scans.services.audit import COMMAND_LINE
from scans.services.purge import Amounts, Selection

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
MAX_AGE = timedelta(days=36_500)


def age(text: str) -> timedelta:
    """12h, 90d or 2w. Raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    found = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < found <= MAX_AGE:
        raise ArgumentTypeError(f"{text!r} is not an age: write a whole number and h, d or w, like 12h, 90d or 2w.")
    return found


def count(text: str) -> int:
    """A whole number, 0 or more. Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ArgumentTypeError(f"{text!r} is not a whole number of jobs.")
    return int(text)


class Command(BaseCommand):
    """See the module."""

    help = "Deletes finished jobs that ended long ago, expired replies of sources, and other remains."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--older-than", type=age, required=True, metavar="AGE", help="12h, 90d, 2w: since a job ended")
        parser.add_argument("--keep-last", type=count, default=0, metavar="N", help="but never the N jobs that ended last")
        parser.add_argument("--owner", metavar="NAME", help="only this user's jobs")
        parser.add_argument(
            "--replies", action="store_true", help="forget all cached replies of sources, not only expired ones"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")

    def handle(self, **options: Any) -> None:
        """Count or purge, and say how much."""
        selection = Selection(
            before=timezone.now() - options["older_than"],
            keep_last=options["keep_last"],
            owner_id=_owner_id(options["owner"]),
        )
        if options["dry_run"]:
            self.stdout.write(f"Would purge {_in_words(purge.purgeable(selection, all_replies=options['replies']))}.")
            return
        total = Amounts()
        try:
            with closing(purge.purge(selection, origin=COMMAND_LINE, all_replies=options["replies"])) as chunks:
                for taken in chunks:
                    total += taken
        except KeyboardInterrupt as interrupt:
            raise CommandError(
                f"Interrupted after {_in_words(total)}. Run it again for the rest.", returncode=130
            ) from interrupt
        self.stdout.write(f"Purged {_in_words(total)}.")
        if not purge.give_back_space():
            self.stdout.write("The database was being read: its log (-wal) shrinks at the next purge or restart.")


def _owner_id(name: str | None) -> int | None:
    if name is None:
        return None
    owner = User.objects.filter(username=name).first()
    if owner is None:
        raise CommandError(f"There is no user {name!r}.")
    return owner.pk


def _in_words(amounts: Amounts) -> str:
    return (
        f"{amounts.jobs} jobs with {amounts.targets} targets, {amounts.replies} replies of sources, "
        f"{amounts.answers} answers of the model, "
        f"{amounts.keys} submission keys and {amounts.tombstones} traces of deleted jobs"
    )
