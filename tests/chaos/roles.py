"""The processes of a running stack by what they do: the web server, and of a cluster main, guard, workers and the rest."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.cluster import descendants
from tests.stack import Stack

ORDER = ("worker", "monitor", "pusher")  # in which a guard starts its children, and starts them again


def children(pid: int) -> list[int]:
    """Living ones, in the order they were started, as the kernel keeps them: by number it is another where numbers wrap."""
    with suppress(OSError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(*pids: int, number: int = signal.SIGKILL) -> list[int]:
    """Signal them; returns those that were there."""
    found = []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            found.append(pid)
    return found


class Roles:
    """Who is who in one cluster of a stack, by the name of its queue.

    All processes of a cluster look alike from outside. At first they stand in the order of their start; whoever comes later
    has taken the place of one that is missing.
    """

    def __init__(self, workers: int, *, queue: str = "scan") -> None:
        self._workers = workers
        self._queue = queue
        self._known: dict[int, dict[int, str]] = {}  # by guard

    def look(self, stack: Stack) -> dict[str, list[int]]:
        """Every role and its processes right now; a role may be empty, since things are dying."""
        found: dict[str, list[int]] = {"supervisor": [stack.process.pid], "web": [], "cluster": [], "guard": []}
        found |= {role: [] for role in ORDER}
        for pid in children(stack.process.pid):
            queue = _queue(pid)
            if queue == self._queue:
                found["cluster"].append(pid)
                for guard in children(pid):
                    found["guard"].append(guard)
                    for child, role in self._family(guard).items():
                        found[role].append(child)
            elif queue is None:
                found["web"] += [pid, *descendants(pid)]
        return found

    def _family(self, guard: int) -> dict[int, str]:
        alive = children(guard)
        known = self._known.get(guard)
        if known is None:
            if len(alive) < self._workers + 2:  # still starting: they may not be told apart
                return {}
            known = dict(zip(alive, [*["worker"] * self._workers, "monitor", "pusher"], strict=False))
        missing = sorted((role for pid, role in known.items() if pid not in alive), key=ORDER.index)
        newcomers = [pid for pid in alive if pid not in known]
        known = {pid: role for pid, role in known.items() if pid in alive} | dict(zip(newcomers, missing, strict=False))
        # whoever has not come back yet is looked for the next time
        left = missing[len(newcomers) :]
        self._known[guard] = known | {-n: role for n, role in enumerate(left, start=1)}
        return {pid: role for pid, role in known.items() if pid > 0}


def _queue(pid: int) -> str | None:
    with suppress(OSError):
        for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if item.startswith(b"Q_CLUSTER_NAME="):
                return item.partition(b"=")[2].decode()
    return None
