"""What the lane promises: limits, turns, deadlines, drops, an end at once, and nothing left open."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address

import pytest

from scans.core.types import IPAddress, PortState, Probe, ServiceState
from tests.core.fingerprint.asking import asked, lane, saying, service_of, services_of, serving
from tests.core.probe.driving import open_descriptors
from tests.fakes import wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import listening, public
from tests.threads import Room

SSH = b"SSH-2.0-OpenSSH_9.2p1\r\n"


def test_the_connection_that_the_probe_made_is_used_and_no_second_one_made():
    with serving(saying(SSH)) as server:
        connection = socket.create_connection(("127.0.0.1", server.port))
        service = service_of(server.port, connections={server.port: connection})
        assert service.product == "OpenSSH"
        assert server.count == 1
        assert connection.fileno() == -1


def test_ipv6_is_asked_like_ipv4():
    with serving(saying(SSH), "::1") as server:
        assert service_of(server.port, address="::1").protocol == "SSH"


def test_an_address_out_of_scope_gets_no_connection():
    with serving(saying(SSH)) as server, lane(may_connect=lambda address: False) as (running, emitted):
        running.ask(asked([server.port]))
        (service,) = emitted.get(timeout=PATIENCE).services
        assert (service.state, service.reason) == (ServiceState.FAILED, "no connection: out of scope")
        assert server.count == 0


@pytest.mark.parametrize("port", [9100, 9105, 502])
def test_where_bytes_could_do_harm_not_one_is_sent(port):
    heard: list[bytes] = []

    def printer(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            heard.append(data)

    with serving(printer, public(64), port) as server:
        service = service_of(port, address=public(64))
        assert wait_until(lambda: server.count == 1)
    assert (service.state, service.reason) == (ServiceState.NOT_ASKED, "nothing was sent: bytes could do harm on this port")
    assert heard == []


def test_at_most_so_many_conversations_with_one_host_at_once():
    room = Room()

    def counted(connection: socket.socket) -> None:
        with room:  # left before the answer: with it the next conversation may begin
            time.sleep(0.1)
        connection.sendall(SSH)
        while connection.recv(100):
            pass

    servers = [serving(counted) for _ in range(9)]
    ports = [server.__enter__().port for server in servers]
    try:
        found = services_of(ports, options={"per_host": 3})
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    assert {service.protocol for service in found.values()} == {"SSH"}
    assert room.most <= 3


def test_a_host_with_much_to_ask_does_not_hold_up_another():
    with listening() as silent_one, serving(saying(SSH)) as server, lane(max_inflight=2, per_host=1) as (running, emitted):
        running.ask(asked([silent_one], key="slow"))
        running.ask(asked([server.port], key="quick"))
        assert emitted.get(timeout=PATIENCE).key == "quick"


def test_all_of_a_host_is_over_in_twice_the_time_of_one():
    servers = [listening() for _ in range(12)]
    ports = [server.__enter__() for server in servers]
    try:
        found = services_of(ports, options={"seconds": 0.6, "per_host": 2})
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    states = [service.state for service in found.values()]
    assert set(states) == {ServiceState.TIMED_OUT, ServiceState.NOT_ASKED}
    assert states.count(ServiceState.NOT_ASKED) >= 6
    assert all(service.reason for service in found.values())


def test_a_host_whose_time_is_up_between_two_questions_is_answered_as_well():
    """The last of a round ends in the same moment as the host's time, with others still waiting."""
    with listening() as one, listening() as two, listening() as three:
        for _ in range(5):
            found = services_of([one, two, three], options={"seconds": 0.2, "per_host": 1})
            assert len(found) == 3


def test_of_a_host_that_answers_everywhere_only_a_few_are_asked_the_likely_ones_first():
    ports = [80, 443, 22, 40001, 40002, 40003, 5432, 40004]
    with lane(may_connect=lambda address: False) as (running, emitted):
        running.ask(asked(ports, answers_everywhere=True))
        assert [service.port for service in emitted.get(timeout=PATIENCE).services] == [22, 80, 443, 5432]
        running.ask(asked(ports, answers_everywhere=True, url_port=40003, key="url"))
        assert 40003 in [service.port for service in emitted.get(timeout=PATIENCE).services]
        running.ask(asked(range(1, 1000), key="many"))
        assert len(emitted.get(timeout=PATIENCE).services) == 32


def test_what_nobody_wants_any_more_is_closed_and_not_emitted():
    with serving(lambda connection: connection.recv(100) and None) as server, listening() as port:
        before = open_descriptors()
        now = [1000.0]
        with lane(clock=lambda: now[0]) as (running, emitted):
            connection = socket.create_connection(("127.0.0.1", port))
            running.ask(asked([port, server.port], key="unwanted", connections={port: connection}))
            assert wait_until(lambda: server.count == 1)
            running.drop(["unwanted"])
            assert wait_until(lambda: connection.fileno() == -1)
            running.ask(asked([port], key="wanted"))

            def is_later() -> bool:
                now[0] += 1
                return not emitted.empty()

            assert wait_until(is_later)
            assert emitted.get().key == "wanted"  # and not before it the one that was asked earlier
        assert wait_until(lambda: open_descriptors() <= before)


def test_it_ends_at_once_and_leaves_nothing_open():
    with listening() as port:
        before = open_descriptors()
        with lane(seconds=AGES) as (running, emitted):
            for n in range(20):
                connection = socket.create_connection(("127.0.0.1", port))
                running.ask(asked([port], key=n, connections={port: connection}))
            assert wait_until(running._inbox.empty)
            began = time.monotonic()
            running.close()
            assert time.monotonic() - began < AT_ONCE
            late = socket.create_connection(("127.0.0.1", port))
            running.ask(asked([port], key="late", connections={port: late}))
            assert late.fileno() == -1
            assert emitted.empty()
        assert open_descriptors() == before
        assert not has_thread()


def has_thread() -> bool:
    return "fingerprint" in {thread.name for thread in threading.enumerate()}


def test_a_lane_that_was_never_asked_has_no_thread():
    with lane():
        assert not has_thread()


@contextmanager
def no_descriptor() -> Iterator[Callable[[], None]]:
    """The limit of this process as low as it gets. Yields what ends that, at the latest with the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    restore = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield restore
    finally:
        restore()


def test_a_shortage_of_descriptors_is_waited_for():
    tries: list[object] = []

    def counted(address: IPAddress) -> bool:  # asked before each try to connect
        tries.append(address)
        if len(tries) == enough:
            restore()
        return True

    enough = 0
    with listening() as port, lane(may_connect=counted) as (running, emitted):
        running.ask(asked([port], key="first"))
        assert (
            emitted.get(timeout=PATIENCE).services[0].state is ServiceState.SILENT
        )  # all that the lane itself needs is open
        needed = len(tries)
        with no_descriptor() as restore:
            enough = needed + 4
            running.ask(asked([port], key="short"))
            (service,) = emitted.get(timeout=PATIENCE).services
        assert service.state is ServiceState.SILENT
        assert len(tries) == 2 * needed + 3  # three were in vain


def test_a_shortage_without_end_is_ours_and_said_to_be():
    with listening() as port, lane(seconds=0.5) as (running, emitted):
        running.ask(asked([port], key="first"))
        emitted.get(timeout=PATIENCE)
        with no_descriptor():
            running.ask(asked([port], key="short"))
            (service,) = emitted.get(timeout=PATIENCE).services
    assert service.state in (ServiceState.FAILED, ServiceState.TIMED_OUT)
    assert service.reason in ("no connection: this machine had no descriptor left", "it did not finish in time")


def test_a_host_without_an_open_port_is_answered_as_well():
    with lane() as (running, emitted):
        running.ask(asked([]))
        assert emitted.get(timeout=PATIENCE).services == ()


def test_the_round_trip_of_a_far_host_is_given_time():
    """The greeting of a host a second away comes after the usual patience."""

    def late(connection: socket.socket) -> None:
        time.sleep(0.9)
        connection.sendall(SSH)
        while connection.recv(100):
            pass

    with serving(late) as server, lane() as (running, emitted):
        host = asked([server.port])
        far = [Probe(server.port, PortState.OPEN, "syn-ack", 1, 300.0)]
        running.ask(type(host)(key=host.key, address=ip_address("127.0.0.1"), open_probes=far))
        assert emitted.get(timeout=PATIENCE).services[0].protocol == "SSH"
        assert server.count == 1


def test_what_a_cookie_holds_is_kept_nowhere():
    long = b"n" * 210
    reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=secret-value; Path=/\r\nset-cookie:" + long + b"=secret-value\r\n\r\n"
    with serving(saying(reply, wait_for=b"\r\n\r\n")) as server:
        service = service_of(server.port)
    assert "id=[not kept]; Path=/" in service.evidence
    assert "secret-value" not in repr(service)
