"""One call by itself: the limits hold for a conversation that knows none, as a careless protocol would be."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from ipaddress import ip_address

from scans.core.fingerprint.call import MAX_BYTES, MAX_CONNECTS, Call, Ground, escaped
from scans.core.fingerprint.conversation import End, Question, Talk, connect, receive, send, start_tls
from scans.core.types import Service, ServiceState
from tests.core.fingerprint.asking import Behaviour, saying, serving
from tests.core.fingerprint.clock import PatientClock
from tests.core.fingerprint.hostile_services import endless
from tests.fakes import wait_until
from tests.servers import listening, public


def held(talk: Callable[[Question], Talk[Service]], port: int, *, address: str = "127.0.0.1", seconds: float = 3) -> Service:
    """A conversation to its end, by a loop as small as can be."""
    question = Question(address=ip_address(address), port=port)
    with selectors.DefaultSelector() as selector:
        clock = PatientClock()
        ground = Ground(selector=selector, clock=clock, may_connect=lambda address: True)
        call = Call(question, talk(question), socket.create_connection((address, port)), ground, seconds=seconds)
        call.begin()
        while call.service is None:
            for _, mask in selector.select(0.01):
                call.on_ready(mask)
            if call.service is None and call.due_at <= clock():
                call.on_time()
    return call.service


def said(question: Question, reason: str) -> Service:
    return Service(port=question.port, state=ServiceState.SILENT, reason=reason)


def test_even_one_that_forgets_sends_nothing_where_bytes_could_do_harm():
    def forgetful(question: Question) -> Talk[Service]:
        yield from send(b"print me")
        answer = yield from receive(seconds=0.2)
        shake = yield from start_tls()
        return said(question, f"{answer.end}, {shake.error}")

    heard: list[bytes] = []
    with serving(lambda connection: heard.append(connection.recv(100)), public(68), 9100) as server:
        service = held(forgetful, server.port, address=public(68))
        assert wait_until(lambda: heard)
    assert service.reason == "closed, nothing is sent to this port"
    assert heard == [b""]


def test_no_more_is_taken_in_than_the_limit():
    def greedy(question: Question) -> Talk[Service]:
        answer = yield from receive(most=10**9, seconds=2)
        assert answer.end is End.CLOSED
        return said(question, str(len(answer.data)))

    with serving(endless(b"x")) as server:
        taken = int(held(greedy, server.port).reason)
    assert MAX_BYTES <= taken < 2 * MAX_BYTES


def test_a_port_that_was_not_seen_open_is_not_connected_to():
    def curious(question: Question) -> Talk[Service]:
        trouble = yield from connect(other)
        return said(question, trouble or "connected")

    with listening() as port, serving(saying(b"")) as server:
        other = server.port
        assert held(curious, port).reason == "the port was not seen open"
        assert server.count == 0


def test_connections_have_an_end():
    def restless(question: Question) -> Talk[Service]:
        made = 0
        while (trouble := (yield from connect(question.port))) is None:
            made += 1
        return said(question, f"{made}: {trouble}")

    with listening() as port:
        assert held(restless, port).reason == f"{MAX_CONNECTS}: too many connections for one service"


def test_one_that_does_not_want_to_end_is_ended():
    def stubborn(question: Question) -> Talk[Service]:
        while True:
            yield from receive(seconds=0.1)

    with listening() as port:
        service = held(stubborn, port, seconds=0.5)
    assert (service.state, service.reason) == (ServiceState.TIMED_OUT, "it did not finish in time")


def test_one_that_trips_over_an_answer_is_a_failure_and_costs_nobody_else(caplog):
    def clumsy(question: Question) -> Talk[Service]:
        answer = yield from receive(until=(b"\n",))
        return said(question, str(int(answer.data)))

    with serving(saying(b"not a number\n")) as server:
        service = held(clumsy, server.port)
    assert (service.state, service.reason) == (ServiceState.FAILED, "its answer could not be read")
    assert "ValueError" in caplog.text
    assert "not a number" not in caplog.text


def test_what_comes_after_the_delimiter_waits_for_the_next_receive():
    def twice(question: Question) -> Talk[Service]:
        first = yield from receive(until=(b"\r\n",))
        second = yield from receive(until=(b"\r\n", b"!"))
        third = yield from receive(most=3)
        return said(question, repr([first.data, second.data, third.data, third.end]))

    behave: Behaviour = saying(b"one\r\ntwo! three")
    with serving(behave) as server:
        service = held(twice, server.port)
    assert service.reason == repr([b"one\r\n", b"two!", b" th", End.FULL])


def test_evidence_can_be_read_back():
    assert escaped(b"a\x00\\\x1b~") == "a\\x00\\x5c\\x1b~"
    assert escaped(bytes(range(256))).isascii()
