"""What went wrong once while such an engine was built, and must not again; mostly on a scripted network."""

from __future__ import annotations

import errno
import random
import time
from collections import Counter
from ipaddress import ip_address

import pytest

from scans.core.probe import HostPlan
from scans.core.probe import engine as engine_module
from scans.core.probe.budgets import FIRST_HOST_WINDOW, FIRST_WINDOW
from scans.core.probe.host import Host
from scans.core.probe.restraint import Restraint
from scans.core.probe.window import Window
from scans.core.types import PortState, Probe
from tests.core.probe.driving import collect, engine_for, plan, states
from tests.core.probe.fake_network import Answer, FakeNetwork, RateLimit
from tests.core.probe.test_probe_scripted import CLOSED, UNLIMITED, addresses, always, submitted
from tests.patience import PATIENCE
from tests.servers import refusing, silent

# -- Windows ------------------------------------------------------------------------------------------------------------


def test_the_first_burst_is_small_and_silence_opens_the_windows():
    world = always(None)
    engine = submitted(world, addresses(300), **UNLIMITED | {"max_inflight": 8000, "per_host": 512})
    in_flight_at_first: list[tuple[int, int]] = []

    def looks(host: str, port: int, now: float) -> Answer:
        if now < 1000 + engine_module.LEAST_SECONDS:  # before any silence can mean something
            in_flight_at_first.append((world.in_flight, world.of_host[host]))
        return None

    world.script = looks
    collect(engine)
    assert max(in_flight_at_first)[0] == FIRST_WINDOW
    assert max(of_host for _, of_host in in_flight_at_first) <= FIRST_HOST_WINDOW
    assert world.most_in_flight == 8000


def test_a_silent_host_is_asked_twice_as_much_after_each_silence():
    world = always(None)
    began = world.now
    [result] = collect(
        submitted(world, ["10.1.1.1"], range(1, 2001), rate_per_second=0, max_inflight=0, per_host=512)
    ).values()
    assert {one.attempts for one in result.probes} == {2}
    assert world.most_of_host["10.1.1.1"] == 512
    rounds = Counter(int((at - began) / 0.7) for at, _, _ in world.sent)
    assert [rounds[n] for n in range(3)] == [32, 64, 128]
    assert world.now - began < 4000 * 0.7 / FIRST_HOST_WINDOW / 4  # a window that stays as it began needs 87 s


def test_loss_does_not_close_a_window():
    chance = random.Random(4)
    world = FakeNetwork(lambda host, port, now: CLOSED if chance.random() > 0.1 else None)
    collect(submitted(world, addresses(40), range(1, 501), rate_per_second=0, max_inflight=0, per_host=64))
    assert min(world.most_of_host[host] for host in addresses(40)) >= 60


# -- Asking again -------------------------------------------------------------------------------------------------------


def host_with(ports: tuple[int, ...]) -> Host:
    made = Host(
        HostPlan(key="host", address=ip_address("127.0.0.1"), ports=ports, is_paced=False),
        ports=ports,
        window=Window(first=9, most=9),
    )
    made.begin(now=0.0)
    return made


def test_what_is_to_be_asked_again_goes_before_what_is_new_unless_it_was_answered_meanwhile():
    host = host_with((1, 2, 3, 4))
    assert [host.next_probe() for _ in range(2)] == [(0, 1), (1, 1)]
    host.retry(0, 2)
    host.retry(1, 2)
    host.settle(0, Probe(1, PortState.OPEN, "syn-ack", 1, 1.0))
    assert [host.next_probe() for _ in range(4)] == [(1, 2), (2, 1), (3, 1), None]


def test_under_restraint_every_fourth_probe_asks_again_while_there_are_new_ports():
    host = host_with(tuple(range(1, 8)))
    host.restraint = Restraint(per_second=100, now=0.0)
    assert host.next_probe() == (0, 1)
    for attempt in (2, 3, 4):
        host.retry(0, attempt)
    attempts = [host.next_probe()[1] for _ in range(9)]
    assert attempts == [1, 1, 1, 2, 1, 1, 1, 3, 4]  # all are asked: nothing else is left


def test_the_loop_asks_silent_ports_again_before_new_ones():
    world = always(None)
    collect(submitted(world, ["10.1.1.1"], range(1, 201), **UNLIMITED | {"per_host": 32}))
    ports = [port for _, _, port in world.sent]
    assert ports[:64] == [*range(1, 33), *range(1, 33)]


# -- Shortages ----------------------------------------------------------------------------------------------------------


def test_without_a_source_port_towards_one_host_it_rests_and_the_others_go_on():
    world = always(CLOSED)
    denied: list[float] = []

    def denies(host: str) -> int:
        if host != "10.0.0.0" or world.now > 1002:
            return 0
        denied.append(world.now)
        return errno.EADDRNOTAVAIL

    world.denies = denies
    engine = submitted(world, addresses(20), **UNLIMITED)
    order = list(collect(engine).values())
    assert {one[1:4] for result in order for one in result.probes} == {(PortState.CLOSED, "conn-refused", 1)}
    assert order[-1].key == "10.0.0.0"
    assert {host for at, host, _ in world.sent if at > 1001} == {"10.0.0.0"}
    assert len(denied) <= 2 / engine_module.REST_SECONDS + 1  # it does not try again and again
    assert (engine.stats.sent, engine.stats.retried) == (2000, 0)


def test_a_host_that_lacks_source_ports_for_longer_while_it_has_some_is_no_error():
    world = FakeNetwork(lambda host, port, now: (20.0 if port == 1 else 0.01, errno.ECONNREFUSED))
    world.denies = lambda host: errno.EADDRNOTAVAIL if world.sent and world.now < 1000.6 else 0
    [result] = collect(submitted(world, ["10.0.0.0"], range(1, 11), attempts=1, **UNLIMITED)).values()
    assert Counter(one.state for one in result.probes) == {PortState.CLOSED: 9, PortState.FILTERED: 1}


def test_without_buffers_fewer_are_in_flight_for_a_while_and_nothing_is_lost():
    world = always((0.2, errno.ECONNREFUSED))
    world.denies = lambda host: errno.ENOBUFS if world.now < 1002 and world.in_flight >= 40 else 0
    engine = submitted(world, addresses(10), **UNLIMITED)
    found = [one for result in collect(engine).values() for one in result.probes]
    assert {one[1:4] for one in found} == {(PortState.CLOSED, "conn-refused", 1)}
    assert len(found) == engine.stats.sent == 1000
    early = [at for at, _, _ in world.sent if at < 1002]
    assert len(early) <= 40 * 11
    assert world.most_in_flight > 40  # once there are buffers the window opens again


def test_without_any_buffer_the_ports_are_an_error_in_the_end():
    world = always(CLOSED)
    world.denies = lambda host: errno.ENOBUFS
    [result] = collect(submitted(world, ["10.0.0.0"], range(1, 4))).values()
    assert {one[1:4] for one in result.probes} == {(PortState.ERROR, "ENOBUFS", 0)}
    assert engine_module.STARVED_SECONDS < world.now - 1000 < engine_module.STARVED_SECONDS + 1


# -- Events -------------------------------------------------------------------------------------------------------------


class CountingNetwork(FakeNetwork):
    """Remembers how many events each look brought."""

    looks: list[int]

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        events = super().poll(timeout, maxevents)
        self.looks.append(len(events))
        return events


def test_more_answers_than_one_look_can_take_are_all_taken_before_any_silence_is_believed():
    def stalls(host: str, port: int, now: float) -> Answer:
        if len(world.sent) == 30_000:
            world.now += 100  # the machine stands still: whatever is in flight is overdue, and answered
            return 0.0, errno.ECONNREFUSED
        return 0.2, errno.ECONNREFUSED

    world = CountingNetwork(stalls)
    world.looks = []
    engine = submitted(world, addresses(400), range(1, 151), rate_per_second=0, max_inflight=16_000, per_host=0)
    found = Counter(one[1:4] for result in collect(engine).values() for one in result.probes)
    assert found == {(PortState.CLOSED, "conn-refused", 1): 60_000}
    assert (engine.stats.sent, engine.stats.retried) == (60_000, 0)
    full = [n for n, count in enumerate(world.looks) if count == engine_module.MAX_EVENTS]
    assert len(full) >= 2


def test_sockets_that_are_parked_do_not_wake_the_loop():
    with silent("127.66.15.1") as dropped, refusing("127.66.15.1") as closed:
        ports = [dropped.port, closed, *range(1, 300)]
        engine = engine_for(plan(ports, address="127.66.15.1"), attempts=8)  # the silent one is asked for a second at least
        batches, began = engine.run(), time.monotonic()
        [[result]] = list(batches)
        took = time.monotonic() - began
    assert next(one for one in result.probes if one.port == dropped.port).attempts == 8
    assert took < PATIENCE
    # A turn for each burst, each wait of the silent port, and each time the sleep is over; one that spins makes thousands.
    assert engine.stats.turns <= 60 + 2 * took / engine_module.LONGEST_SLEEP_SECONDS


# -- Limits and loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_second", [20, 200])
def test_a_host_that_limits_only_its_refusals_is_found_out_port_by_port(per_second):
    opened, filtered = set(range(7, 601, 40)), set(range(5, 601, 60))
    bucket = RateLimit(per_second)

    def limits(host: str, port: int, now: float) -> Answer:
        if port in opened:
            return 0.02, 0
        if port in filtered:
            return None
        if not bucket.takes_one(now=now):
            return None
        return 0.02, errno.ECONNREFUSED

    world = FakeNetwork(limits)
    [result] = collect(submitted(world, ["10.1.1.1"], range(1, 601), **UNLIMITED)).values()
    truth = dict.fromkeys(range(1, 601), "closed") | dict.fromkeys(opened, "open") | dict.fromkeys(filtered, "filtered")
    assert states(result) == truth
    assert world.now - 1000 < 1.5 * (600 + 2 * len(filtered)) / per_second + 10


def let_go_after(dropped_at) -> int | None:
    """How many periods a Restraint keeps a host that drops this share of questions, by how many it is asked a second."""
    restraint, now, next_index = Restraint(per_second=2000, now=0.0), 0.0, 0
    for period in range(60):
        granted = 0
        for _ in range(11):
            now += 0.05
            granted += restraint.take(1000, now=now, is_all_asked=False)
        dropped = dropped_at(granted / 0.55)
        for index in range(next_index, next_index + granted):
            if (index - next_index) >= granted * dropped:
                restraint.heard(index, sent_at=now, now=now)
                continue
            restraint.is_believed(index, sent_at=now, now=now)
            if (index - next_index) >= granted * dropped * dropped:
                restraint.heard(index, sent_at=now, now=now)
            else:
                restraint.is_believed(index, sent_at=now, now=now)
        next_index += granted
        if restraint.is_over:
            return period
    return None


def test_a_host_that_drops_as_much_however_slowly_it_is_asked_is_let_go_and_a_limit_is_not():
    vain = let_go_after(lambda asked_per_second: 0.45)
    assert vain is not None
    assert vain >= 3  # no cut is below a half: four times slower takes three at least
    assert let_go_after(lambda asked_per_second: max(0.0, 1 - 150 / max(asked_per_second, 1))) is None


def test_a_very_lossy_path_to_one_host_does_not_slow_it_to_the_floor():
    chance = random.Random(2)
    world = FakeNetwork(lambda host, port, now: (0.02, errno.ECONNREFUSED) if chance.random() > 0.4 else None)
    collect(submitted(world, ["10.1.1.1"], range(1, 6001), **UNLIMITED))
    assert world.now - 1000 < 60


# -- Endings ------------------------------------------------------------------------------------------------------------


def test_hosts_that_are_dropped_keep_what_is_known_and_the_others_go_on():
    def answers(host: str, port: int, now: float) -> Answer:
        if len(world.sent) == 250:
            engine.drop(["10.0.0.0", "10.0.0.3", "nobody"])
        return CLOSED if port <= 50 else None

    world = FakeNetwork(answers)
    engine = submitted(world, addresses(4), **UNLIMITED)
    found = collect(engine)
    for key in ("10.0.0.0", "10.0.0.3"):
        rest = Counter((one.state, one.reason) for one in found[key].probes if one.port > 50)
        assert rest == {(PortState.NOT_TESTED, "dropped"): 50}
        assert all(one.latency_ms is None for one in found[key].probes if one.state is PortState.NOT_TESTED)
    for key in ("10.0.0.1", "10.0.0.2"):
        assert Counter(states(found[key]).values()) == {"closed": 50, "filtered": 50}
    assert engine.stats.hosts_waiting == 0
    assert not world.sockets


def test_each_host_has_a_deadline_of_its_own_from_its_first_probe():
    world = always(None)
    engine = world.engine(attempts=100, **UNLIMITED)
    for seconds in (4.0, 0.3, 1.5):
        engine.submit(plan([1, 2], key=seconds, address="10.1.1.1", deadline_seconds=seconds))
    engine.submit(plan([1, 2], key="none", address="10.1.1.2"))
    engine.finish()
    ends = {}
    for batch in engine.run():
        for result in batch:
            ends[result.key] = world.now - 1000
            assert {one.reason for one in result.probes} == {"timeout" if result.key == "none" else "deadline"}
    assert list(ends) == [0.3, 1.5, 4.0, "none"]
    for seconds in (0.3, 1.5, 4.0):
        assert seconds <= ends[seconds] < seconds + engine_module.LONGEST_SLEEP_SECONDS


# -- No way there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EHOSTUNREACH])
def test_a_family_without_a_route_is_unreachable_at_once_and_holds_up_nobody(error):
    world = always(CLOSED)
    world.denies = lambda host: error if ":" in host else 0
    plans = plan(range(1, 2001), key="without", address="2001:db8::1"), plan(range(1, 101), key="with", address="10.0.0.1")
    engine = engine_for(*plans, network=world.network)
    found = collect(engine)
    assert {one[1:] for one in found["without"].probes} == {(PortState.UNREACHABLE, "no-route", 1, None)}
    assert set(states(found["with"]).values()) == {"closed"}
    assert world.now - 1000 < 1  # nothing is waited for
    assert engine.stats.retried == 0
    assert engine.stats.rtt_seconds == pytest.approx(0.01, rel=0.5)  # what the machine itself says is no answer
    assert not world.sockets


def test_a_consumer_that_stops_pulling_costs_no_answer_and_one_that_leaves_is_told_of_nothing_more():
    world = FakeNetwork(lambda host, port, now: (0.01 if host == "10.0.0.0" else 0.2, errno.ECONNREFUSED))
    batches = submitted(world, addresses(3), attempts=1, **UNLIMITED).run()
    assert [result.key for result in next(batches)] == ["10.0.0.0"]
    world.now += 24 * 3600
    [two] = list(batches)
    assert {one[1:4] for result in two for one in result.probes} == {(PortState.CLOSED, "conn-refused", 1)}
    left = submitted(world, addresses(3), **UNLIMITED)
    batches = left.run()
    next(batches)
    batches.close()
    assert world.in_flight == 0
    assert not world.sockets
