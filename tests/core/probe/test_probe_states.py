"""Each state of a port, met for real on the loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from scans.core.probe.sockets import MET_ITSELF, outcome
from scans.core.types import PortState
from tests.core.probe.driving import collect, engine_for, plan, probe, states
from tests.servers import listening, refusing, resetting, silent

LOOPBACKS = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


@LOOPBACKS
def test_open_closed_and_filtered_are_told_apart(address):
    with listening(address) as opened, refusing(address) as closed, silent(address) as dropped:
        result = probe(plan([closed, opened, dropped.port], address=address))["host"]
    found = {probe.port: probe for probe in result.probes}
    assert found[opened][1:4] == (PortState.OPEN, "syn-ack", 1)
    assert found[closed][1:4] == (PortState.CLOSED, "conn-refused", 1)
    assert found[dropped.port][1:] == (PortState.FILTERED, "timeout", 2, None)
    assert 0 <= found[opened].latency_ms < 1000
    assert result.started_at <= result.finished_at


@LOOPBACKS
def test_a_port_that_accepts_and_resets_is_open(address):
    with resetting(address) as port:
        for _ in range(20):  # the reset comes sometimes before and sometimes after the engine looks
            assert states(probe(plan([port], address=address))["host"]) == {port: "open"}


def test_a_connection_reset_before_it_was_looked_at_is_open():
    with resetting() as port, socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        time.sleep(0.1)
        error = sock.connect_ex(("127.0.0.1", port))
        assert error != 0
        assert outcome(sock, error).state is PortState.OPEN


def test_a_socket_that_connected_to_itself_is_no_open_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert sock.connect_ex(sock.getsockname()) == 0
        assert outcome(sock, 0) is MET_ITSELF


def test_a_lost_syn_is_sent_again_and_the_port_found_open():
    with silent() as server:
        timer = threading.Timer(0.3, server.release)
        timer.start()
        found = probe(plan([server.port]))["host"].probes[0]
        timer.join()
    assert (found.state, found.attempts) == (PortState.OPEN, 2)
    assert found.latency_ms < 500  # of the attempt that was answered, not since the first


def test_all_ports_of_an_address_and_exactly_the_listeners_are_open():
    address = "127.66.3.9"
    with ExitStack() as stack:
        known = {stack.enter_context(listening(address)) for _ in range(7)}
        with others_listening() as others:
            began = time.process_time()
            result = probe(plan(range(1, 65536), address=address), per_host=512)["host"]
            worked = time.process_time() - began
    found = {probe.port for probe in result.probes if probe.state is PortState.OPEN}
    assert known <= found
    assert found - known <= others
    undecided = {probe.port for probe in result.probes if probe.state not in (PortState.OPEN, PortState.CLOSED)}
    assert undecided <= others, "theirs may be silent: their queue is full"
    assert [probe.port for probe in result.probes] == list(range(1, 65536))
    assert worked < 30  # about 1.3 s, whatever others do; at 1 ms a probe it would be 65


def test_many_addresses_each_with_its_own_truth():
    addresses = [f"127.66.{a}.{b}" for a in range(4, 8) for b in range(1, 76)]
    with ExitStack() as stack:
        opened = {address: stack.enter_context(listening(address)) for address in addresses[::30]}
        ports = sorted(opened.values())
        found = probe(*[plan(ports, key=address, address=address) for address in addresses])
    assert found.keys() == set(addresses)
    for address, result in found.items():
        its_own = {opened[address]} if address in opened else set()
        assert {port for port, state in states(result).items() if state == "open"} == its_own


def test_a_port_named_twice_is_probed_once():
    with refusing() as port:
        engine = engine_for(plan([port, port, port]))
        assert states(collect(engine)["host"]) == {port: "closed"}
        assert engine.stats.sent == 1


def test_a_host_without_ports_is_done_at_once():
    assert probe(plan([]))["host"].probes == ()


def test_a_host_out_of_scope_sees_no_packet():
    with listening() as port:
        engine = engine_for(plan([port, port + 1]), may_connect=lambda address: False)
        found = collect(engine)["host"]
    assert [probe[1:] for probe in found.probes] == [(PortState.REFUSED, "scope", 0, None)] * 2
    assert engine.stats.sent == 0


def test_the_scope_is_asked_once_for_each_host_before_its_first_packet():
    asked = []
    with refusing() as port:
        plans = [plan([port], key=n, address=f"127.66.9.{n}") for n in range(1, 4)]
        collect(engine_for(*plans, may_connect=lambda address: asked.append(address) or True))
    assert sorted(asked) == [one.address for one in plans]


@pytest.mark.parametrize("ports", [[0], [65536], [-1, 80]])
def test_a_port_that_does_not_exist_is_refused_when_it_is_submitted(ports):
    with pytest.raises(ValueError, match="1 to 65535"):
        engine_for(plan(ports))


@contextmanager
def others_listening() -> Iterator[set[int]]:
    """Ports on which others of this machine listen on every address, at any time in the block, and so on ours, too."""
    found, is_over = _listening_on_every_address(), threading.Event()

    def look() -> None:
        while not is_over.wait(0.2):
            found.update(_listening_on_every_address())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        is_over.set()
        looking.join()
        found.update(_listening_on_every_address())


def _listening_on_every_address() -> set[int]:
    """From /proc: on 0.0.0.0 or ::."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, _, port = line.split()[1].partition(":")
            if line.split()[3] == "0A" and not address.strip("0"):
                found.add(int(port, 16))
    return found
