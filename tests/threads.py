"""Races: the same work in several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def at_once(work: Callable[[], None], *, threads: int, most_seconds: float = 60) -> None:
    """Run it in so many threads and wait for all; the work itself closes what connection it opens."""
    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(most_seconds)
