"""Keeps the web server and the task clusters of one host alive: watchdog, reaper, clean stop, no orphans.

    manage.py up, manage.py worker
      ├─ main thread       starts, restarts and stops the programs; owns signals; never touches the database
      ├─ housekeeping      heartbeat, reaper and watchdog, every two seconds; the only one that may wait for the database
      ├─ gunicorn          (up only)        ┐ each in a session and process group of its own,
      ├─ qcluster `scan`                    │ killed by the kernel when the supervisor ends in whatever way,
      └─ qcluster `ai`                      ┘ and so are their own children

The files: `prepare` is what happens before anything is started, `banner` what is printed, `programs` what is started,
`child` one of them, `launch` its first steps, `housekeeping` and `watchdog` the thread, `loop` the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from scans.supervisor import banner, prepare, programs
from scans.supervisor.errors import StartError
from scans.supervisor.loop import Supervisor

__all__ = ["StartError", "up", "worker"]


def up(say: Callable[[str], None]) -> None:
    """Prepare this machine, start everything and return when told to stop. Raises StartError with the remedy."""
    prepare.refuse_other_systems()
    prepare.refuse_taken_port()
    prepare.make_private_data_dir()
    prepare.migrate()
    prepare.collect_static()
    say(banner.everything(admin=prepare.create_admin()))
    banner.log_environment()
    identity = uuid4()
    Supervisor([programs.web(identity), *programs.clusters(identity)], identity=identity).run()


def worker(say: Callable[[str], None]) -> None:
    """Start the clusters alone, on a further host or beside a web server of its own, and return when told to stop."""
    prepare.refuse_other_systems()
    prepare.make_private_data_dir()
    prepare.refuse_missing_migrations()
    say(banner.workers())
    banner.log_environment()
    identity = uuid4()
    Supervisor(programs.clusters(identity), identity=identity).run()
