"""What the other threads touch: hosts handed in, the wish to end, and the loop's alarm clock."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress

from scans.core.probe.host import Host
from scans.core.probe.plans import EngineClosedError

_RING = (1).to_bytes(8, sys.byteorder)  # an eventfd is a number; a pipe takes anything


class Inbox:
    """Every host that is not finished, and those among them that the loop has not seen yet."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.ports_taken = 0  # planned ports of all hosts
        self.ports_held = 0  # of those unfinished
        self._lock = threading.RLock()  # re-entrant: a signal handler may cancel whatever its thread was doing here
        self._hosts: dict[Hashable, Host] = {}
        self._new: deque[Host] = deque()
        self._dropped: list[Hashable] = []
        self._takes_no_more = self._has_begun = self._has_ended = False
        self._ring_fd: int | None = None

    def __len__(self) -> int:
        return len(self._hosts)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The loop runs: yields the descriptor that becomes readable when there is news for it."""
        wake_fd, ring_fd = _bell()
        try:
            with self._lock:
                if self._has_begun:
                    raise RuntimeError("A probe engine runs once.")
                self._has_begun = True
                self._ring_fd = ring_fd
            yield wake_fd
        finally:
            with self._lock:
                # A second run() must not end the first.
                if self._ring_fd == ring_fd:
                    self._has_ended, self._ring_fd = True, None
                for fd in {wake_fd, ring_fd}:
                    os.close(fd)

    def put(self, host: Host, *, wakes: bool = True) -> None:
        """Hand a host to the loop, which wakes unless it does so itself."""
        with self._lock:
            if self._takes_no_more or self._has_ended:
                raise EngineClosedError("The probe engine takes no more hosts.")
            if host.plan.key in self._hosts:
                raise ValueError(f"A host with the key {host.plan.key!r} is already under way.")
            self._hosts[host.plan.key] = host
            self._new.append(host)
            self.ports_taken += host.planned_count
            self.ports_held += host.planned_count
            if wakes:
                self._wake()

    def close(self) -> None:
        """No more hosts will come."""
        with self._lock:
            self._takes_no_more = True
            self._wake()

    def cancel(self) -> None:
        """Nothing more is wanted."""
        with self._lock:
            self.is_cancelled = True
            self._wake()

    def drop(self, keys: Iterable[Hashable]) -> None:
        """These hosts are not wanted any more; unknown and finished ones are ignored."""
        with self._lock:
            self._dropped += keys
            self._wake()

    def take_dropped(self) -> list[Host]:
        """The unfinished hosts dropped since the last time."""
        with self._lock:
            dropped = [self._hosts[key] for key in dict.fromkeys(self._dropped) if key in self._hosts]
            self._dropped.clear()
            return dropped

    def find(self, key: Hashable) -> Host | None:
        """The unfinished host of that key."""
        return self._hosts.get(key)

    def take_new(self) -> list[Host]:
        """The hosts handed in since the last time."""
        with self._lock:
            new = list(self._new)
            self._new.clear()
            return new

    def unfinished(self) -> list[Host]:
        """All hosts not finished, new ones included."""
        with self._lock:
            return list(self._hosts.values())

    def forget(self, host: Host) -> None:
        """That host is finished."""
        with self._lock:
            del self._hosts[host.plan.key]
            self.ports_held -= host.planned_count

    def is_over(self) -> bool:
        """Whether nothing is left to do; from then on nothing more is taken, so that no host is taken and lost."""
        with self._lock:
            if (self._takes_no_more or self.is_cancelled) and not self._hosts:
                self._has_ended = True
            return self._has_ended

    def _wake(self) -> None:
        """End the loop's sleep. Under the lock, or the descriptor may be closed and be someone else's by now."""
        if self._ring_fd is not None:
            with suppress(BlockingIOError):  # then it is awake, or will be
                os.write(self._ring_fd, _RING)


def _bell() -> tuple[int, int]:
    """What becomes readable, and where to write that it may: an eventfd, or a pipe where there is none."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    wake_fd, ring_fd = os.pipe()
    os.set_blocking(wake_fd, False)
    os.set_blocking(ring_fd, False)
    return wake_fd, ring_fd
