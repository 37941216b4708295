"""Hosts that lie or hold back: they answer on every port, send what nobody asked for, or speak only so often."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import ExitStack
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.probe.controls import CONTROL_COUNT, answers_everywhere, control_ports, is_suspicious
from scans.core.probe.patience import PathEstimate
from scans.core.probe.restraint import LEAST_PER_SECOND, Restraint, is_limited
from scans.core.risk.completeness import port_doubts
from scans.core.types import AddressReport, PortState, Probe
from tests.core.probe.driving import collect, engine_for, open_descriptors, plan, probe, states
from tests.patience import AGES, PATIENCE
from tests.servers import listening, refusing, silent

EACH_POLLER = pytest.mark.usefixtures("each_poller")

# -- Answers everywhere -------------------------------------------------------------------------------------------------


def test_a_host_with_many_open_ports_and_closed_high_ports_does_not_answer_everywhere():
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.1")) for _ in range(12)]
        found = probe(plan(ports, address="127.66.14.1"))["host"]
    assert found.answers_everywhere is False
    assert states(found) == dict.fromkeys(ports, "open")  # the control ports are not among them


def test_a_host_with_few_open_ports_is_not_asked():
    with listening("127.66.14.2") as port, refusing("127.66.14.2") as closed:
        engine = engine_for(plan([port, closed], address="127.66.14.2"))
        assert collect(engine)["host"].answers_everywhere is None
    assert engine.stats.sent == 2


@pytest.mark.parametrize("count", [2, 9])
def test_a_host_of_which_all_of_a_few_ports_are_open_is_asked_and_an_ordinary_one_is_cleared(count):
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.9")) for _ in range(count)]
        engine = engine_for(plan(ports, address="127.66.14.9"))
        found = collect(engine)["host"]
    assert found.answers_everywhere is False
    assert engine.stats.sent == count + CONTROL_COUNT
    assert states(found) == dict.fromkeys(ports, "open")


def test_two_ports_are_enough_to_tell_a_host_that_answers_everywhere(monkeypatch):
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.10")) for _ in range(2 + CONTROL_COUNT)]
        monkeypatch.setattr("scans.core.probe.controls.HIGH_PORTS", ports[2:])
        found = probe(plan(ports[:2], address="127.66.14.10"))["host"]
    assert found.answers_everywhere is True
    assert states(found) == dict.fromkeys(ports[:2], "open")


def test_a_host_whose_every_port_is_open_answers_everywhere(monkeypatch):
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.3")) for _ in range(12 + CONTROL_COUNT)]
        monkeypatch.setattr("scans.core.probe.controls.HIGH_PORTS", ports[12:])  # all 45,000 would be too many to open
        found = probe(plan(ports[:12], address="127.66.14.3"))["host"]
    assert found.answers_everywhere is True
    assert len(found.probes) == 12


def test_a_deadline_before_the_control_ports_are_known_says_nothing(monkeypatch):
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.4")) for _ in range(12)]
        dropped = [stack.enter_context(silent("127.66.14.4")).port for _ in range(CONTROL_COUNT)]
        monkeypatch.setattr("scans.core.probe.controls.HIGH_PORTS", dropped)
        engine = engine_for(plan(ports, address="127.66.14.4", deadline_seconds=0.2))
        found = collect(engine)["host"]
    assert found.answers_everywhere is None
    assert states(found) == dict.fromkeys(ports, "open")


@given(st.sets(st.integers(1, 65535)))
def test_control_ports_are_high_and_were_not_planned(planned):
    controls = control_ports(planned)
    assert len(set(controls)) == CONTROL_COUNT
    assert not planned.intersection(controls)
    assert min(controls) >= 20_000


def test_where_every_port_is_planned_the_planned_ones_decide():
    assert control_ports(range(1, 65536)) == ()
    assert answers_everywhere((), open_count=65_000, asked_count=65_535)
    assert not answers_everywhere((), open_count=40_000, asked_count=65_535)
    assert not is_suspicious(open_count=400, asked_count=1000)


@pytest.mark.parametrize(
    ("open_count", "asked_count", "asks"),
    [
        (1, 1, False),
        (2, 2, True),
        (1, 2, False),
        (9, 9, True),
        (9, 10, False),
        (10, 10, True),
        (10, 20, True),
        (10, 21, False),
    ],
)
def test_many_open_ports_or_all_of_a_few_are_worth_the_question(open_count, asked_count, asks):
    assert is_suspicious(open_count=open_count, asked_count=asked_count) is asks


def test_the_report_says_that_a_host_answers_everywhere_and_only_then():
    probes = tuple(Probe(port, PortState.OPEN, "syn-ack", 1, 1.0) for port in range(1, 13))
    for known, words in ((True, True), (False, False), (None, False)):
        seen = AddressReport(address=ip_address("192.0.2.1"), is_global=True, probes=probes, answers_everywhere=known)
        assert any("every port accepts connections" in doubt for doubt in port_doubts([seen])) is words


# -- Open connections ---------------------------------------------------------------------------------------------------


@EACH_POLLER
def test_open_connections_are_handed_over_and_can_be_used():
    with socket.create_server(("127.66.14.5", 0)) as server, refusing("127.66.14.5") as closed:
        port = server.getsockname()[1]
        before = open_descriptors()
        found = probe(plan([port, closed], address="127.66.14.5", keep_open=True))["host"]
        accepted, _ = server.accept()
        with accepted, found.connections[port] as connection:
            accepted.sendall(b"SSH-2.0-Test\r\n")
            connection.settimeout(PATIENCE)
            assert connection.recv(100) == b"SSH-2.0-Test\r\n"
        assert list(found.connections) == [port]
        assert open_descriptors() == before


@EACH_POLLER
def test_without_being_asked_no_connection_is_kept_and_the_other_side_sees_a_reset():
    with socket.create_server(("127.66.14.6", 0)) as server:
        found = probe(plan([server.getsockname()[1]], address="127.66.14.6"))["host"]
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)
    assert found.connections == {}


def test_kept_connections_are_few_and_not_for_long(monkeypatch):
    monkeypatch.setattr("scans.core.probe.kept.MOST_OF_ONE_HOST", 2)
    monkeypatch.setattr("scans.core.probe.kept.KEPT_SECONDS", AGES)
    with ExitStack() as stack:
        ports = [stack.enter_context(listening("127.66.14.7")) for _ in range(4)]
        dropped = stack.enter_context(silent("127.66.14.7")).port
        found = probe(plan(ports, address="127.66.14.7", keep_open=True))["host"]
        assert len(found.connections) == 2
        for connection in found.connections.values():
            connection.close()
        monkeypatch.setattr("scans.core.probe.kept.KEPT_SECONDS", 0.1)  # the silent port holds the host up for longer
        before = open_descriptors()
        assert probe(plan([*ports, dropped], address="127.66.14.7", keep_open=True))["host"].connections == {}
        assert open_descriptors() == before


@EACH_POLLER
def test_connections_nobody_takes_are_closed_when_the_run_ends_early():
    with listening("127.66.14.8") as port, silent("127.66.14.8") as dropped, refusing() as closed:
        before = open_descriptors()
        engine = engine_for(
            plan([closed], key="a"), plan([port, dropped.port], key="b", address="127.66.14.8", keep_open=True)
        )
        batches = engine.run()
        next(batches)
        batches.close()
        assert open_descriptors() == before


@EACH_POLLER
def test_a_target_that_sends_a_megabyte_on_connect_is_open_and_costs_no_memory():
    with socket.create_server(("127.66.14.9", 0)) as server:
        was_reset = threading.Event()

        def pour() -> None:
            with server.accept()[0] as connection:
                connection.settimeout(PATIENCE)
                try:
                    connection.sendall(bytes(1 << 20))
                    connection.recv(1)
                except ConnectionError:  # reset, as it should be
                    was_reset.set()

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        found = probe(plan([server.getsockname()[1]], address="127.66.14.9"))["host"]
        thread.join(PATIENCE)
    assert states(found).popitem()[1] == "open"
    assert was_reset.is_set()


# -- Recycled sockets ---------------------------------------------------------------------------------------------------


@EACH_POLLER
@pytest.mark.parametrize("address", ["127.66.14.10", "::1"])
def test_a_socket_that_met_silence_finds_the_truth_about_the_next_ports(address):
    with ExitStack() as stack:
        dropped = [stack.enter_context(silent(address)).port for _ in range(20)]
        closed = [stack.enter_context(refusing(address)) for _ in range(20)]
        opened = [stack.enter_context(listening(address)) for _ in range(9)]
        before = open_descriptors()
        # Four in flight: each socket is used for silent and other ports in turn.
        found = states(probe(plan([*dropped, *closed, *opened], address=address), per_host=4, max_inflight=4)["host"])
        assert open_descriptors() == before
    truth = dict.fromkeys(dropped, "filtered") | dict.fromkeys(closed, "closed") | dict.fromkeys(opened, "open")
    assert found == truth


# -- Hosts that limit rates ---------------------------------------------------------------------------------------------


def path(answers: int, late: int) -> PathEstimate:
    estimate = PathEstimate()
    for n in range(answers):
        estimate.heard(attempt=2 if n < late else 1, latency_seconds=0.01)
    return estimate


@pytest.mark.parametrize(
    ("answers", "late", "crowd_late", "limited"),
    [
        (100, 40, 0, True),
        (20, 10, 0, True),
        (100, 4, 40, False),  # as much as everybody loses: chance
        (100, 8, 40, False),
        (5, 3, 0, False),  # too few to tell
        (100, 100, 1000, True),
        (100, 0, 0, False),
    ],
)
def test_late_answers_mean_a_limit_only_if_chance_does_not_explain_them(answers, late, crowd_late, limited):
    assert is_limited(path(answers, late), path(1000, crowd_late)) is limited


@pytest.mark.parametrize(
    ("answers", "late", "limited"), [(90, 27, True), (90, 2, False), (5000, 200, False), (5000, 1500, True)]
)
def test_a_host_alone_is_not_measured_by_its_own_late_answers(answers, late, limited):
    alone = path(answers, late)
    assert is_limited(alone, alone) is limited


class LimitedHost:
    """A host that answers at most so often, on a clock of its own; some of its ports never answer."""

    def __init__(self, *, per_second: float, count: int, filtered: int, loss: float, seed: int) -> None:
        self.chance = random.Random(seed)
        self.per_second, self.loss = per_second, loss
        self.tokens = self.most = max(5.0, per_second / 4)
        self.counted_at = 0.0
        self.filtered = set(self.chance.sample(range(count), filtered))

    def answers(self, index: int, now: float) -> bool:
        self.tokens = min(self.most, self.tokens + (now - self.counted_at) * self.per_second)
        self.counted_at = now
        if index in self.filtered or self.chance.random() < self.loss:
            return False
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def ask_all(host: LimitedHost, count: int, *, first_per_second: float) -> tuple[set[int], float]:
    """Drives a Restraint as the loop does: turns of 20 ms, answers after 10 ms, silence after 200 ms."""
    restraint = Restraint(per_second=first_per_second, now=0.0)
    new, again, in_flight = iter(range(count)), [], []
    asked, believed, open_left, now = 0, set(), count, 0.0
    while open_left and now < 600:
        now += 0.02
        for index, sent_at, answered in [one for one in in_flight if now >= one[1] + (0.01 if one[2] else 0.2)]:
            in_flight.remove((index, sent_at, answered))
            if answered:
                restraint.heard(index, sent_at=sent_at, now=now)
                open_left -= 1
            elif restraint.is_believed(index, sent_at=sent_at, now=now):
                believed.add(index)
                open_left -= 1
            else:
                again.append(index)
        is_all_asked = asked == count
        for _ in range(restraint.take(min(64, len(again) + count - asked), now=now, is_all_asked=is_all_asked)):
            if again and (asked == count or restraint.is_turn_to_ask_again()):
                index = again.pop(0)
            else:
                index, asked = next(new), asked + 1
            in_flight.append((index, now, host.answers(index, now)))
        if restraint.is_over:
            raise AssertionError(f"it gave up after {now:.1f} s")
    return believed, now


@pytest.mark.parametrize("first_per_second", [60, 400, 2000])
@pytest.mark.parametrize(("per_second", "filtered", "loss"), [(20, 0, 0), (50, 100, 0), (200, 0, 0.02), (200, 150, 0.04)])
def test_a_limited_host_is_understood_exactly_and_in_not_much_more_than_the_time_it_needs(
    per_second, filtered, loss, first_per_second
):
    for seed in range(3):
        host = LimitedHost(per_second=per_second, count=400, filtered=filtered, loss=loss, seed=seed)
        believed, took = ask_all(host, 400, first_per_second=first_per_second)
        assert believed == host.filtered
        ideal = (400 - filtered) / per_second + 3 * filtered / per_second
        assert took < 1.5 * ideal + 6


def test_a_restraint_is_never_slower_than_its_floor_and_never_grants_more_than_it_was_asked():
    restraint = Restraint(per_second=0, now=0.0)
    granted, now = 0, 0.0
    for _ in range(1000):
        now += 0.05
        step = restraint.take(1, now=now, is_all_asked=False)
        assert 0 <= step <= 1
        granted += step
    assert granted >= LEAST_PER_SECOND * now * 0.9


def test_a_host_that_falls_silent_for_good_is_let_go():
    restraint = Restraint(per_second=200, now=0.0)
    for n in range(200):
        restraint.is_believed(n, sent_at=n / 50, now=n / 50 + 0.2)
    assert restraint.is_over
