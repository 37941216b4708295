"""One program under supervision: started, watched, started again after a growing pause, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
QUICK_SECONDS = 10.0  # who lives longer has earned a new start at once


class Child:
    """A program in a session, and so a process group, of its own: Ctrl-C in the terminal does not reach it."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], *, nicer: int = 0) -> None:
        self.name = name
        self._nicer = nicer
        self.quick_deaths = 0  # in a row
        self._command = command
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0

    @property
    def pid(self) -> int | None:
        """Its main process, which is also its process group; None while it does not run."""
        process = self._process
        return process.pid if process else None

    def is_due(self) -> bool:
        """Whether it does not run and its pause is over."""
        return self._process is None and time.monotonic() >= self._start_at

    def start(self) -> None:
        """Start it. Only from the main thread: the kernel takes the end of the thread that forked for the parent's."""
        shim = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(self._nicer)]
        self._process = subprocess.Popen([*shim, *self._command], env=self._env, start_new_session=True)  # noqa: S603 - no shell, our own argv
        self._started_at = time.monotonic()

    def has_ended(self) -> bool:
        """Whether its main process has. That is not collected yet, so the number of the group stays its own."""
        if self._process is None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def terminate(self) -> None:
        """Ask the main process to stop; never the group: it would kill workers in the middle of a task."""
        if self._process and not self.has_ended():
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> int:
        """End whatever is left of the group and collect the main process. Returns its exit code."""
        if self._process is None:
            return 0
        os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = None
        return code

    def pause(self) -> float:
        """Fix when it is due again: the more quick deaths in a row, the later. Returns the seconds until then."""
        now = time.monotonic()
        self.quick_deaths = self.quick_deaths + 1 if now - self._started_at < QUICK_SECONDS else 0
        doublings = min(10, max(0, self.quick_deaths - 1))
        seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * (1 << doublings))
        self._start_at = now + seconds
        return seconds
