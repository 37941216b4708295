"""The fingerprint lane of one scan: one thread, one selector, many conversations at a time.

    ask(host, its open connections) ─► [hosts in turn] ─► Call… ─► all of a host's services ─► emit()

A host's services come out together, at the latest `host_seconds` after they came in, whatever they are up to: what has not
finished then is recorded as that. Hosts take turns, so that one with many open ports does not keep the others waiting.
New connections to paced addresses are made at the pace of the probes; the one that a probe left open costs nothing.
The thread touches nothing but its sockets; `ask`, `drop` and `close` may be called from any other.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import closing
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from scans.core.fingerprint.hosts import HostQuestion, HostServices, close_all
from scans.core.options import FingerprintOptions
from scans.core.tools import Pace
from scans.core.types import IPAddress

if TYPE_CHECKING:
    from scans.core.fingerprint.turns import Turns


class FingerprintLane:
    """Asks what stands behind open ports. One use only."""

    def __init__(
        self,
        options: FingerprintOptions,
        *,
        may_connect: Callable[[IPAddress], bool],
        emit: Callable[[HostServices], None],
        pace: Pace | None = None,  # None: no rate
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._may_connect = may_connect
        self._emit = emit
        self._pace = pace
        self._clock = clock
        self._inbox: SimpleQueue[HostQuestion] = SimpleQueue()
        self._drops: SimpleQueue[Hashable] = SimpleQueue()
        self._is_closed = False
        self._lock = threading.Lock()  # so that nothing comes in after the end
        self._thread: threading.Thread | None = None
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if options.is_on:  # what _run needs, before there are probes whose punctuality it could cost
            import_module("scans.core.fingerprint.turns")

    @property
    def host_seconds(self) -> float:
        """How long all services of one host may take together."""
        return 2 * self._options.seconds

    def ask(self, host: HostQuestion) -> None:
        """Take charge of a host and its connections; the thread starts with the first."""
        with self._lock:
            if self._is_closed:
                close_all(host.connections.values())
                return
            self._inbox.put(host)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fingerprint", daemon=True)
                self._thread.start()
            os.eventfd_write(self._wake_fd, 1)

    def drop(self, keys: Iterable[Hashable]) -> None:
        """Nobody wants to know about these any more: their connections are closed and nothing is emitted."""
        for key in keys:
            self._drops.put(key)
        with self._lock:
            if not self._is_closed:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """End at once: every connection is closed, and what is unfinished is not emitted."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_fd)
        while not self._inbox.empty():
            close_all(self._inbox.get().connections.values())

    # -- The thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        from scans.core.fingerprint.call import Ground
        from scans.core.fingerprint.turns import Turns

        with closing(selectors.DefaultSelector()) as selector:
            selector.register(self._wake_fd, selectors.EVENT_READ)
            ground = Ground(selector=selector, clock=self._clock, may_connect=self._may_connect, pace=self._pace)
            turns = Turns(self._options, ground, host_seconds=self.host_seconds, emit=self._emit)
            try:
                while not self._is_closed:
                    self._turn(selector, turns)
            finally:
                turns.end()

    def _turn(self, selector: selectors.BaseSelector, turns: Turns) -> None:
        self._take_in(turns)
        turns.start()
        for key, mask in selector.select(turns.next_seconds):
            if key.data is None:
                os.eventfd_read(self._wake_fd)
            else:
                turns.on_ready(key.data, mask)
        turns.tick()

    def _take_in(self, turns: Turns) -> None:
        try:
            while True:
                turns.take(self._inbox.get_nowait())
        except Empty:
            pass
        while not self._drops.empty():
            turns.drop(self._drops.get())
