"""The engine where there is no epoll, no eventfd and no error queue; the tests marked `each_poller` run there as well."""

from __future__ import annotations

import errno
import selectors
import socket
import subprocess
import sys

import pytest

from scans.core.probe.one_shot import READABLE, WRITABLE, OneShotPoller
from tests.core.probe.driving import engine_for, plan
from tests.patience import PATIENCE
from tests.servers import listening, refusing, silent

# What other systems lack is taken away before the engine is imported, in a process of its own.
ELSEWHERE = """
import os, select, socket, sys
missing = {select: ("epoll", "EPOLL"), os: ("eventfd", "EFD_"), socket: ("SOCK_NONBLOCK", "MSG_ERRQUEUE")}
for module, prefixes in missing.items():
    for name in [name for name in vars(module) if name.startswith(prefixes)]:
        delattr(module, name)
import selectors
selectors.DefaultSelector = selectors.PollSelector

from scans.core.probe.network import KERNEL
from scans.core.probe.one_shot import OneShotPoller
from tests.core.probe.driving import plan, probe, states

assert KERNEL.poller is OneShotPoller
for address in ("127.0.0.1", "::1"):
    found = probe(plan(list(map(int, sys.argv[1:])), address=address), max_inflight=8)
    print(*states(found["host"]).values())
"""


def test_it_can_be_imported_and_is_right_where_all_of_linux_is_missing():
    with listening("127.0.0.1") as opened, refusing("127.0.0.1") as closed, silent("127.0.0.1") as dropped:
        ports = sorted([opened, closed, dropped.port])
        command = [sys.executable, "-c", ELSEWHERE, *map(str, ports)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        names = {opened: "open", closed: "closed", dropped.port: "filtered"}
        assert (done.stderr, done.returncode) == ("", 0)
        first, second = done.stdout.splitlines()
        assert first == " ".join(names[port] for port in ports)
        assert set(second.split()) <= {"closed", "open"}  # ::1 has others on these ports, if any; it answers all the same


@pytest.fixture
def poller():
    made = OneShotPoller(selectors.PollSelector)
    yield made
    made.close()


def test_a_socket_reports_once_until_it_is_asked_whether_it_is_still_under_way(poller):
    a, b = socket.socketpair()
    with a, b:
        poller.register(a.fileno(), WRITABLE)
        assert poller.poll(PATIENCE, 10) == [(a.fileno(), WRITABLE)]
        assert poller.poll(0, 10) == []
        poller.unregister(a.fileno())  # it is not watched: that is no error
        with socket.socket() as unconnected:
            ask = poller.asking(unconnected)
            assert ask(("", 0)) == errno.EALREADY
            assert poller.poll(PATIENCE, 10) == [(unconnected.fileno(), WRITABLE)]
            assert ask(("", 0)) == errno.EALREADY  # and is watched again, though it was already
            assert ask(("", 0)) == errno.EALREADY
            poller.unregister(unconnected.fileno())


def test_what_is_read_from_reports_until_it_is_read_and_no_more_come_than_were_asked_for(poller):
    pairs = [socket.socketpair() for _ in range(3)]
    for a, b in pairs:
        poller.register(a.fileno(), READABLE)
        b.send(b"x")
    assert len(poller.poll(PATIENCE, 2)) == 2
    assert len(poller.poll(PATIENCE, 10)) == 3
    for a, _ in pairs:
        a.recv(1)
    assert poller.poll(0, 10) == []
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.parametrize("kind", ["refused", "open"])
def test_what_became_of_a_connection_is_told_without_a_second_connect(poller, kind):
    with listening() as opened, refusing() as closed, socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", opened if kind == "open" else closed))
        poller.register(sock.fileno(), WRITABLE)
        assert poller.poll(PATIENCE, 10)
        assert poller.asking(sock)(("", 0)) == (errno.EISCONN if kind == "open" else errno.ECONNREFUSED)


@pytest.mark.usefixtures("each_poller")
def test_sockets_that_have_reported_do_not_keep_the_loop_awake():
    with silent("127.66.15.2") as dropped, refusing("127.66.15.2") as closed:
        engine = engine_for(plan([dropped.port, closed, *range(1, 300)], address="127.66.15.2"), attempts=8)
        assert len([result for batch in engine.run() for result in batch]) == 1
    assert engine.stats.turns < 200  # one that spins makes thousands in that second
