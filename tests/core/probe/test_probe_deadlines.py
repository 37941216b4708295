"""Deadlines of a batch and of a whole run, and what is known when they come; mostly on a clock of the script's own."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from scans.core.probe import HostPlan
from scans.core.probe import engine as engine_module
from scans.core.probe.network import Network
from scans.core.types import PortState
from tests.core.probe.driving import collect, engine_for, plan, states
from tests.core.probe.fake_network import Answer, FakeNetwork
from tests.core.probe.test_probe_scripted import CLOSED, PORTS, UNLIMITED, addresses, always, submitted
from tests.fakes import wait_until
from tests.patience import PATIENCE
from tests.servers import listening, refusing, silent

UNDECIDED = (PortState.NOT_TESTED, "deadline")


def test_at_the_deadline_of_a_run_every_host_comes_back_with_what_is_known_of_it():
    world = FakeNetwork(lambda host, port, now: CLOSED if port <= 50 else None)
    engine = submitted(world, addresses(20), attempts=1000, **UNLIMITED)
    found = [result for batch in engine.run(deadline_seconds=2.0) for result in batch]
    assert 2.0 <= world.now - 1000 < 2.0 + engine_module.LONGEST_SLEEP_SECONDS
    assert len(found) == 20
    for result in found:
        assert all(one.state is PortState.CLOSED for one in result.probes[:50])
        assert {(one.state, one.reason) for one in result.probes[50:]} == {UNDECIDED}
        assert min(one.attempts for one in result.probes[50:]) >= 1  # it says how often they were asked
    assert not world.sockets


def test_the_deadline_of_a_run_holds_on_the_loopback_and_keeps_what_was_found():
    now, found = [1000.0], []
    with silent() as dropped, refusing() as closed, listening() as opened:
        engine = engine_for(plan([opened, closed, dropped.port]), network=Network(clock=lambda: now[0]))
        thread = threading.Thread(target=lambda: found.extend(engine.run(deadline_seconds=0.5)), daemon=True)
        thread.start()
        assert wait_until(lambda: len(engine.partial("host") or ()) == 2)
        now[0] += 0.6  # the silent port would be asked again after 0.7 s
        thread.join(PATIENCE)
    [[result]] = found
    assert states(result) == {opened: "open", closed: "closed", dropped.port: "not_tested"}


def test_plans_that_were_not_pulled_before_the_deadline_never_are():
    pulled = []

    def endless() -> Iterator[HostPlan]:
        n = 0
        while True:
            pulled.append(world.now)
            yield plan([1], key=n, address=f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}")
            n += 1

    world = always((0.1, errno.ECONNREFUSED))
    found = [one for batch in world.engine(max_inflight=50).run(endless(), deadline_seconds=3.0) for one in batch]
    assert len(found) == len(pulled)
    assert max(pulled) <= 1003.0
    assert {one.probes[0][1:3] for one in found} == {(PortState.CLOSED, "conn-refused"), UNDECIDED}


def test_a_consumer_that_was_slow_beyond_the_deadline_still_gets_the_answers_that_had_come():
    world = FakeNetwork(lambda host, port, now: (0.01 if port == 1 else 0.3, errno.ECONNREFUSED))
    plans = plan([1], key="first", address="10.0.0.2"), plan(range(2, 12), key="late", address="10.0.0.1")
    engine = engine_for(*plans, network=world.network)
    batches = engine.run(deadline_seconds=5.0)
    assert [result.key for result in next(batches)] == ["first"]
    world.now += 100
    [[late]] = list(batches)
    assert Counter(states(late).values()) == {"closed": 10}


def test_no_probe_leaves_after_the_deadline():
    world = FakeNetwork(lambda host, port, now: CLOSED if host == "10.0.0.9" else None)
    plans = plan([1], key="quick", address="10.0.0.9"), plan(PORTS, key="silent", address="10.0.0.1", is_paced=True)
    batches = engine_for(*plans, network=world.network, rate_per_second=10).run(deadline_seconds=1.0)
    assert [result.key for result in next(batches)] == ["quick"]
    world.now += 100  # a slow consumer: all are overdue, and some were never asked
    sent = len(world.sent)
    [[late]] = list(batches)
    assert {(one.state, one.reason) for one in late.probes} == {UNDECIDED}
    assert len(world.sent) == sent


def test_a_batch_has_a_deadline_of_its_own_which_hosts_that_never_began_share():
    world = always(None)
    engine = world.engine(attempts=1000, rate_per_second=1)
    for n, address in enumerate(addresses(30)):
        engine.submit(plan(PORTS, key=("batch", n), address=address, ends_at=1002.0, is_paced=True))
    engine.submit(plan([1], key="other", address="10.9.9.9", deadline_seconds=5.0))
    engine.finish()
    ends: dict[object, float] = {}
    for batch in engine.run():
        for result in batch:
            ends[result.key] = world.now
            assert {(one.state, one.reason) for one in result.probes} == {UNDECIDED}
            assert len(result.probes) == (1 if result.key == "other" else len(PORTS))
    assert ends.pop("other") > 1005.0
    assert len(ends) == 30
    assert all(1002.0 <= at < 1002.0 + engine_module.LONGEST_SLEEP_SECONDS for at in ends.values())


@pytest.mark.parametrize(("own", "batch", "ends"), [(1.0, 1003.0, 1001.0), (5.0, 1003.0, 1003.0)])
def test_of_two_deadlines_the_earlier_counts(own, batch, ends):
    world = always(None)
    engine = engine_for(plan([1], deadline_seconds=own, ends_at=batch), network=world.network, attempts=1000)
    assert collect(engine)["host"].probes[0][1:3] == UNDECIDED
    assert ends <= world.now < ends + engine_module.LONGEST_SLEEP_SECONDS


def test_a_host_whose_batch_is_over_sees_no_packet():
    world = always(CLOSED)
    found = collect(engine_for(plan([1, 2], ends_at=999.0), network=world.network))["host"]
    assert [one[1:4] for one in found.probes] == [(*UNDECIDED, 0)] * 2
    assert world.sent == []


def test_what_is_known_so_far_can_be_asked_for_while_it_runs():
    seen: list[object] = []

    def looks(host: str, port: int, now: float) -> Answer:
        if len(world.sent) == 150:
            seen.extend((engine.partial("10.0.0.0"), engine.partial("nobody")))
        return CLOSED if port <= 50 else None

    world = FakeNetwork(looks)
    engine = submitted(world, ["10.0.0.0"], **UNLIMITED)
    assert engine.partial("10.0.0.0") == ()
    found = collect(engine)["10.0.0.0"].probes
    assert seen == [found[:50], None]
    assert engine.partial("10.0.0.0") is None
