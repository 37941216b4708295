"""Plans that the engine pulls by itself: as few as it needs, from a list that may grow, end, or break."""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from scans.core.options import ProbeOptions
from scans.core.probe import EngineClosedError, HostPlan, ProbeEngine
from scans.core.probe.engine import TURN_BURST
from scans.core.probe.feed import ASK_AGAIN_SECONDS, MOST_PORTS, READY_HOSTS
from scans.core.types import PortState
from tests.core.probe.driving import open_descriptors, plan, states
from tests.core.probe.test_probe_scripted import CLOSED, UNLIMITED, always
from tests.servers import refusing, silent

THOUSAND = tuple(range(1, 1001))


class Pulled:
    """Counts the plans that were taken."""

    def __init__(self, plans: Iterable[HostPlan | None]) -> None:
        self.count = 0
        self._plans = plans

    def __iter__(self) -> Iterator[HostPlan | None]:
        for one in self._plans:
            self.count += 1
            yield one


def hosts(count: int, ports=THOUSAND, **more) -> Iterator[HostPlan]:
    return (plan(ports, key=n, address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", **more) for n in range(count))


def test_an_iterator_of_plans_is_probed_to_its_end_and_needs_no_finish():
    engine = ProbeEngine(ProbeOptions(), may_connect=lambda address: True)
    with refusing() as closed:
        found = {one.key: states(one) for batch in engine.run(plan([closed], key=n) for n in range(300)) for one in batch}
    assert found == {key: {closed: "closed"} for key in range(300)}
    with pytest.raises(EngineClosedError):
        engine.submit(plan([1]))


def test_an_empty_iterator_ends_the_run():
    assert list(always(CLOSED).engine().run([])) == []


def test_ten_million_pairs_are_begun_at_once_and_few_are_held():
    world = always(CLOSED)
    engine, pulled = world.engine(**UNLIMITED), Pulled(hosts(10_000))
    finished, ahead, pulled_at_first = 0, 0, []
    world.script = lambda host, port, now: pulled_at_first.append(pulled.count) or CLOSED
    for batch in engine.run(pulled):
        world.script = lambda host, port, now: CLOSED
        finished += sum(one.probes[0].state is PortState.CLOSED for one in batch)
        ahead = max(ahead, pulled.count - finished)
        if finished >= 300:
            engine.cancel()
    assert pulled_at_first[0] == READY_HOSTS
    assert finished >= 300
    assert ahead < 1000
    assert pulled.count < finished + 1000
    assert engine.stats.hosts_waiting == 0
    assert not world.sockets


def test_what_is_finished_is_let_go_however_long_the_list_is():
    class Key:
        pass

    alive: weakref.WeakSet[Key] = weakref.WeakSet()

    def endless() -> Iterator[HostPlan]:
        for one in hosts(10_000, (1, 2)):
            key = Key()
            alive.add(key)
            yield plan(one.ports, key=key, address=str(one.address))

    world, most, finished = always(CLOSED), 0, 0
    for batch in world.engine(rate_per_second=0, max_inflight=500, per_host=0).run(endless()):
        finished += len(batch)
        most = max(most, len(alive))
    assert finished == 10_000
    assert most <= 500 + 2 * READY_HOSTS + 512  # in flight, ready, and the batch itself


def test_one_port_of_many_hosts_fills_the_window():
    world = always((0.2, errno.ECONNREFUSED))
    found = sum(
        len(batch) for batch in world.engine(rate_per_second=0, max_inflight=3000, per_host=0).run(hosts(20_000, [443]))
    )
    assert found == 20_000
    assert world.most_in_flight == 3000


def test_of_giants_no_more_are_held_than_there_is_memory_for():
    world = always(None)
    engine, pulled = world.engine(**UNLIMITED), Pulled(hosts(1000, tuple(range(1, 65536))))
    world.script = lambda host, port, now: engine.cancel() if len(world.sent) == 20_000 else None
    list(engine.run(pulled))
    assert pulled.count == -(-MOST_PORTS // 65535)


def test_hosts_that_may_not_be_asked_yet_are_not_heaped_up():
    world = always(None)  # and the system has no source port for anybody: all of them rest
    world.denies = lambda host: errno.EADDRNOTAVAIL
    engine, pulled = world.engine(rate_per_second=0, max_inflight=50, per_host=0), Pulled(hosts(5000, [1]))
    batches = engine.run(pulled)
    next(batches)
    assert pulled.count <= 50 + 2 * READY_HOSTS
    batches.close()


def test_a_small_host_among_giants_is_done_before_them():
    world = always((0.05, errno.ECONNREFUSED))

    def mixed() -> Iterator[HostPlan]:
        yield from hosts(10, tuple(range(1, 5001)))
        yield plan([1, 2, 3], key="small", address="10.9.9.9")

    batches = world.engine(rate_per_second=0, max_inflight=500, per_host=100).run(mixed())
    assert [one.key for one in next(batches)] == ["small"]
    batches.close()


def test_the_list_may_grow_while_it_runs_and_is_asked_again_after_nothing_now():
    world, asked_at = always(CLOSED), []

    def grows() -> Iterator[HostPlan | None]:
        yield plan([1], key="early", address="10.0.0.1")
        for _ in range(5):
            asked_at.append(world.now)
            yield None
        yield plan([1], key="late", address="10.0.0.2")

    found = [one.key for batch in world.engine().run(grows()) for one in batch]
    assert found == ["early", "late"]
    gaps = [b - a for a, b in pairwise(asked_at)]
    assert all(ASK_AGAIN_SECONDS <= gap < 2 * ASK_AGAIN_SECONDS for gap in gaps)


def test_hosts_may_be_submitted_beside_the_iterator_until_it_ends():
    world = always(CLOSED)
    engine = world.engine()

    def plans() -> Iterator[HostPlan]:
        engine.submit(plan([1], key="beside", address="10.0.0.9"))
        yield from hosts(3, [1])

    assert {one.key for batch in engine.run(plans()) for one in batch} == {0, 1, 2, "beside"}


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_plan_that_cannot_be_meant_ends_the_run_with_its_reason_and_leaves_nothing_open(port):
    before = open_descriptors()
    engine = ProbeEngine(ProbeOptions(), may_connect=lambda address: True)
    with silent() as dropped, pytest.raises(ValueError, match="Ports run from 1 to 65535"):
        list(engine.run([plan([dropped.port], key=1), plan([80, port], key=2)]))
    assert open_descriptors() == before


def test_an_iterator_that_breaks_ends_the_run_with_its_error_and_leaves_nothing_open():
    def breaks() -> Iterator[HostPlan]:
        yield from hosts(3)
        raise LookupError("the list is gone")

    world = always((0.1, errno.ECONNREFUSED))
    with pytest.raises(LookupError, match="the list is gone"):
        list(world.engine().run(breaks()))
    assert not world.sockets


def test_after_a_cancel_nothing_more_is_pulled():
    world = always(CLOSED)
    engine, pulled = world.engine(), Pulled(hosts(10_000))
    engine.cancel()
    assert list(engine.run(pulled)) == []
    assert pulled.count == 0


def test_a_consumer_that_stops_pulling_stops_the_probes_and_the_plans():
    world = always(CLOSED)
    pulled = Pulled(hosts(10_000, [1, 2]))
    batches = world.engine(**UNLIMITED).run(pulled)
    next(batches)
    assert pulled.count <= 2 * TURN_BURST
    sent, taken = len(world.sent), pulled.count
    world.now += 3600
    next(batches)
    assert len(world.sent) - sent <= TURN_BURST  # an hour later it goes on with one turn
    assert pulled.count - taken <= TURN_BURST
    batches.close()
    assert not world.sockets
    assert world.in_flight == 0
