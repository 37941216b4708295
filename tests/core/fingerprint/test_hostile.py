"""Servers that mean no good, on real sockets: whatever they do, it ends in time, in little memory, and in words."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

import pytest

from scans.core.types import ServiceState
from tests.core.fingerprint.asking import Behaviour, dripping, hears, saying, service_of, services_of, serving
from tests.patience import AT_ONCE
from tests.servers import RESET_ON_CLOSE, listening, refusing

SECONDS = 1.2  # for one service in these tests
GET = b"\r\n\r\n"


def endless(data: bytes, *, wait_for: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket) -> None:
        if not hears(connection, wait_for):
            return
        while True:
            connection.sendall(data * 1000)

    return behave


def resetting(after: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.sendall(after)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()

    return behave


def half_closing(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


BEHAVIOURS: dict[str, Behaviour] = {
    "drips a greeting": dripping(b"220-more\r", seconds=0.2),
    "drips headers": dripping(b"HTTP/1.1 200 OK\r\nX: ", seconds=0.05, wait_for=GET),
    "drips a body": dripping(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>x", seconds=0.01, wait_for=GET),
    "never stops greeting": endless(b"x"),
    "never stops its headers": endless(b"HTTP/1.1 200 OK\r\nX: y\r\n", wait_for=GET),
    "never stops its body": endless(b"HTTP/1.1 200 OK\r\n\r\n<html>", wait_for=GET),
    "never stops its handshake": endless(b"\x16\x03\x03\x40\x00\x0b", wait_for=b"\x01"),
    "begins like MySQL and drips": dripping(b"\xff\0\0\0\n8", seconds=0.2),
    "negotiates for ever": endless(b"\xff\xfd\x01"),
    "never stops its document": endless(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[", wait_for=GET),
    "resets at once": resetting(),
    "resets after a word": resetting(b"220 hello"),
    "closes its half": half_closing,
    "answers garbage": saying(bytes(range(256)) * 20, wait_for=b"\x01"),
    "says nothing": saying(b""),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_it_ends_in_time_with_a_state_and_a_reason(name):
    with serving(BEHAVIOURS[name]) as server:
        service = service_of(server.port, options={"seconds": SECONDS})
    assert service.elapsed_ms < AT_ONCE * 1000  # some of them go on for ever
    assert service.state is ServiceState.IDENTIFIED or service.reason
    assert service.banner is None or (service.banner.isprintable() and len(service.banner) <= 500)
    assert service.evidence.isascii()


def test_they_do_not_hold_one_another_up():
    """All of them at once, who each need all of the time that one has, are done when that is over."""
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(behave)).port for behave in BEHAVIOURS.values()]
        found = services_of(ports, options={"seconds": SECONDS, "per_host": 32})
    assert len(found) == len(BEHAVIOURS)
    assert ServiceState.NOT_ASKED not in {service.state for service in found.values()}  # twice that time is for all together


def test_memory_stays_where_it_was():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("never stops greeting", "never stops its headers", "never stops its body", "never stops its document"):
        with serving(BEHAVIOURS[name]) as server:
            service_of(server.port, options={"seconds": 1.0})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB


def test_a_port_that_has_closed_since_is_a_failure_in_words():
    with refusing() as port:
        service = service_of(port)
    assert (service.state, service.reason) == (ServiceState.FAILED, "no connection: connection refused")


@pytest.mark.parametrize("name", ["resets at once", "closes its half"])
def test_one_that_hangs_up_on_everything_is_no_silent_one(name):
    with serving(BEHAVIOURS[name]) as server:
        service = service_of(server.port)
    assert service.state is ServiceState.FAILED  # a reset may come so soon that there was no connection at all
    assert "without a word" in service.reason or "no connection" in service.reason


def test_a_port_that_only_accepts_is_silent():
    with listening() as port:
        service = service_of(port)
    assert (service.state, service.banner, service.evidence) == (ServiceState.SILENT, None, "")
