"""The limits: rate, windows, descriptors."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from scans.core.options import ProbeOptions
from scans.core.probe import ProbeEngine
from scans.core.probe import engine as engine_module
from scans.core.probe.budgets import MOST_DESCRIPTORS, RESERVED_DESCRIPTORS, ProbeBudgets
from scans.core.types import PortState
from tests.core.probe.driving import collect, engine_for, plan, states
from tests.core.probe.fake_network import Answer, FakeNetwork
from tests.patience import AGES, AT_ONCE
from tests.servers import refusing, silent


@contextmanager
def soft_limit(descriptors: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def free_descriptors(count: int) -> Iterator[None]:
    """All but so many descriptors of this process are taken."""
    with soft_limit(1 + max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + count), ExitStack() as stack:
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for number in taken[count:]:
            stack.callback(os.close, number)
        for number in taken[:count]:
            os.close(number)
        yield


def world_of(*plans, answer: Answer, **options) -> tuple[FakeNetwork, ProbeEngine]:
    """A network that is only a script after all of these were probed there, on a clock of its own that began at 1000."""
    world = FakeNetwork(lambda host, port, now: answer)
    engine = engine_for(*plans, network=world.network, **options)
    collect(engine)
    return world, engine


def test_paced_hosts_take_the_time_the_rate_gives_them_and_others_do_not():
    def takes(*, is_paced: bool, rate: float) -> float:
        plans = [plan([80], key=n, address=f"10.1.12.{n}", is_paced=is_paced) for n in range(1, 61)]
        return world_of(*plans, answer=(0.001, errno.ECONNREFUSED), rate_per_second=rate)[0].now - 1000

    assert 0.5 <= takes(is_paced=True, rate=100) < 0.6  # 10 of the 60 at once, then 100 a second
    assert takes(is_paced=False, rate=100) < 0.1
    assert takes(is_paced=True, rate=0) < 0.1


def test_a_retry_costs_a_token_like_any_connection():
    for rate, sent in ((1, 1), (0, 2)):  # the retry is wanted after 0.7 s, the second token comes after 1 s
        _, engine = world_of(plan([80], is_paced=True, deadline_seconds=0.9), answer=None, rate_per_second=rate)
        assert (engine.stats.retried, engine.stats.sent) == (1, sent)


def test_hosts_that_are_not_paced_do_not_wait_for_the_rate():
    with refusing() as port:
        engine = engine_for(
            plan(range(1, 1000), key="paced", address="127.66.12.99", is_paced=True),
            plan([port], key="free"),
            rate_per_second=1,
        )
        began = time.monotonic()
        batches = engine.run()
        assert [result.key for result in next(batches)] == ["free"]
        assert time.monotonic() - began < AT_ONCE  # the paced one needs 1000 s
        batches.close()


def test_no_more_is_in_flight_than_the_windows_allow():
    plans = [plan(range(1, 13), key=n, deadline_seconds=0.5) for n in range(2)]
    for most, options in ((7, {"max_inflight": 7, "per_host": 4}), (8, {"max_inflight": 100, "per_host": 4})):
        assert world_of(*plans, answer=None, **options)[0].most_in_flight == most


@pytest.mark.usefixtures("each_poller")
def test_too_few_descriptors_make_it_slower_and_never_wrong():
    with refusing("127.66.13.2") as port:
        engine = engine_for(
            plan(range(20000, 20400), key=4, address="127.66.13.2"),
            plan(range(20000, 20400), key=6, address="::1"),
            plan([port], key="one", address="127.66.13.2"),
        )
        with free_descriptors(20):
            found = collect(engine)
    assert states(found["one"]) == {port: "closed"}
    for key in (4, 6):
        assert set(states(found[key]).values()) <= {"closed", "open"}  # open: other programs of this machine
        assert {one.attempts for one in found[key].probes} == {1}


@pytest.mark.usefixtures("each_poller")
def test_silence_under_a_shortage_of_descriptors_is_still_asked_twice():
    with ExitStack() as stack:
        dropped = {stack.enter_context(silent("127.66.13.3")).port for _ in range(12)}
        engine = engine_for(plan([*range(1, 101), *dropped], address="127.66.13.3"))  # refusals first: then waits are short
        with free_descriptors(8):
            found = collect(engine)["host"].probes
    said = {(one.state, one.reason, one.attempts) for one in found if one.port in dropped}
    assert said == {(PortState.FILTERED, "timeout", 2)}


@pytest.mark.usefixtures("each_poller")
def test_without_any_descriptor_the_ports_are_an_error_in_the_end(monkeypatch):
    monkeypatch.setattr(engine_module, "STARVED_SECONDS", 0.3)
    engine = engine_for(*[plan([1, 2], key=n, is_paced=n == 2) for n in range(3)])
    with free_descriptors(2):  # which the loop itself needs
        began = time.monotonic()
        found = collect(engine)
    assert time.monotonic() - began >= 0.3
    assert {one[1:] for result in found.values() for one in result.probes} == {(PortState.ERROR, "EMFILE", 0, None)}


@pytest.mark.usefixtures("each_poller")
def test_an_address_family_the_system_does_not_know_is_an_error_at_once_and_slows_nobody(monkeypatch):
    monkeypatch.setattr(engine_module, "STARVED_SECONDS", AGES)
    with refusing() as port:
        engine = engine_for(plan([1, 2], key="alien"), plan([port], key="other"))
        engine._inbox.find("alien").family = 99  # as IPv6 is where the kernel was started without it
        began = time.monotonic()
        found = collect(engine)
    assert time.monotonic() - began < AT_ONCE
    assert {one[1:] for one in found["alien"].probes} == {(PortState.ERROR, "EAFNOSUPPORT", 0, None)}
    assert states(found["other"]) == {port: "closed"}


def test_the_soft_limit_is_raised_as_far_as_needed_and_no_further():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with soft_limit(min(400, hard)):
        budgets = ProbeBudgets.from_options(ProbeOptions(max_inflight=200))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200 + RESERVED_DESCRIPTORS
        assert budgets.max_inflight == 200
        assert ProbeBudgets.from_options(ProbeOptions(max_inflight=100)).max_inflight == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200 + RESERVED_DESCRIPTORS


def test_zero_is_no_limit_but_that_of_the_system():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with soft_limit(soft):
        budgets = ProbeBudgets.from_options(ProbeOptions(max_inflight=0, per_host=0))
    assert budgets.max_inflight == min(MOST_DESCRIPTORS, hard - RESERVED_DESCRIPTORS)
    assert budgets.per_host == budgets.max_inflight
