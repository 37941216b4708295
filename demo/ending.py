"""When it is over: a signal, the end of the program, or too long a wait."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from demo.program import Program

LONGEST_SECONDS = 300  # for the start and all jobs, on a machine that stalls; usually ten
LOOK_SECONDS = 0.2


class EndedError(Exception):
    """It is over, with this exit code; the text, if any, is for the operator."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code


class Patience:
    """Waits as long as there is reason to."""

    def __init__(self) -> None:
        """From here on a signal ends a wait, and nothing else: what was started is ended in its order."""
        self.began = time.monotonic()
        self._stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop.set())

    def until(self, holds: Callable[[], bool], program: Program) -> None:
        """Return when it is true. Raises EndedError."""
        while not holds():
            self.look(program)
            if self.seconds() > LONGEST_SECONDS:
                raise EndedError(1, f"The demo was not ready within {LONGEST_SECONDS} s: is this machine very busy?")

    def for_ever(self, program: Program) -> None:
        """Raises EndedError some day."""
        while True:
            self.look(program)

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def look(self, program: Program) -> None:
        """Pause. Raises EndedError."""
        if self._stop.wait(LOOK_SECONDS):
            raise EndedError(0)
        if (code := program.exit_code()) is not None:  # it has said why
            raise EndedError(code or 1)
