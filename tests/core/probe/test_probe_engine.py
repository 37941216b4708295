"""What the engine promises its caller: cancel, deadlines, growth, order, and nothing left open."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.core.options import ProbeOptions
from scans.core.probe import EngineClosedError, ProbeEngine
from scans.core.probe import engine as engine_module
from scans.core.probe.network import Network
from scans.core.types import PortState
from tests import fakes
from tests.core.probe.driving import collect, engine_for, open_descriptors, plan, probe, states
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import listening, refusing, silent

pytestmark = pytest.mark.usefixtures("each_poller")


def idle_engine(**options) -> ProbeEngine:
    return ProbeEngine(ProbeOptions(**options), may_connect=lambda address: True)


def in_thread(engine: ProbeEngine) -> tuple[threading.Thread, list]:
    results: list = []
    thread = threading.Thread(target=lambda: [results.extend(batch) for batch in engine.run()], daemon=True)
    thread.start()
    return thread, results


def wait_until(claim) -> None:
    assert fakes.wait_until(claim)


def connections_to(port: int) -> int:
    """How many of them both sides have agreed to."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in map(str.split, lines))


def test_cancel_from_another_thread_ends_the_run_at_once_and_every_host_is_reported():
    with silent() as dropped, refusing() as closed:
        ports = list(range(1, 20001))
        engine = engine_for(
            plan([dropped.port, closed], key="begun"),
            *[plan(ports, key=n, address=f"127.66.8.{1 + n}", is_paced=True) for n in range(50)],
            rate_per_second=1000,
            attempts=10_000,  # or "begun" might be done before anybody looks
        )
        thread, results = in_thread(engine)
        wait_until(lambda: engine.progress("begun") == (1, 2))
        began = time.monotonic()
        engine.cancel()
        thread.join(PATIENCE)
        assert time.monotonic() - began < AT_ONCE  # at that rate the others need 1000 s
    found = {result.key: result for result in results}
    assert found.keys() == {"begun", *range(50)}
    assert states(found["begun"])[closed] == "closed"
    rest = next(one for one in found["begun"].probes if one.port == dropped.port)
    assert (rest.state, rest.reason, rest.latency_ms) == (PortState.NOT_TESTED, "cancelled", None)
    assert rest.attempts >= 1
    assert all(len(found[n].probes) == 20000 for n in range(50))
    assert engine.stats.in_flight == engine.stats.hosts_waiting == 0


def test_cancel_before_the_run_reports_every_host_untested():
    engine = engine_for(plan([2, 1], key="a"), plan([], key="b"))
    engine.cancel()
    found = collect(engine)
    assert [one[:4] for one in found["a"].probes] == [(n, PortState.NOT_TESTED, "cancelled", 0) for n in (1, 2)]
    assert found["b"].probes == ()
    assert engine.stats.sent == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 65535)))
def test_there_is_exactly_one_probe_for_each_planned_port_in_order(ports):
    engine = engine_for(plan(ports))
    engine.cancel()
    assert [one.port for one in collect(engine)["host"].probes] == sorted(set(ports))


def test_hosts_may_be_submitted_while_it_runs_from_several_threads():
    engine = idle_engine()
    thread, results = in_thread(engine)
    with refusing() as port:

        def submit(first: int) -> None:
            for n in range(first, first + 50):
                engine.submit(plan([port], key=n, address=f"127.66.10.{1 + n % 250}"))

        threads = [threading.Thread(target=submit, args=(first,)) for first in (0, 50, 100, 150)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        engine.finish()
        thread.join(PATIENCE)
    assert sorted(result.key for result in results) == list(range(200))
    assert {state for result in results for state in states(result).values()} == {"closed"}


def test_a_submit_wakes_a_sleeping_loop(monkeypatch):
    monkeypatch.setattr(engine_module, "LONGEST_SLEEP_SECONDS", AGES)
    engine = idle_engine()
    thread, results = in_thread(engine)
    with refusing() as port:
        wait_until(lambda: engine.stats.turns > 0)
        began = time.monotonic()
        engine.submit(plan([port]))
        wait_until(lambda: results)
        assert time.monotonic() - began < AT_ONCE
        engine.cancel()
        thread.join(PATIENCE)


def test_the_turn_counter_moves_while_there_is_nothing_to_do():
    engine = idle_engine()
    thread, _ = in_thread(engine)
    wait_until(lambda: engine.stats.turns > 0)
    before, began = engine.stats.turns, time.monotonic()
    wait_until(lambda: engine.stats.turns >= before + 4)
    turns = engine.stats.turns - before
    assert turns <= 2 + 2 * (time.monotonic() - began) / engine_module.LONGEST_SLEEP_SECONDS  # it does not spin
    engine.finish()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_no_host_is_taken_after_finish_or_after_the_end():
    engine = engine_for()
    with pytest.raises(EngineClosedError):
        engine.submit(plan([1]))
    cancelled = idle_engine()
    cancelled.cancel()
    cancelled.submit(plan([1]))  # not lost: the run reports it
    assert states(collect(cancelled)["host"]) == {1: "not_tested"}
    with pytest.raises(EngineClosedError):
        cancelled.submit(plan([1]))


def test_a_key_is_under_way_once():
    engine = idle_engine()
    engine.submit(plan([1]))
    with pytest.raises(ValueError, match="already under way"):
        engine.submit(plan([2]))


def test_it_runs_once():
    engine = engine_for()
    assert collect(engine) == {}
    with pytest.raises(RuntimeError, match="once"):
        collect(engine)


def test_a_slow_consumer_does_not_turn_an_answer_into_silence():
    now = [1000.0]
    with silent() as server, refusing() as closed:
        plans = plan([closed], key="first"), plan([server.port], key="second")
        batches = engine_for(*plans, network=Network(clock=lambda: now[0])).run()
        assert [result.key for result in next(batches)] == ["first"]
        before = connections_to(server.port)
        server.release()
        wait_until(lambda: connections_to(server.port) > before)  # the kernel repeats the SYN, after 1 s
        now[0] += 100  # the engine would have given up long ago
        [[result]] = list(batches)
    [found] = result.probes
    assert (found.state, found.attempts) == (PortState.OPEN, 1)


def test_one_port_of_one_host_does_not_wait_for_a_host_that_is_silent():
    with ExitStack() as stack:
        dropped = [stack.enter_context(silent("127.66.11.1")).port for _ in range(30)]
        closed = stack.enter_context(refusing("127.66.11.2"))
        engine = idle_engine(max_inflight=8, per_host=8, attempts=1000)
        engine.submit(plan(dropped, key="silent", address="127.66.11.1"))
        thread, results = in_thread(engine)
        wait_until(lambda: engine.stats.in_flight >= 8)
        began = time.monotonic()
        engine.submit(plan([closed], key="quick", address="127.66.11.2"))
        wait_until(lambda: results)
        assert time.monotonic() - began < AT_ONCE  # the silent one needs 30 x 1000 x 0.1 s / 8 at the least
        assert [result.key for result in results] == ["quick"]
        engine.cancel()
        thread.join(PATIENCE)


def test_a_host_past_its_deadline_keeps_what_is_known_and_the_rest_is_not_tested():
    with silent() as server, refusing() as closed:
        began = time.monotonic()
        found = probe(plan([closed, server.port], deadline_seconds=0.3))["host"]
        assert time.monotonic() - began >= 0.3
    rest = {one.port: one for one in found.probes}
    assert rest[closed].state is PortState.CLOSED
    assert rest[server.port][1:] == (PortState.NOT_TESTED, "deadline", 1, None)


def test_progress_counts_the_ports_that_have_a_state():
    with silent() as server, refusing() as closed:
        engine = engine_for(plan([server.port, closed], key="a"), plan([closed], key="b"))
        assert engine.progress("a") == (0, 2)
        batches = engine.run()
        assert [result.key for result in next(batches)] == ["b"]
        assert engine.progress("a") == (1, 2)
        assert engine.progress("b") is None
        batches.close()


def test_nothing_stays_open_after_the_end():
    before = open_descriptors()
    with listening() as opened, silent() as dropped:
        inside = open_descriptors()
        probe(plan([opened, dropped.port, *range(1, 300)]))
        assert open_descriptors() == inside
    assert open_descriptors() == before


def test_nothing_stays_open_when_the_caller_stops_early_or_the_policy_fails():
    def broken(address):
        raise LookupError("no policy")

    with silent() as dropped, refusing() as closed:
        before = open_descriptors()
        engine = engine_for(plan([closed], key=1), plan([dropped.port], key=2))
        batches = engine.run()
        next(batches)
        assert open_descriptors() > before
        batches.close()
        assert open_descriptors() == before
        with pytest.raises(EngineClosedError):
            engine.submit(plan([1], key=3))
        with pytest.raises(LookupError):
            collect(engine_for(plan([closed]), may_connect=broken))
        assert open_descriptors() == before


def test_an_idle_engine_gives_its_descriptors_back():
    engine = idle_engine()
    thread, results = in_thread(engine)
    with refusing() as port:
        wait_until(lambda: engine.stats.turns > 0)
        before = open_descriptors()
        engine.submit(plan([port, *range(1, 200)]))
        wait_until(lambda: results)
        wait_until(lambda: open_descriptors() <= before)
    engine.finish()
    thread.join(PATIENCE)
