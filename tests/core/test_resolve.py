"""Names to addresses: every answer, honest errors, and a deadline that holds whatever the look-up does."""

from __future__ import annotations

import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.core import resolve
from scans.core.options import ResolveOptions
from scans.core.resolve import EXTRA_THREADS, Resolution, ResolveError, Resolver, system_lookup
from tests.fakes import wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.threads import Room

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def resolver(lookup=system_lookup, **options):
    """A resolver that is closed at the end, with all its threads gone unless they are stuck."""
    made = Resolver(ResolveOptions(**{"timeout_seconds": PATIENCE, **options}), lookup=lookup)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def stuck_lookup():
    """A look-up that hangs for names that begin with "stuck", until the test is over."""
    release = threading.Event()

    def lookup(name):
        if name.startswith("stuck"):
            release.wait(AGES)
        return ["192.0.2.1"]

    try:
        yield lookup
    finally:
        release.set()


def addresses(*texts):
    return tuple(ip_address(text) for text in texts)


def failure(answer, *, host="a.invalid"):
    def lookup(name):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    with resolver(lookup) as made, pytest.raises(ResolveError) as caught:
        made.resolve(host)
    return caught.value


# --- Answers -------------------------------------------------------------------------------------------------------


def test_the_system_resolver_answers_for_localhost():
    with resolver() as made:
        assert ip_address("127.0.0.1") in made.resolve("localhost").addresses


def test_a_name_that_does_not_exist_fails_in_the_resolvers_words_without_a_number():
    with resolver() as made, pytest.raises(ResolveError) as caught:
        made.resolve("nosuchhost.invalid")
    try:
        socket.getaddrinfo("nosuchhost.invalid", None)
    except socket.gaierror as error:
        words = error.strerror
    assert str(caught.value) == f"Failed to resolve nosuchhost.invalid: {words}"
    assert (caught.value.host, caught.value.detail) == ("nosuchhost.invalid", words)
    assert "Errno" not in str(caught.value)


def test_answers_keep_their_order_without_repeats_and_mapped_ones_are_unmapped():
    answers = ["2001:db8::2", "192.0.2.9", "::ffff:192.0.2.1", "2001:DB8::2", "192.0.2.1"]
    with resolver(lambda name: answers) as made:
        assert made.resolve("a.invalid") == Resolution(addresses=addresses("2001:db8::2", "192.0.2.9", "192.0.2.1"))


def test_more_answers_than_wanted_are_dropped_and_reported():
    answers = [f"192.0.2.{n}" for n in range(50)]
    with resolver(lambda name: answers, max_addresses=8) as made:
        resolution = made.resolve("a.invalid")
    assert resolution.addresses == addresses(*answers[:8])
    assert resolution.dropped == addresses(*answers[8:])


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ([], "the name has no address"),
        (["192.0.2.1", "rubbish"], "the answer rubbish is not an address"),
        (["0177.0.0.1"], "the answer 0177.0.0.1 is not an address"),
        (["127.0.0.1\x00.example"], "the answer 127.0.0.1 .example is not an address"),
        (["192.0.2.1", "fe80::1%eth0"], "the answer fe80::1%eth0 is bound to one interface of this machine"),
        ([2130706433], "the answer 2130706433 is not an address"),
        ([None], "the answer None is not an address"),
        (7, "'int' object is not iterable"),
        (socket.gaierror(-3, "Temporary failure in name resolution"), "Temporary failure in name resolution"),
        (socket.gaierror("no number"), "no number"),
        (OSError(), "no reason given"),
        (UnicodeError("label too long"), "label too long"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError("\x1b[31mred\u202e\r\nSet-Cookie: x\x00"), "[31mred Set-Cookie: x"),
    ],
)
def test_whatever_a_lookup_does_is_an_error_with_the_exact_text(answer, detail):
    error = failure(answer)
    assert str(error) == f"Failed to resolve a.invalid: {detail}"
    assert error.detail == detail


def test_a_long_or_odd_text_is_cut_and_cleaned():
    error = failure(RuntimeError("x" * 10_000), host="a\x00\n.invalid")
    assert len(error.detail) == 255
    assert str(error).startswith("Failed to resolve a .invalid: xxx")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("name", ["bücher.invalid", "localhost\x00.invalid", "a" * 70 + ".invalid", "", "a b.invalid"])
def test_a_name_that_cannot_be_asked_is_an_error(name):
    with resolver() as made, pytest.raises(ResolveError):
        made.resolve(name)


ANSWER = st.one_of(st.ip_addresses().map(str), st.text(max_size=30), st.none(), st.integers())


@settings(deadline=None)
@given(st.lists(ANSWER, max_size=12), st.integers(1, 8))
def test_any_answer_gives_addresses_or_an_error(answers, most):
    with resolver(lambda name: answers, threads=1, max_addresses=most) as made:
        box = SimpleQueue()
        made.start("a.invalid", box.put)
        outcome = box.get(timeout=PATIENCE)
    if isinstance(outcome, Resolution):
        assert 1 <= len(outcome.addresses) <= most
        assert len({*outcome.addresses, *outcome.dropped}) == len(outcome.addresses) + len(outcome.dropped)
        assert len(outcome.addresses) + len(outcome.dropped) <= len(answers)
    else:
        assert str(outcome).startswith("Failed to resolve a.invalid: ")


# --- Deadlines and stuck look-ups ----------------------------------------------------------------------------------


def test_start_returns_at_once_and_done_comes_from_another_thread():
    seen = SimpleQueue()
    with stuck_lookup() as lookup, resolver(lookup, timeout_seconds=0.2) as made, resolver(lookup) as patient:
        started = time.monotonic()
        patient.start("stuck.invalid", seen.put)
        assert time.monotonic() - started < AT_ONCE
        made.start("stuck.invalid", lambda outcome: seen.put((outcome, threading.current_thread())))
        outcome, thread = seen.get(timeout=PATIENCE)
    assert thread is not threading.current_thread()
    assert str(outcome) == "Failed to resolve stuck.invalid: timed out after 0.2 s"


def test_the_deadline_of_ten_seconds_reads_as_in_the_contract():
    assert str(ResolveError("a.invalid", f"timed out after {ResolveOptions().timeout_seconds:g} s")).endswith(
        "timed out after 10 s"
    )


class Clock:
    """The resolver's clock in a test: it goes when the test moves it."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(resolve, "time", SimpleNamespace(monotonic=lambda: self.now))

    def run_until(self, holds) -> None:
        def moved() -> bool:
            self.now += 0.01
            return holds()

        assert holds() or wait_until(moved)


def test_done_is_called_exactly_once_even_if_the_answer_comes_after_the_deadline(monkeypatch):
    outcomes, clock = [], Clock(monkeypatch)
    with stuck_lookup() as lookup:
        made = Resolver(ResolveOptions(timeout_seconds=0.3, threads=1), lookup=lookup)
        made.start("stuck.invalid", outcomes.append)
        clock.run_until(lambda: outcomes)
    assert made.resolve("a.invalid").addresses == addresses("192.0.2.1")  # the thread came back, its answer is void
    made.close()
    assert [str(outcome) for outcome in outcomes] == ["Failed to resolve stuck.invalid: timed out after 0.3 s"]


def test_stuck_lookups_do_not_hold_up_other_names(monkeypatch):
    clock, stuck, answered = Clock(monkeypatch), SimpleQueue(), SimpleQueue()
    with stuck_lookup() as lookup, resolver(lookup, timeout_seconds=0.2, threads=2) as made:
        for n in range(10):
            made.start(f"stuck{n}.invalid", stuck.put)
        made.start("a.invalid", answered.put)
        clock.run_until(lambda: stuck.qsize() >= 9)  # five rounds of two, and the clock stands before another is over
        assert answered.get(timeout=PATIENCE).addresses == addresses("192.0.2.1")
        clock.run_until(lambda: stuck.qsize() == 10)
        assert {stuck.get(timeout=PATIENCE).detail for _ in range(10)} == {"timed out after 0.2 s"}


def test_when_every_thread_is_stuck_waiting_names_fail_too_and_the_pool_recovers(monkeypatch):
    outcomes, clock = SimpleQueue(), Clock(monkeypatch)
    hang = threading.Event()
    made = Resolver(ResolveOptions(timeout_seconds=0.05, threads=4), lookup=lambda name: hang.wait(AGES) and ["192.0.2.1"])
    before = threading.active_count()
    for _ in range(2):  # twice, since a pool that counted wrongly would only show it in the second crisis
        for n in range(60):
            made.start(f"stuck{n}.invalid", outcomes.put)
        clock.run_until(lambda: outcomes.qsize() == 60)
        details = [outcomes.get().detail for _ in range(60)]
        assert details.count("timed out after 0.05 s") == 4 + EXTRA_THREADS
        assert details.count("no look-up thread came free in 0.05 s") == 60 - 4 - EXTRA_THREADS
        made.start("a.invalid", outcomes.put)
        clock.run_until(lambda: outcomes.qsize() == 1)
        assert outcomes.get().detail.startswith("no look-up thread came free")
        assert threading.active_count() - before <= 4 + EXTRA_THREADS + 1
        hang.set()
        assert wait_until(lambda: threading.active_count() - before <= 4 + 1)  # the extra threads went home
        assert made.resolve("a.invalid").addresses == addresses("192.0.2.1")
        hang.clear()
    made.close()
    assert outcomes.empty()


def test_many_names_are_answered_once_each_by_no_more_threads_than_allowed():
    room = Room()

    def lookup(name):
        with room:
            time.sleep(0.001)
        return [f"10.0.{name[1:-8]}"]

    outcomes = SimpleQueue()
    with resolver(lookup, threads=8) as made:
        for n in range(1000):
            made.start(f"n{n // 250}.{n % 250}.invalid", outcomes.put)
        answers = [outcomes.get(timeout=PATIENCE).addresses[0] for _ in range(1000)]
        assert outcomes.empty()
    assert len(set(answers)) == 1000
    assert 2 <= room.most <= 8


def test_a_callback_that_fails_costs_no_other_name(caplog):
    def bad(outcome):
        raise ValueError("the caller's own mistake")

    with resolver(lambda name: ["192.0.2.1"], threads=1) as made, caplog.at_level(logging.ERROR):
        made.start("a.invalid", bad)
        assert made.resolve("b.invalid").addresses == addresses("192.0.2.1")
    assert "The callback for a resolved name failed" in caplog.text


def test_a_callback_may_start_the_next_name():
    outcomes = SimpleQueue()
    with resolver(lambda name: ["192.0.2.1"], threads=1) as made:
        made.start("a.invalid", lambda outcome: made.start("b.invalid", outcomes.put))
        assert outcomes.get(timeout=PATIENCE).addresses == addresses("192.0.2.1")


# --- The end -------------------------------------------------------------------------------------------------------


def test_closing_answers_what_is_open_and_ends_the_threads():
    before = set(threading.enumerate())
    outcomes = []
    with stuck_lookup() as lookup:
        made = Resolver(ResolveOptions(threads=2), lookup=lookup)
        for name in ("stuck1.invalid", "stuck2.invalid", "c.invalid"):
            made.start(name, outcomes.append)
        started = time.monotonic()
        made.close()
        made.close()
        assert time.monotonic() - started < AT_ONCE
        assert [outcome.detail for outcome in outcomes] == ["the resolver was closed"] * 3
        with pytest.raises(RuntimeError, match="closed"):
            made.start("d.invalid", outcomes.append)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before
    assert len(outcomes) == 3


SCRIPT = """
import threading
from scans.core import resolve
from scans.core.options import ResolveOptions
from scans.core.resolve import Resolver, ResolveError
asked = threading.Event()
def hang(name):
    asked.set()
    threading.Event().wait(3000)
made = Resolver(ResolveOptions(timeout_seconds={timeout}), lookup=hang)
if {timeout} < 1:
    try:
        made.resolve("stuck.invalid")
    except ResolveError as error:
        print(error)
else:
    made.start("stuck.invalid", print)
    asked.wait(100)
    print("leaving")
"""


@pytest.mark.parametrize(
    ("timeout", "said"), [(0.1, "Failed to resolve stuck.invalid: timed out after 0.1 s"), (3000, "leaving")]
)
def test_a_process_ends_while_a_lookup_hangs(timeout, said):
    command = [sys.executable, "-W", "error", "-c", SCRIPT.format(timeout=timeout)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=AGES, check=False)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, said, "")
