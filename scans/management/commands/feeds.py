"""`manage.py feeds status|update|import`: the list files and databases that sources on this machine read.

A timer may run `feeds update` every hour: each publisher is asked only as often as its files change. Exit code 1 if
something failed; what was in use before is then still in use.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from scans.conf import scanner_options
from scans.core.egress import OFFLINE
from scans.core.feeds import AnyFeed, FeedError, Record, Store, Update, UpdateState, update, url_of
from scans.core.options import Options
from scans.core.vulnerabilities import ALL_FEEDS as FEEDS


class Command(BaseCommand):
    """See the module."""

    help = "Shows, updates and imports the list files and databases of sources on this machine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        commands = parser.add_subparsers(dest="command", required=True)
        status = commands.add_parser("status", help="what is there, of when, and from where")
        status.add_argument("--json", action="store_true", help="one JSON document, for programs")
        updating = commands.add_parser("update", help="ask publishers for newer files")
        updating.add_argument(
            "names", nargs="*", metavar="NAME", help="only these; without: all but those with special terms"
        )
        updating.add_argument("--force", action="store_true", help="also those that were asked for a short while ago")
        importing = commands.add_parser("import", help="take in a file that was brought here by other means")
        importing.add_argument("name", metavar="NAME")
        importing.add_argument("file", metavar="FILE", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do one of the three."""
        {"status": self._status, "update": self._update, "import": self._import}[options["command"]](options)

    def _status(self, options: dict[str, Any]) -> None:
        settings, now = scanner_options(), timezone.now()
        found = [_state(feed, Store(settings.intel.directory), now=now) for feed in FEEDS]
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2, default=str))
        else:
            self.stdout.write(f"Directory: {settings.intel.directory or 'none'}\n")
            self.stdout.write("\n".join(line for state in found for line in _lines(state, now=now)))
        if any("error" in state for state in found):
            raise CommandError("A file cannot be used: get or import another one.")

    def _update(self, options: dict[str, Any]) -> None:
        settings = scanner_options()
        if settings.intel.offline:
            raise CommandError(f"{OFFLINE}. Bring the files here by other means, and use `manage.py feeds import`.")
        store, failed = Store(settings.intel.directory), 0
        for feed in _chosen(options["names"], settings):
            found = update(feed, store, settings, now=timezone.now(), is_forced=options["force"])
            failed += found.state is UpdateState.FAILED
            self.stdout.write(_outcome(found))
        if failed:
            raise CommandError(f"{failed} could not be updated. What was in use before still is.")

    def _import(self, options: dict[str, Any]) -> None:
        (feed,) = _named([options["name"]])
        file: Path = options["file"]
        try:
            with file.open("rb") as source:
                body = source.read(feed.max_bytes + 1)
            record = Store(scanner_options().intel.directory).put(feed, body, origin=file.name, at=timezone.now())
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror or error}") from error
        except FeedError as error:
            raise CommandError(f"{file}: {error}. What was in use before still is.") from error
        self.stdout.write(_outcome(Update(feed=feed, state=UpdateState.NEW, record=record)))


def _chosen(names: Sequence[str], settings: Options) -> list[AnyFeed]:
    return _named(names) if names else [feed for feed in FEEDS if feed.is_default and url_of(feed, settings)]


def _named(names: Sequence[str]) -> list[AnyFeed]:
    known = {feed.name: feed for feed in FEEDS}
    for name in names:
        if name not in known:
            raise CommandError(f"There is no feed {name!r}. There are: {', '.join(known)}.")
    return [known[name] for name in names]


def _outcome(found: Update) -> str:
    if found.state is UpdateState.FAILED:
        return f"{found.feed.name}: failed: {found.reason}"
    record = found.record
    return f"{found.feed.name}: {found.state}, {_amount(record)}" if record else f"{found.feed.name}: {found.state}"


def _amount(record: Record) -> str:
    left_out = f", {record.left_out} left out ({record.first_left_out})" if record.left_out else ""
    return f"{record.entries} entries{left_out}"


def _state(feed: AnyFeed, store: Store, *, now: datetime) -> dict[str, Any]:
    """What is known of a feed, in values that JSON has; `error` if its file is bad, and no `file` if there is none."""
    state: dict[str, Any] = {"name": feed.name, "title": feed.title, "terms": feed.terms}
    try:
        record = store.record(feed)
    except FeedError as error:
        return {**state, "file": str(store.path(feed)), "error": str(error)}
    if record is None:
        return state
    return {**state, "file": str(store.path(feed)), "is_overdue": record.is_overdue(feed, now=now), **asdict(record)}


def _lines(state: dict[str, Any], *, now: datetime) -> list[str]:
    head = f"\n{state['name']}  {state['title']}; terms: {state['terms']}"
    if "error" in state:
        return [head, f"  BAD      {state['error']}", f"  file     {state['file']}"]
    if "file" not in state:
        return [head, "  none here"]
    dated = f", of {state['dated']:%Y-%m-%d}" if state["dated"] else ""
    arrived = f", here for {_age(now - state['fetched_at'])}" if state["fetched_at"] else ""
    left_out = f", {state['left_out']} left out ({state['first_left_out']})" if state["left_out"] else ""
    return [
        head,
        f"  {'OVERDUE' if state['is_overdue'] else 'ok     '}  {state['entries']} entries{left_out}{dated}{arrived}",
        f"  from     {state['origin']}",
        f"  sha256   {state['sha256']}",
    ]


def _age(age: timedelta) -> str:
    hours = max(0, round(age.total_seconds() / 3600))
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"
