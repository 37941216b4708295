"""Races: the same work in several threads at once, and how many were at it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.patience import AGES


def at_once(work: Callable[[], None], *, threads: int, most_seconds: float = AGES) -> None:
    """Run it in so many threads and wait for all; the work itself closes what connection it opens."""
    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(most_seconds)


class Room:
    """Counts who is inside at the same time: `with room: …`."""

    def __init__(self) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
