"""The statistics of the engine: exact at the end, and telling while it runs."""

from __future__ import annotations

import errno
import random
from collections import Counter

import pytest

from scans.core.probe import ProbeStats
from scans.core.types import PortState
from tests.core.probe.driving import collect, engine_for, plan
from tests.core.probe.fake_network import Answer, FakeNetwork, RateLimit
from tests.core.probe.test_probe_scripted import CLOSED, PORTS, UNLIMITED, Internet, addresses, always, submitted


def counted(stats: ProbeStats) -> dict[PortState, int]:
    return {state: count for state, count in stats.states.items() if count}


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_at_the_end_every_planned_port_is_counted_under_the_state_it_came_out_with(loss):
    engine = submitted(FakeNetwork(Internet(3, loss=loss)), addresses(100), **UNLIMITED)
    found = Counter(one.state for result in collect(engine).values() for one in result.probes)
    stats = engine.stats
    assert counted(stats) == found
    assert {PortState.OPEN, PortState.CLOSED, PortState.FILTERED} == found.keys()
    assert stats.planned == found.total() == 10_000
    assert stats.in_flight == 0
    assert stats.sent >= stats.answered >= found[PortState.OPEN] + found[PortState.CLOSED]


@pytest.mark.parametrize("everywhere", [True, False])
def test_control_questions_are_not_counted(everywhere):
    world = FakeNetwork(lambda host, port, now: (0.01, 0) if everywhere or port <= 10 else CLOSED)
    engine = submitted(world, ["10.0.0.1"], range(1, 16), **UNLIMITED)
    assert collect(engine)["10.0.0.1"].answers_everywhere is everywhere
    opened = 15 if everywhere else 10
    assert counted(engine.stats) == {
        state: count for state, count in ((PortState.OPEN, opened), (PortState.CLOSED, 15 - opened)) if count
    }
    assert engine.stats.sent == 19


def test_ports_of_a_host_that_limits_rates_are_counted_once_though_their_silence_was_believed_before():
    bucket = RateLimit(100)
    seen: list[int] = []

    def limits(host: str, port: int, now: float) -> Answer:
        seen.append(engine.stats.states[PortState.FILTERED])
        return CLOSED if now > 1003 and bucket.takes_one(now=now) else None

    engine = submitted(FakeNetwork(limits), ["10.1.1.1"], range(1, 2001), rate_per_second=0, per_host=64)
    found = Counter(one.state for one in collect(engine)["10.1.1.1"].probes)
    assert max(seen) > min(seen[seen.index(max(seen)) :])  # some were believed silent, and asked again
    assert counted(engine.stats) == found


def test_what_was_given_up_is_counted_as_such():
    world = FakeNetwork(lambda host, port, now: CLOSED if port <= 50 else None)
    engine = submitted(world, addresses(3), attempts=1000, **UNLIMITED)
    list(engine.run(deadline_seconds=1.0))
    assert counted(engine.stats) == {PortState.CLOSED: 150, PortState.NOT_TESTED: 150}
    refused = engine_for(plan(PORTS), network=world.network, may_connect=lambda address: False)
    collect(refused)
    assert counted(refused.stats) == {PortState.REFUSED: 100}
    assert (refused.stats.sent, refused.stats.rtt_seconds) == (0, None)


def test_while_it_runs_they_tell_how_far_it_is_and_how_the_path_is():
    chance, seen = random.Random(1), []

    def answers(host: str, port: int, now: float) -> Answer:
        if len(world.sent) % 500 == 0:
            seen.append(engine.stats)
        return (0.05, errno.ECONNREFUSED) if chance.random() > 0.1 else None

    world = FakeNetwork(answers)
    engine = submitted(world, ["10.0.0.1"], range(1, 5001), rate_per_second=0, per_host=200)
    collect(engine)
    done = [sum(stats.states.values()) for stats in seen]
    assert len(seen) >= 10
    assert done == sorted(done)
    assert done[0] < done[-1] <= 5000
    assert {stats.planned for stats in seen} == {5000}
    assert all(0 < stats.in_flight <= 200 for stats in seen)
    assert seen[-1].rtt_seconds == pytest.approx(0.05, rel=0.2)
    assert 0.05 < seen[-1].loss < 0.2


def test_the_path_told_of_is_that_of_whom_more_was_heard():
    world = FakeNetwork(lambda host, port, now: (0.2 if host == "10.0.0.1" else 0.001, errno.ECONNREFUSED))
    plans = plan(range(1, 301), key="far", address="10.0.0.1", is_paced=True), plan([1], key="near", address="10.0.0.2")
    engine = engine_for(*plans, network=world.network)
    collect(engine)
    assert engine.stats.rtt_seconds == pytest.approx(0.2, rel=0.2)


def test_of_an_idle_engine_everything_is_nothing():
    stats = always(CLOSED).engine().stats
    assert (stats.planned, stats.sent, stats.in_flight, stats.rtt_seconds, stats.loss) == (0, 0, 0, None, 0.0)
    assert counted(stats) == {}
