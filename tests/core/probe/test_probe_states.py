"""Each state of a port, met for real on the loopback."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import SocketType

import pytest

from scans.core.probe.network import Network, new_socket
from scans.core.probe.patience import NOBODY_HEARD_SECONDS
from scans.core.probe.sockets import MET_ITSELF, outcome
from scans.core.types import PortState
from tests.core.probe.driving import collect, engine_for, plan, probe, states
from tests.patience import AGES, PATIENCE
from tests.servers import listening, refusing, resetting, silent

EACH_POLLER = pytest.mark.usefixtures("each_poller")
LOOPBACKS = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


@EACH_POLLER
@LOOPBACKS
def test_open_closed_and_filtered_are_told_apart(address):
    began = time.monotonic()
    with listening(address) as opened, refusing(address) as closed, silent(address) as dropped:
        result = probe(plan([closed, opened, dropped.port], address=address))["host"]
    found = {probe.port: probe for probe in result.probes}
    assert found[opened][1:4] == (PortState.OPEN, "syn-ack", 1)
    assert found[closed][1:4] == (PortState.CLOSED, "conn-refused", 1)
    assert found[dropped.port][1:] == (PortState.FILTERED, "timeout", 2, None)
    assert 0 <= found[opened].latency_ms <= (time.monotonic() - began) * 1000
    assert result.started_at <= result.finished_at


@EACH_POLLER
@LOOPBACKS
def test_a_port_that_accepts_and_resets_is_open(address):
    with resetting(address) as port:
        for _ in range(20):  # the reset comes sometimes before and sometimes after the engine looks
            assert states(probe(plan([port], address=address))["host"]) == {port: "open"}


def test_a_connection_reset_before_it_was_looked_at_is_open():
    with resetting() as port, socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        until_reset = select.poll()
        until_reset.register(sock, 0)  # errors are told unasked
        assert until_reset.poll(PATIENCE * 1000)
        error = sock.connect_ex(("127.0.0.1", port))
        assert error != 0
        assert outcome(sock, error).state is PortState.OPEN


def test_a_socket_that_connected_to_itself_is_no_open_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert sock.connect_ex(sock.getsockname()) == 0
        assert outcome(sock, 0) is MET_ITSELF


@EACH_POLLER
def test_a_lost_syn_is_sent_again_and_the_port_found_open():
    made = []

    def open_before_the_second(family: int) -> SocketType:
        if made:  # the first SYN is lost
            server.release()
        made.append(new_socket(family))
        return made[-1]

    with silent() as server:
        began = time.monotonic()
        found = probe(plan([server.port]), network=Network(new_socket=open_before_the_second))["host"].probes[0]
        took = time.monotonic() - began
    assert (found.state, found.attempts) == (PortState.OPEN, 2)
    # Of the attempt that was answered, not since the first.
    assert 0 <= found.latency_ms / 1000 <= took - NOBODY_HEARD_SECONDS


def test_all_ports_of_an_address_and_exactly_the_listeners_are_open(monkeypatch):
    monkeypatch.setattr("scans.core.probe.kept.MOST_OF_ONE_HOST", 1000)
    monkeypatch.setattr("scans.core.probe.kept.KEPT_SECONDS", AGES)
    address = "127.66.3.9"
    with ExitStack() as stack:
        known = {stack.enter_context(listening(address)) for _ in range(7)}
        with others_listening() as others:
            result = probe(plan(range(1, 65536), address=address, keep_open=True), per_host=512)["host"]
    found = {probe.port for probe in result.probes if probe.state is PortState.OPEN}
    assert known <= found
    met = {port for port, connection in result.connections.items() if was_connected(connection)}
    assert found - known <= others | met, "open, without a listener"
    undecided = {probe.port for probe in result.probes if probe.state not in (PortState.OPEN, PortState.CLOSED)}
    assert undecided <= others, "theirs may be silent: their queue is full"
    assert [probe.port for probe in result.probes] == list(range(1, 65536))


@EACH_POLLER
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


@EACH_POLLER
def test_a_port_named_twice_is_probed_once():
    with refusing() as port:
        engine = engine_for(plan([port, port, port]))
        assert states(collect(engine)["host"]) == {port: "closed"}
        assert engine.stats.sent == 1


@EACH_POLLER
def test_a_host_without_ports_is_done_at_once():
    assert probe(plan([]))["host"].probes == ()


@EACH_POLLER
def test_a_host_out_of_scope_sees_no_packet():
    with listening() as port:
        engine = engine_for(plan([port, port + 1]), may_connect=lambda address: False)
        found = collect(engine)["host"]
    assert [probe[1:] for probe in found.probes] == [(PortState.REFUSED, "scope", 0, None)] * 2
    assert engine.stats.sent == 0


@EACH_POLLER
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


def was_connected(connection: socket.socket) -> bool:
    """Whether somebody accepted it, though they may be gone since: what others listen on for a moment no list shows."""
    with connection:
        try:
            connection.recv(1)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.ECONNRESET)
    return True


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
    """From /proc: on 0.0.0.0 or ::. Listeners come first there; of the others there may be tens of thousands."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with Path(table).open() as lines:
            next(lines)
            for _, local, _, state, *_ in map(str.split, lines):
                if state != "0A":
                    break
                address, _, port = local.partition(":")
                if not address.strip("0"):
                    found.add(int(port, 16))
    return found
