"""Names to addresses, by the system's resolver, under a deadline.

A look-up in `getaddrinfo` cannot be stopped. So look-ups run in daemon threads, which never hold up the end of the
process, and a watcher reports those that pass their deadline:

    start ─► waiting ─► a thread asks ─┬─► answer in time ──► done
                                       └─► deadline ────────► done, and an extra thread takes the stuck one's place

The extra threads are bounded. Once they are stuck as well, a waiting name fails too, after one more deadline in which
no thread came back. So `done` is called for every name, exactly once, in a time that is known beforehand.

The answers are not judged here. The caller asks the policy about every one of them, the dropped ones included, and
connects to these very addresses: a second look-up could answer something else.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from queue import SimpleQueue

from scans.core.options import ResolveOptions
from scans.core.targets import unmap
from scans.core.text import clean_text
from scans.core.types import IPAddress

EXTRA_THREADS = 32  # in place of stuck ones; a thread that waits costs little, and glibc itself gives up after 10 to 30 s
MAX_ANSWERS = 4096  # more than fit into one DNS message

_ASKABLE = re.compile(r"[A-Za-z0-9._-]{1,255}")

log = logging.getLogger(__name__)


class ResolveError(Exception):
    """A name that could not be resolved. `str(error)` is part of the API: "Failed to resolve <host>: <detail>"."""

    def __init__(self, host: str, detail: str) -> None:
        self.host = clean_text(host)
        self.detail = clean_text(detail) or "no reason given"
        super().__init__(self.host, self.detail)

    def __str__(self) -> str:
        return f"Failed to resolve {self.host}: {self.detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """What a name resolves to, without repeats, in the resolver's order."""

    addresses: tuple[IPAddress, ...]  # at least one, at most ResolveOptions.max_addresses
    dropped: tuple[IPAddress, ...] = ()  # the rest: not scanned, but judged by the policy like the others


Outcome = Resolution | ResolveError


def system_lookup(name: str) -> Sequence[str]:
    """Every A and AAAA the system's resolver knows, as text."""
    if not _ASKABLE.fullmatch(name):  # getaddrinfo cuts a name at a NUL and would answer for the part before it
        raise ValueError("the name holds a character that no name may hold")
    # As bytes: given text, Python would first apply its own, older IDNA, which refuses what DNS allows.
    found = socket.getaddrinfo(name.encode("ascii"), None, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class _Question:
    """One name on its way: waiting, then running with a deadline, then answered."""

    def __init__(self, name: str, done: Callable[[Outcome], None]) -> None:
        self.name = name
        self.deadline = 0.0
        self._done = done

    def answer(self, outcome: Outcome) -> None:
        try:
            self._done(outcome)
        except Exception:  # a caller's mistake about one name must not cost the others their thread
            log.exception("The callback for a resolved name failed")


class Resolver:
    """Looks names up in a small pool of threads. Thread-safe; close it when done."""

    def __init__(self, options: ResolveOptions, *, lookup: Callable[[str], Sequence[str]] = system_lookup) -> None:
        self._options = options
        self._lookup = lookup
        self._state = threading.Condition()  # guards everything below; notified at every change
        self._waiting: deque[_Question] = deque()
        self._running: dict[_Question, None] = {}  # in the order of their deadlines; an expired one is taken out
        self._threads = 0
        self._idle = 0  # threads that wait for a question, or are about to
        self._stuck = 0  # threads whose question has expired
        self._moved_at = 0.0  # when a thread last took a question or came back
        self._has_watcher = False
        self._is_closed = False

    def start(self, name: str, done: Callable[[Outcome], None]) -> None:
        """Look a name up. Returns at once; `done` is called exactly once, from another thread, and should be quick."""
        with self._state:
            if self._is_closed:
                raise RuntimeError("The resolver is closed.")
            if not self._waiting:
                self._moved_at = time.monotonic()
            self._waiting.append(_Question(name, done))
            if not self._has_watcher:
                self._has_watcher = True
                threading.Thread(target=self._watch, name="resolve-watch", daemon=True).start()
            self._hire()
            self._state.notify_all()

    def resolve(self, name: str) -> Resolution:
        """Look a name up and wait for the answer. Raises ResolveError."""
        box: SimpleQueue[Outcome] = SimpleQueue()
        self.start(name, box.put)
        outcome = box.get()
        if isinstance(outcome, ResolveError):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the pool without waiting for stuck threads. Unanswered names fail here, in the caller's thread."""
        with self._state:
            self._is_closed = True
            unanswered = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
            self._state.notify_all()
        for question in unanswered:
            question.answer(ResolveError(question.name, "the resolver was closed"))

    def _hire(self) -> None:
        """Start threads while questions wait for one. Call with the lock held."""
        while (
            len(self._waiting) > self._idle
            and self._threads - self._stuck < max(1, self._options.threads)
            and self._threads < max(1, self._options.threads) + EXTRA_THREADS
        ):
            try:
                threading.Thread(target=self._work, name="resolve", daemon=True).start()
            except RuntimeError as error:  # the system has no thread to give: those we have go on, or the deadline tells
                log.warning("No further thread for look-ups: %s", error)
                return
            self._threads += 1
            self._idle += 1  # counted from now on, or the next call would start one more

    def _work(self) -> None:
        """A thread of the pool: one question after the other, until closed or no longer needed."""
        while (question := self._take()) is not None:
            outcome = self._ask(question.name)
            with self._state:
                self._moved_at = time.monotonic()
                is_in_time = question in self._running
                self._running.pop(question, None)
                self._stuck -= not is_in_time
                is_surplus = self._threads - self._stuck > max(1, self._options.threads)
                self._threads -= is_surplus
                self._state.notify_all()
            if is_in_time:
                question.answer(outcome)
            if is_surplus:
                return
            with self._state:
                self._idle += 1

    def _take(self) -> _Question | None:
        with self._state:
            while not self._waiting and not self._is_closed:
                self._state.wait()
            self._idle -= 1
            if self._is_closed:
                return None
            question = self._waiting.popleft()
            self._moved_at = time.monotonic()
            question.deadline = self._moved_at + self._options.timeout_seconds
            self._running[question] = None
            self._state.notify_all()
            return question

    def _ask(self, name: str) -> Outcome:
        """The outcome of one look-up. Whatever the look-up raises is what the resolver had to say."""
        try:
            return _resolution(name, self._lookup(name), max_addresses=self._options.max_addresses)
        except ResolveError as error:
            return error
        except OSError as error:
            return ResolveError(name, error.strerror or str(error))  # strerror: the words without "[Errno -2]"
        except Exception as error:  # noqa: BLE001 - the edge: a name must end in an outcome, whatever went wrong
            return ResolveError(name, str(error) or type(error).__name__)

    def _watch(self) -> None:
        """The watcher thread: report the questions whose time is over."""
        while (expired := self._next_expired()) is not None:
            for question, detail in expired:
                question.answer(ResolveError(question.name, detail))

    def _next_expired(self) -> list[tuple[_Question, str]] | None:
        """Wait for the next deadline to pass. None once closed."""
        timeout = self._options.timeout_seconds
        with self._state:
            while not self._is_closed:
                now = time.monotonic()
                late = [question for question in self._running if question.deadline <= now]
                for question in late:
                    del self._running[question]
                self._stuck += len(late)
                self._hire()
                expired = [(question, f"timed out after {timeout:g} s") for question in late]
                if self._is_starved() and self._moved_at + timeout <= now:
                    expired += [(question, f"no look-up thread came free in {timeout:g} s") for question in self._waiting]
                    self._waiting.clear()
                if expired:
                    return expired
                self._state.wait(self._seconds_to_next(now))
        return None

    def _is_starved(self) -> bool:
        """Names wait, and no thread is left that could take one."""
        return bool(self._waiting) and self._threads == self._stuck

    def _seconds_to_next(self, now: float) -> float | None:
        deadlines = [question.deadline for question in islice(self._running, 1)]
        if self._is_starved():
            deadlines.append(self._moved_at + self._options.timeout_seconds)
        return max(0.0, min(deadlines) - now) if deadlines else None


def _resolution(name: str, answers: Iterable[str], *, max_addresses: int) -> Resolution:
    """Read the answers. One that cannot be used makes the whole name fail: nobody knows what it would lead to."""
    found: dict[IPAddress, None] = {}
    for answer in islice(answers, MAX_ANSWERS):
        said = clean_text(str(answer), limit=60)
        if "%" in said:
            raise ResolveError(name, f"the answer {said} is bound to one interface of this machine")
        try:
            found[unmap(ip_address(str(answer)))] = None
        except ValueError:
            raise ResolveError(name, f"the answer {said} is not an address") from None
    if not found:
        raise ResolveError(name, "the name has no address")
    addresses = tuple(found)
    return Resolution(addresses=addresses[:max_addresses], dropped=addresses[max_addresses:])
