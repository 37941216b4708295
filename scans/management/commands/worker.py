"""The workers alone: for further hosts, or beside a web server of its own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scans import supervisor


class Command(BaseCommand):
    """See the help."""

    help = "Starts the workers and keeps them alive until Ctrl-C."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Start, and return when told to stop."""
        try:
            supervisor.worker(self._say)
        except supervisor.StartError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as interrupt:
            raise CommandError("Interrupted before anything was started.") from interrupt

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # a pipe would keep the text until the end
