"""A clock for the lane: no time of its own runs out because a server, or the whole machine, did not get its turn.

It stands still while a thread of a test's server has anything to do, and a leap of the real clock counts as a small step.
What a server keeps silent about, or sleeps through, takes the lane as long as ever.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path

STEP_SECONDS, LOOK_SECONDS = 0.05, 0.005
FUTEX = {"x86_64": "202", "aarch64": "98"}.get(platform.machine())  # the system call of who waits for Python's own lock
_servers: set[threading.Thread] = set()


def serve(work: Callable[..., None], *args: object) -> threading.Thread:
    """Start a thread of a server. It waits for what comes in sockets, or sleeps; an Event would look like being busy."""
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    _servers.add(thread)
    return thread


class PatientClock:
    """For one lane. With a low rate also for servers that are programs of their own: they have the more time.

    A hundred servers are too many to look at each so often.
    """

    def __init__(self, *, rate: float = 1.0, sees_servers: bool = True) -> None:
        self._rate, self._sees_servers = rate, sees_servers
        self._now = self._real = time.monotonic()

    def __call__(self) -> float:
        real = time.monotonic()
        passed = real - self._real
        if passed >= LOOK_SECONDS:
            self._real = real
            if not self._sees_servers or not any(_is_busy(thread) for thread in tuple(_servers)):
                self._now += self._rate * min(passed, STEP_SECONDS)
        return self._now


def _is_busy(thread: threading.Thread) -> bool:
    """Whether it runs, or would: /proc says in which system call a thread sleeps, and "running" of one that need not."""
    if not thread.is_alive():
        _servers.discard(thread)
        return False
    try:
        call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
    except OSError:  # ended just now; or no descriptor is left
        return False
    return call in ("running", "-1", FUTEX)
