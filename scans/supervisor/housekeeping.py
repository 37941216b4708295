"""The housekeeping thread: heartbeat, reaper, watchdog and what is to be counted or forgotten, every two seconds.

A database may keep its caller waiting for twenty seconds (SQLite, while another process writes) or fail for hours. A
thread of its own can wait and try again while the main thread goes on to answer signals.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection

from scans.models import RestartReason, WorkerHeartbeat
from scans.services import aggregates, heartbeats, lines, reaper, restarts
from scans.supervisor import watchdog
from scans.supervisor.child import Child
from scans.supervisor.clockwatch import ClockWatch

log = logging.getLogger(__name__)

ROUND_SECONDS = 2.0
PATIENCE_SECONDS = 2  # with a lock that another process holds, perhaps one that is stopped and must be killed
FLAG_ROUND_SECONDS = 0.5
FLAG_SECONDS = 2.5  # how long the stop waits for its flag to be written
END_SECONDS = 0.5


class Housekeeping(threading.Thread):
    """Runs from `start` to `end`; `stalled` holds the clusters that want to be killed, `restarts` takes what was."""

    def __init__(self, identity: UUID, clusters: Sequence[Child]) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self.stalled: set[Child] = set()
        self.restarts: SimpleQueue[tuple[str, RestartReason]] = SimpleQueue()  # a program's name, and why
        self._uncounted: Counter[tuple[str, RestartReason]] = Counter()
        self._identity = identity
        self._watchdogs = {cluster: watchdog.Watchdog() for cluster in clusters}
        self._clock = ClockWatch()
        self._failing: set[str] = set()
        self._stopping = threading.Event()
        self._has_asked = threading.Event()
        self._ended = threading.Event()

    def ask_to_stop(self) -> None:
        """Tell the slices to hand back their rows; waits a moment until the flag is written, not for ever."""
        self._stopping.set()
        self._has_asked.wait(FLAG_SECONDS)

    def end(self) -> None:
        """Take the heartbeat away and end the thread; one that waits for the database is left behind."""
        self._stopping.set()
        self._ended.set()
        self.join(END_SECONDS)

    def run(self) -> None:
        """See the class."""
        _be_impatient()
        try:
            self._round()
            while not self._stopping.wait(ROUND_SECONDS):
                self._round()
            while True:  # again and again: it may fail, and it is a beat as well. No reaper, which would wake the workers
                self._attempt("stop flag", lambda: heartbeats.ask_to_stop(self._identity))
                self._has_asked.set()
                if self._ended.wait(FLAG_ROUND_SECONDS):
                    break
            self._attempt("restarts", self._count_restarts)
            self._attempt("good-bye", lambda: heartbeats.end(self._identity))
        finally:
            connection.close()

    def _round(self) -> None:
        """Each part for itself: a row that breaks the reaper must not blind the watchdog."""
        self._attempt("heartbeat", self._beat)
        self._attempt("reaper", reaper.reap)
        self._attempt("restarts", self._count_restarts)
        self._attempt("counts", aggregates.fold)
        self._attempt("networks", lines.forget_networks)
        self._attempt("watchdog", self._watch)
        self._attempt("clock", self._clock.look)

    def _attempt(self, name: str, work: Callable[[], object]) -> None:
        """Do it; a failure is said once, until it works again."""
        try:
            work()
        except Exception as error:  # the edge of the thread: a database that fails now may work in two seconds
            connection.close_if_unusable_or_obsolete()  # one that is only locked out still reads, which the watchdog needs
            if name not in self._failing:
                is_bug = not isinstance(error, DatabaseError)
                log.error("the %s failed, tried again every %g s: %s", name, ROUND_SECONDS, error, exc_info=is_bug)
            self._failing.add(name)
        else:
            if name in self._failing:
                log.warning("the %s works again", name)
            self._failing.discard(name)

    def _beat(self) -> None:
        if not heartbeats.beat(self._identity):
            heartbeats.begin(self._identity, WorkerHeartbeat.Kind.SUPERVISOR)

    def _count_restarts(self) -> None:
        """Those of a time without database are kept until there is one."""
        while not self.restarts.empty():
            self._uncounted[self.restarts.get()] += 1
        restarts.count_restarts(self._uncounted)
        self._uncounted.clear()

    def _watch(self) -> None:
        pids = {cluster.name: cluster.pid for cluster in self._watchdogs}
        sights = watchdog.look(pids)
        for cluster, dog in self._watchdogs.items():
            if dog.is_stalled(pids[cluster.name], sights[cluster.name]):
                self.stalled.add(cluster)


def _be_impatient() -> None:
    """Before the thread's first query: wait less for locks than the rest of the program does.

    A worker that is stopped inside a transaction holds its locks until it is killed, which is for the watchdog to do.
    """
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "sqlite":
        options = {**options, "timeout": PATIENCE_SECONDS}
    elif connection.vendor == "postgresql":
        flags = f"{options.get('options', '')} -c lock_timeout={PATIENCE_SECONDS}s -c statement_timeout=20s"
        options = {"connect_timeout": 5, **options, "options": flags.strip()}
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}  # the dict is shared, the connection is not
