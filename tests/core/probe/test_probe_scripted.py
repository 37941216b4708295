"""Scheduling, fairness and budgets over tens of thousands of probes, on a network that is only a script.

FAKE_PROBES=1000000 tries a million.
"""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from itertools import pairwise

import pytest

from scans.core.probe import ProbeEngine
from scans.core.types import PortState
from tests.core.probe.driving import collect, plan, states
from tests.core.probe.fake_network import Answer, FakeNetwork, RateLimit

PROBES = int(os.environ.get("FAKE_PROBES", "50000"))
PORTS = range(1, 101)
UNLIMITED = {"rate_per_second": 0, "max_inflight": 0, "per_host": 0}
CLOSED = (0.01, errno.ECONNREFUSED)


def always(answer: Answer) -> FakeNetwork:
    return FakeNetwork(lambda host, port, now: answer)


def addresses(count: int) -> list[str]:
    return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


def submitted(world: FakeNetwork, hosts: list[str], ports=PORTS, *, is_paced: bool = False, **options) -> ProbeEngine:
    engine = world.engine(**options)
    shared = tuple(ports)
    for host in hosts:
        engine.submit(plan(shared, key=host, address=host, is_paced=is_paced))
    engine.finish()
    return engine


class Internet:
    """Hosts near and far, open, closed and silent ports, and a loss on every path; each seed is another one."""

    def __init__(self, seed: int, *, loss: float) -> None:
        self.chance, self.seed, self.loss = random.Random(seed), seed, loss

    def truth(self, host: str, port: int) -> str:
        kind = random.Random(f"{self.seed} {host}").random()
        draw = random.Random(f"{self.seed} {host} {port}").random()
        if draw < 0.03:
            return "open"
        return "filtered" if kind < 0.2 or draw < 0.1 else "closed"

    def __call__(self, host: str, port: int, now: float) -> Answer:
        state = self.truth(host, port)
        if state == "filtered" or self.chance.random() < self.loss:
            return None
        far = 0.02 + 0.1 * random.Random(f"far {host}").random()
        return far * self.chance.uniform(0.9, 1.3), 0 if state == "open" else errno.ECONNREFUSED


@pytest.mark.timeout(600 + PROBES / 100)
@pytest.mark.parametrize("loss", [0.0, 0.04])
def test_every_port_of_a_large_scan_gets_its_true_state(loss):
    internet = Internet(7, loss=loss)
    world = FakeNetwork(internet)
    hosts = addresses(PROBES // len(PORTS))
    found = collect(submitted(world, hosts, **UNLIMITED))
    wrong = Counter(
        (internet.truth(host, port), state)
        for host in hosts
        for port, state in states(found[host]).items()
        if state != internet.truth(host, port)
    )
    assert wrong.total() <= PROBES * loss * 1e-3
    assert set(wrong) <= {("open", "filtered"), ("closed", "filtered")}  # never the other way
    assert world.in_flight == 0
    assert not world.sockets


def test_attempts_follow_the_loss_that_is_measured():
    quiet, lossy = FakeNetwork(Internet(3, loss=0.0)), FakeNetwork(Internet(3, loss=0.05))
    attempts = [
        max(
            one.attempts
            for result in collect(submitted(world, addresses(100), **UNLIMITED)).values()
            for one in result.probes
        )
        for world in (quiet, lossy)
    ]
    assert attempts[0] == 2
    assert attempts[1] >= 4


def test_at_the_start_of_a_lossy_scan_no_silence_is_believed_before_the_loss_is_known():
    found = collect(submitted(FakeNetwork(Internet(3, loss=0.05)), addresses(200), **UNLIMITED)).values()
    silent = [one for result in found for one in result.probes if one.state is PortState.FILTERED]
    assert len(silent) > 1000
    assert min(one.attempts for one in silent) >= 3


@pytest.mark.parametrize(("loss", "most_seconds"), [(0.0, 5.5), (0.04, 9)])
def test_hosts_at_all_distances_are_not_taken_for_hosts_that_limit_rates(loss, most_seconds):
    """What is given up before anybody knows how far a host is was not lost: taken for lost it takes 7 and 11 seconds."""
    chance = random.Random(5)
    far = {host: chance.uniform(0.01, 0.3) for host in addresses(300)}
    is_silent = {(host, port): chance.random() < 0.5 for host in far for port in PORTS}

    def answer(host: str, port: int, now: float) -> Answer:
        if is_silent[host, port] or chance.random() < loss:
            return None
        return far[host] * chance.uniform(1, 1.2), errno.ECONNREFUSED

    world = FakeNetwork(answer)
    began_at = world.now
    found = collect(submitted(world, list(far), **UNLIMITED))
    wrong = [
        host for host in far for port, state in states(found[host]).items() if (state == "filtered") != is_silent[host, port]
    ]
    assert not wrong
    assert world.now - began_at < most_seconds  # of the script's own time


@pytest.mark.parametrize("slow_seconds", [0.35, 0.6])
def test_an_answer_that_comes_after_its_port_was_asked_again_still_counts(slow_seconds):
    def one_is_slow(host: str, port: int, now: float) -> Answer:
        return (slow_seconds if host == "10.0.0.0" else 0.001), errno.ECONNREFUSED

    world = FakeNetwork(one_is_slow)
    found = collect(submitted(world, addresses(30), **UNLIMITED))["10.0.0.0"].probes
    assert {(one.state, one.attempts) for one in found} == {(PortState.CLOSED, 1)}
    assert found[0].latency_ms == pytest.approx(slow_seconds * 1000, rel=0.1)
    assert sum(host == "10.0.0.0" for _, host, _ in world.sent) == 2 * len(PORTS)  # though each was asked twice
    assert not world.sockets


@pytest.mark.parametrize(("rate", "count"), [(100, 300), (2000, 5000)])
def test_in_no_stretch_of_time_do_more_connections_leave_than_the_rate_allows(rate, count):
    world = always(CLOSED)
    collect(submitted(world, addresses(count // 100), is_paced=True, rate_per_second=rate))
    times = [at for at, _, _ in world.sent]
    assert len(times) == count
    for width in (10, 100, len(times) - 1):
        for first, last in zip(times, times[width:], strict=False):
            assert width <= (last - first) * rate + max(1, rate * 0.1) + 1


def test_the_windows_hold_whatever_is_asked():
    world = always(None)
    collect(submitted(world, addresses(60), rate_per_second=0, max_inflight=300, per_host=20))
    assert world.most_in_flight == 300
    assert max(world.most_of_host.values()) <= 20


def test_hosts_take_turns_however_much_each_has_left():
    world = always(CLOSED)
    hosts = addresses(8)
    collect(submitted(world, hosts, range(1, 2001), rate_per_second=0, max_inflight=400, per_host=50))
    half = Counter(host for _, host, _ in world.sent[: len(world.sent) // 2])
    assert max(half.values()) < 1.3 * min(half[host] for host in hosts)


def test_a_small_host_that_comes_late_is_done_long_before_the_giants():
    world = always((0.05, errno.ECONNREFUSED))
    engine = world.engine(rate_per_second=0, max_inflight=500, per_host=100)
    for host in addresses(10):
        engine.submit(plan(range(1, 5001), key=host, address=host))
    batches = engine.run()

    def come_late(host: str, port: int, now: float) -> Answer:
        if len(world.sent) == 5000:
            engine.submit(plan([1, 2, 3], key="small", address="10.9.9.9"))
            engine.finish()
        return CLOSED

    world.script = come_late
    first = next(batches)
    assert [result.key for result in first] == ["small"]
    assert len(world.sent) < 10_000  # of 50,000
    batches.close()


def test_without_tokens_for_the_paced_the_others_are_done_at_full_speed():
    world = always(CLOSED)
    engine = world.engine(rate_per_second=10)
    engine.submit(plan(range(1, 501), key="paced", address="10.1.1.1", is_paced=True))
    engine.submit(plan(range(1, 501), key="free", address="10.1.1.2"))
    began = world.now
    batches = engine.run()
    assert [result.key for result in next(batches)] == ["free"]
    assert world.now - began < 2
    batches.close()


def test_a_shortage_of_descriptors_makes_it_slower_and_never_wrong():
    internet = Internet(5, loss=0.0)
    world = FakeNetwork(internet, most_sockets=50)
    hosts = addresses(20)
    found = collect(submitted(world, hosts, **UNLIMITED))
    assert world.most_in_flight <= 50
    assert all(state == internet.truth(host, port) for host in hosts for port, state in states(found[host]).items())


def test_a_firewall_that_shuts_in_mid_scan_leaves_ports_filtered_and_never_closed():
    asked: Counter[str] = Counter()

    def shuts(host: str, port: int, now: float) -> Answer:
        asked[host] += 1
        return CLOSED if asked[host] <= 300 else None

    [result] = collect(submitted(FakeNetwork(shuts), ["10.1.1.1"], range(1, 1001), **UNLIMITED)).values()
    counts = Counter(one.state for one in result.probes)
    assert counts == {PortState.CLOSED: 300, PortState.FILTERED: 700}
    assert all(one.attempts >= 2 for one in result.probes if one.state is PortState.FILTERED)


@pytest.mark.parametrize("per_second", [15, 100, 600])
@pytest.mark.parametrize("filtered_share", [0.0, 0.4])
def test_a_host_that_limits_rates_is_found_out_port_by_port(per_second, filtered_share):
    chance = random.Random(per_second)
    filtered = {port for port in range(1, 601) if chance.random() < filtered_share}
    bucket = RateLimit(per_second)

    def limits(host: str, port: int, now: float) -> Answer:
        if port in filtered:
            return None
        if not bucket.takes_one(now=now):
            return None
        return 0.02, 0 if port % 50 == 0 else errno.ECONNREFUSED

    world = FakeNetwork(limits)
    [result] = collect(submitted(world, ["10.1.1.1"], range(1, 601), **UNLIMITED)).values()
    said = {port for port, state in states(result).items() if state == "filtered"}
    assert said == filtered
    # All answers, and three questions to each silent port, at the limit; half as much again, and the time to notice.
    assert world.now - 1000 < 1.5 * (600 + 2 * len(filtered)) / per_second + 10


def test_a_limited_host_holds_up_nobody():
    def limits_one(host: str, port: int, now: float) -> Answer:
        return CLOSED if host != "10.0.0.0" or now - 1000 > port * 0.1 else None

    world = FakeNetwork(limits_one)
    order = list(collect(submitted(world, addresses(50), **UNLIMITED)))
    assert order[-1] == "10.0.0.0"
    assert {host for _, host, _ in world.sent[-50:]} == {"10.0.0.0"}


def test_ten_million_pairs_are_begun_lazily_and_cancelled_at_once():
    world = always(CLOSED)
    engine = submitted(world, addresses(153), range(1, 65536), **UNLIMITED)
    batches = engine.run()
    sent = 0

    def cancels(host: str, port: int, now: float) -> Answer:
        nonlocal sent
        sent += 1
        if sent == 10_000:
            engine.cancel()
        return CLOSED

    world.script = cancels
    found = Counter(one.state for batch in batches for result in batch for one in result.probes)
    assert found.total() == 153 * 65535
    assert found.keys() == {PortState.CLOSED, PortState.NOT_TESTED}
    assert len(world.sent) < 10_000 + 512  # the turn it came in


@pytest.mark.parametrize("at", [1, 2, 999, 1000])
def test_a_cancel_in_the_first_and_in_the_last_moment_reports_every_port_once(at):
    world = always(CLOSED)
    engine = submitted(world, addresses(10), **UNLIMITED)

    def cancels(host: str, port: int, now: float) -> Answer:
        if len(world.sent) == at:
            engine.cancel()
        return CLOSED

    world.script = cancels
    found = collect(engine)
    assert [len(result.probes) for result in found.values()] == [100] * 10
    assert {one.state for result in found.values() for one in result.probes} <= {PortState.CLOSED, PortState.NOT_TESTED}
    assert not world.sockets


def test_results_come_as_hosts_are_done_and_their_times_ascend():
    world = FakeNetwork(Internet(11, loss=0.0))
    results = list(collect(submitted(world, addresses(100), **UNLIMITED)).values())
    assert all(a.finished_at <= b.finished_at for a, b in pairwise(results))
