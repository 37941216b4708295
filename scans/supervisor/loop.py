"""The main thread: starts, restarts and stops the programs, and answers signals."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from types import FrameType
from uuid import UUID

from django.conf import settings
from django.db import connections

from scans.models import RestartReason
from scans.supervisor.child import Child
from scans.supervisor.errors import StartError
from scans.supervisor.housekeeping import Housekeeping
from scans.supervisor.programs import WEB

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
LAST_SECONDS = 3  # of STOP_SECONDS: to kill what is left and to say good-bye
MAX_QUICK_DEATHS = 4  # of the web server, in a row


class Supervisor:
    """Runs the programs until a signal asks it to stop."""

    def __init__(self, children: Sequence[Child], *, identity: UUID) -> None:
        self._children = children
        self._housekeeping = Housekeeping(identity, [child for child in children if child.name != WEB])
        self._is_told_to_stop = False

    def run(self) -> None:
        """Return once all is stopped. Raises StartError if the web server does not stay up."""
        self._listen()
        connections.close_all()  # the thread has a connection of its own
        self._housekeeping.start()
        try:
            while not self._is_told_to_stop:
                self._kill_stalled()
                for child in self._children:
                    self._keep_alive(child)
                time.sleep(LOOK_SECONDS)
        finally:
            self._stop()

    def _listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a closed terminal stops it, except under nohup
            signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Only set a flag: whatever takes a lock may be held by the very thread that this interrupts."""
        self._is_told_to_stop = True

    def _kill_stalled(self) -> None:
        """SIGKILL, and the whole group: a stalled cluster ignores SIGTERM. It is started again at once."""
        while self._housekeeping.stalled:
            child = self._housekeeping.stalled.pop()
            log.error("the cluster %s does none of the work that waits: killed, to be started again", child.name)
            child.kill()
            self._housekeeping.restarts.put((child.name, RestartReason.STALLED))

    def _keep_alive(self, child: Child) -> None:
        if child.has_ended():
            code = child.kill()
            seconds = child.pause()
            was_killed = code == -signal.SIGKILL  # by somebody, or for want of memory: no reason to give up
            if child.name == WEB and child.quick_deaths >= MAX_QUICK_DEATHS and not was_killed:
                raise StartError(
                    f"The web server ended {child.quick_deaths} times in a row (code {code}): see the lines above."
                )
            log.error("%s ended with code %s: started again in %g s", child.name, code, seconds)
            reason = RestartReason.KILLED if code < 0 else RestartReason.DIED
            self._housekeeping.restarts.put((child.name, reason))
        elif child.is_due():
            child.start()

    def _stop(self) -> None:
        """Stop in this order.

        1. The flag in our heartbeat row: slices give their rows back within two seconds, uncounted.
        2. SIGTERM to the main process of each program.
        3. Wait for them; shortly before STOP_SECONDS are over SIGKILL, which is safe: a lease that is not renewed runs out.
        """
        log.info("stopping")
        patience = settings.STOP_SECONDS - LAST_SECONDS
        kill_at = time.monotonic() + patience
        self._housekeeping.ask_to_stop()
        running = [child for child in self._children if child.pid is not None]
        for child in running:
            child.terminate()
        while time.monotonic() < kill_at and not all(child.has_ended() for child in running):
            time.sleep(LOOK_SECONDS)
        for child in running:
            if not child.has_ended():
                log.warning("%s did not stop within %g s: killed", child.name, patience)
            child.kill()
        self._housekeeping.end()
        log.info("stopped")
