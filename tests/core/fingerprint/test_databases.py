"""MySQL by its greeting, PostgreSQL by SSLRequest: what they tell, and what does not count as them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.identify import identify
from scans.core.fingerprint.protocols.postgres import SSL_REQUEST, ask
from scans.core.types import Service, ServiceState
from tests.core.fingerprint.asking import dripping, saying, service_of, serving
from tests.core.fingerprint.certs import make, server_context
from tests.core.fingerprint.talking import question, talk
from tests.patience import AT_ONCE
from tests.servers import public

AFTER_VERSION = (
    bytes.fromhex("00 03000000") + b"abcdefgh" + bytes.fromhex("00 fff7 08 0200 ff81 15") + bytes(10) + b"i" * 12 + b"\0"
)


def handshake(version: bytes) -> bytes:
    body = b"\x0a" + version + AFTER_VERSION + b"mysql_native_password\0"
    return len(body).to_bytes(3, "little") + b"\0" + body


def refusal(code: int, words: bytes) -> bytes:
    body = b"\xff" + code.to_bytes(2, "little") + words
    return len(body).to_bytes(3, "little") + b"\0" + body


# The first as Debian's server sends it, the others as the projects document them.
MYSQL = [
    (handshake(b"5.5.5-10.11.19-MariaDB-0+deb12u1"), "MariaDB", "10.11.19"),
    (handshake(b"11.4.2-MariaDB-ubu2404"), "MariaDB", "11.4.2"),
    (handshake(b"8.0.36"), "MySQL", "8.0.36"),
    (handshake(b"5.7.44-log"), "MySQL", "5.7.44-log"),
    (handshake(b"8.0.11-TiDB-v7.5.1"), None, "8.0.11-TiDB-v7.5.1"),
    (handshake(b"8.0.30-Vitess"), None, "8.0.30-Vitess"),
    (refusal(1130, b"Host '192.0.2.7' is not allowed to connect to this MariaDB server"), "MariaDB", None),
    (refusal(1130, b"Host '192.0.2.7' is not allowed to connect to this MySQL server"), None, None),
    (refusal(1040, b"#08004Too many connections"), None, None),
    (refusal(1129, b"Host 'x' is blocked because of many connection errors"), None, None),
]


@pytest.mark.parametrize(("greeting", "product", "version"), MYSQL, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("port", [3306, 12345])
def test_mysql_is_known_by_its_first_packet_on_any_port_and_nothing_is_sent(greeting, product, version, port):
    talked = talk(identify(question(port)), greeting, stays_open=True)
    service = talked.service
    assert (service.state, service.protocol, service.access) == (ServiceState.IDENTIFIED, "MySQL", None)
    assert (service.product, service.version) == (product, version)
    assert (talked.sent, talked.ports) == (b"", [])


def test_only_mariadb_names_itself_so_that_a_cpe_follows():
    mariadb, mysql = (talk(identify(question(3306)), MYSQL[n][0]).service for n in (0, 2))
    assert mariadb.cpe == "cpe:2.3:a:mariadb:mariadb:10.11.19:*:*:*:*:*:*:*"
    assert mysql.cpe is None


@pytest.mark.parametrize(
    "greeting",
    [
        b"\x4a\0\0\0\n",  # and not a word more
        b"\x4a\0\0\0\n" + b"8" * 200,  # a version without end
        b"\x4a\0\0\0\n<script>\0",
        b"\x4a\0\0\1\n8.0.36\0",  # not the first packet
        refusal(1045, b"Access denied"),  # comes after a login only
    ],
)
def test_what_begins_like_mysql_and_goes_on_otherwise_is_not(greeting):
    assert talk(identify(question(3306)), greeting).service.state is ServiceState.UNRECOGNISED


@given(
    st.binary(max_size=300),
    st.sampled_from([b"\x4a\0\0\0\n", b"\x40\0\0\0\xff\x6a\x04", b"\xff\xfd\x18", b"RFB ", b"@RSYNCD: "]),
)
def test_any_bytes_after_the_first_end_in_a_clean_service(said, prefix):
    service = talk(identify(question(3306)), prefix + said).service
    assert isinstance(service, Service)
    for text in (service.product, service.version, service.banner, service.cpe):
        assert text is None or text.isprintable()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"N", ServiceState.IDENTIFIED),
        (b"S", ServiceState.IDENTIFIED),  # and no TLS after it
        (b"SSH-2.0", ServiceState.UNRECOGNISED),
        (b"NO", ServiceState.UNRECOGNISED),
        (b"E", ServiceState.UNRECOGNISED),
        (b"", ServiceState.SILENT),
    ],
)
def test_one_byte_and_nothing_else_is_postgres(answer, state):
    talked = talk(ask(question(5432)), answer, stays_open=True)
    assert (talked.service.state, talked.service.access, talked.service.tls) == (state, None, None)
    assert talked.sent == SSL_REQUEST


@given(st.binary(max_size=50))
def test_no_other_answer_counts_as_postgres(answer):
    service = talk(ask(question(5432)), answer).service
    assert (service.state is ServiceState.IDENTIFIED) == (answer in (b"N", b"S"))


def test_a_postgres_that_would_encrypt_shows_its_certificate():
    context = server_context(make("host.invalid"))

    def behave(connection: socket.socket) -> None:
        assert connection.recv(8) == SSL_REQUEST
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    with serving(behave, public(66), 5432):
        service = service_of(5432, address=public(66), name="host.invalid")
    assert (service.protocol, service.is_tls) == ("PostgreSQL", False)
    assert service.tls is not None
    assert (service.tls.matches_name, service.tls.legacy_versions) == (True, None)


@pytest.mark.parametrize("number", [67, 68])
def test_a_hostile_postgres_costs_its_time_and_no_more(number):
    """It says yes and then drips, or floods, something that is no handshake."""
    behave = dripping(b"S\x16\x03\x03\x40", seconds=0.35) if number == 67 else saying(b"S" * 300_000, wait_for=SSL_REQUEST)
    with serving(behave, public(number), 5432):
        service = service_of(5432, address=public(number), options={"seconds": 1.2})
    assert (service.tls, service.access) == (None, None)
    assert service.elapsed_ms is not None
    assert service.elapsed_ms < AT_ONCE * 1000  # one of them drips for ever
