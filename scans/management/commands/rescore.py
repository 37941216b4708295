"""`manage.py rescore --ruleset FILE`: what stored results would be by other rules, beside the verdicts that they have.

Killed or interrupted, it has rated what it says, and another run goes on. Nothing is asked of any target or source.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scans import selectors
from scans.conf import risk_pack, scanner_options
from scans.core.risk import Pack, RuleError, read_pack
from scans.models import Rescore, ScanJob
from scans.services import rescore
from scans.services.audit import COMMAND_LINE
from scans.services.rescore import Rescored, Selection


def day(text: str) -> datetime:
    """The beginning of a day in UTC, from 2026-11-28. Raises ArgumentTypeError."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day: write it like 2026-11-28.") from None


class Command(BaseCommand):
    """See the module."""

    help = "Rates stored results by other rules, beside their original verdicts, which stay as they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--ruleset", metavar="FILE", help="a file of rules over the built-in ones; without: those that rate new results"
        )
        what.add_argument("--forget", metavar="VERSION", help="delete the verdicts by these rules, as the admin lists them")
        parser.add_argument("--job", metavar="TOKEN", help="only the results of this job")
        parser.add_argument(
            "--since", type=day, metavar="DATE", help="only what was scanned since this day (UTC), like 2026-11-28"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would come of it, and change nothing")

    def handle(self, **options: Any) -> None:
        """Rate or forget, and say what came of it."""
        if options["forget"]:
            self._forget(options["forget"])
            return
        if options["job"] and not ScanJob.objects.filter(token=options["job"]).exists():
            raise CommandError(f"There is no job {options['job']!r}.")
        pack, rules = _rules(options["ruleset"])
        selection = Selection(token=options["job"], since=options["since"])
        before, total = rescore.rescored_before(pack), Rescored()
        try:
            with closing(rescore.rescore(pack, rules, selection, origin=COMMAND_LINE, is_dry=options["dry_run"])) as batches:
                for done in batches:
                    total += done
        except KeyboardInterrupt as interrupt:
            self.stdout.write("\n".join(_in_words(pack, total, before, is_dry=options["dry_run"])))
            raise CommandError("Interrupted. Run it again for the rest.", returncode=130) from interrupt
        self.stdout.write("\n".join(_in_words(pack, total, before, is_dry=options["dry_run"])))

    def _forget(self, ruleset: str) -> None:
        try:
            with closing(rescore.forget(ruleset, origin=COMMAND_LINE)) as batches:
                taken = sum(batches)
        except Rescore.DoesNotExist as error:
            known = ", ".join(Rescore.objects.values_list("ruleset", flat=True)[:20]) or "none"
            raise CommandError(f"Nothing was rescored by {ruleset!r}. There are: {known}.") from error
        self.stdout.write(f"Forgot {taken:,} verdicts by the rules {ruleset}.")


def _rules(file: str | None) -> tuple[Pack, str]:
    """The rules and, of an operator's, the text."""
    own = scanner_options().risk.rules_file
    try:
        if file:
            return read_pack(str(Path(file).expanduser().absolute()))
        pack, text = read_pack(own) if own else (risk_pack(), "")
    except RuleError as error:
        raise CommandError(f"--ruleset: {error}" if file else f"RISK_RULES: {error}") from error
    return pack, text


def _in_words(pack: Pack, total: Rescored, before: int, *, is_dry: bool) -> Iterator[str]:
    """How many, which of them moved, and which could not be rated."""
    did = "would rescore" if is_dry else "rescored"
    yield f"Rules {pack.version}: {did} {total.results:,} results; {before:,} were before."
    worst_first = [level.value for level in selectors.WORST_FIRST]
    for (was, now), n in sorted(total.moves.items(), key=lambda move: tuple(map(worst_first.index, reversed(move[0])))):
        yield f"  {n:>9,}  {was} -> {now}"
    same = total.results - total.moves.total()
    yield f"  {same:>9,}  keep their level, {total.other_score:,} of them with another score"
    if total.unreadable:
        yield f"  {total.unreadable:>9,}  could not be rated:"
        yield from (f"             {name}" for name in total.named)
        if total.unreadable > len(total.named):
            yield f"             and {total.unreadable - len(total.named):,} more"
