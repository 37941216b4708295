"""Memcached by `version`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.protocols.memcached import ask
from scans.core.types import ServiceState
from tests.core.fingerprint.talking import question, talk


@pytest.mark.parametrize(
    ("reply", "state", "version", "access"),
    [
        (b"VERSION 1.6.18\r\n", ServiceState.IDENTIFIED, "1.6.18", "version was answered"),
        (b"VERSION 1.4.15 AWS\r\n", ServiceState.UNRECOGNISED, None, None),
        (b"CLIENT_ERROR unauthenticated\r\n", ServiceState.IDENTIFIED, None, None),
        (b"ERROR\r\n", ServiceState.UNRECOGNISED, None, None),
        (b"", ServiceState.FAILED, None, None),
    ],
)
def test_the_reply_decides(reply, state, version, access):
    talked = talk(ask(question(11211)), reply)
    assert (talked.service.state, talked.service.version, talked.service.access) == (state, version, access)
    assert talked.sent == b"version\r\n"


@given(st.binary(max_size=200))
def test_any_reply_ends_in_a_clean_service(reply):
    service = talk(ask(question(11211)), reply).service
    assert service.banner is None or service.banner.isprintable()
