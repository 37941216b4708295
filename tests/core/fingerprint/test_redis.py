"""Redis by PING: with and without a password; against the real server where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.protocols.redis import ask
from scans.core.types import ServiceState
from tests.core.fingerprint.asking import service_of
from tests.core.fingerprint.clock import PatientClock
from tests.core.fingerprint.talking import question, talk
from tests.fakes import wait_until
from tests.patience import PATIENCE
from tests.servers import public


@pytest.mark.parametrize(
    ("reply", "state", "access"),
    [
        (b"+PONG\r\n", ServiceState.IDENTIFIED, "PING answered PONG"),
        (b"-NOAUTH Authentication required.\r\n", ServiceState.IDENTIFIED, None),
        (b"-DENIED Redis is running in protected mode\r\n", ServiceState.IDENTIFIED, None),
        (b"-ERR unknown command\r\n", ServiceState.UNRECOGNISED, None),
        (b"+PONGO\r\n", ServiceState.UNRECOGNISED, None),
        (b"", ServiceState.FAILED, None),
    ],
)
def test_the_reply_decides(reply, state, access):
    talked = talk(ask(question(6379)), reply)
    assert (talked.service.state, talked.service.access) == (state, access)
    assert talked.sent == b"PING\r\n"


@given(st.binary(max_size=200))
def test_no_other_reply_counts_as_access(reply):
    service = talk(ask(question(6379)), reply).service
    assert (service.access is not None) == reply.startswith(b"+PONG\r\n")


@contextmanager
def redis_server(address: str, tmp_path, *arguments: str):
    """The real one, on its own port of an address that no other test has."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    command = [program, "--port", "6379", "--bind", address, "--save", "", "--dir", str(tmp_path), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: _accepts(address))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _accepts(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, 6379)) == 0


def test_a_real_server_without_and_with_a_password(tmp_path):
    open_one, guarded = public(61), public(62)
    with redis_server(open_one, tmp_path), redis_server(guarded, tmp_path, "--requirepass", "x" * 20):
        found = [service_of(6379, address=address, clock=PatientClock(rate=0.2)) for address in (open_one, guarded)]
    assert [(service.protocol, service.access) for service in found] == [("Redis", "PING answered PONG"), ("Redis", None)]
