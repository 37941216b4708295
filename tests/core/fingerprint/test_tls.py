"""TLS against real servers of every version: what is seen, what is inside, and what is not TLS at all."""

from __future__ import annotations

import base64
import socket
import ssl
import time
import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from scans.core.fingerprint.conversation import Handshake
from scans.core.fingerprint.protocols import tls
from scans.core.types import ServiceState
from tests.core.fingerprint.asking import saying, service_of, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.patience import AT_ONCE
from tests.servers import public

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<title>Inside</title>"[:-1]
MADE = make("host.invalid")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


def page(connection: socket.socket) -> None:
    saying(PAGE, wait_for=b"\r\n\r\n")(connection)


def test_https_on_any_port_shows_page_and_certificate():
    with serving(encrypted(page, server_context(MADE))) as server:
        service = service_of(server.port, name="host.invalid")
    assert (service.state, service.protocol, service.is_tls) == (ServiceState.IDENTIFIED, "HTTP", True)
    assert service.http is not None
    assert (service.http.title, service.http.is_encrypted) == ("Inside", True)
    assert service.tls is not None
    assert (service.tls.version, service.tls.matches_name, service.tls.problems) == ("TLSv1.3", True, ("self-signed",))
    assert service.tls.legacy_versions == ("TLSv1.1",)  # this server takes everything


@pytest.mark.parametrize("version", [*OLD, ssl.TLSVersion.TLSv1_2], ids=str)
def test_an_old_server_is_seen_with_its_version(version):
    with serving(encrypted(page, server_context(MADE, highest=version))) as server:
        service = service_of(server.port)
    assert service.tls is not None
    assert service.tls.version == version.name.replace("v1_", "v1.")
    assert service.tls.legacy_versions == ("TLSv1" if version is OLD[0] else "TLSv1.1",)


def test_a_server_that_refuses_old_versions_is_known_to():
    context = server_context(MADE)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with serving(encrypted(page, context)) as server:
        service = service_of(server.port)
    assert service.tls is not None
    assert service.tls.legacy_versions == ()


def test_the_whole_chain_is_looked_at():
    authority = make("An authority")
    leaf = make("host.invalid", issuer=authority)
    with serving(encrypted(page, server_context(leaf, authority))) as server:
        service = service_of(server.port)
    assert service.tls is not None
    assert (service.tls.problems, service.tls.issuer) == (("untrusted chain",), "CN=An authority")


def test_a_mail_server_inside_tls_is_recognised_by_its_greeting():
    behave = encrypted(saying(b"* OK Dovecot ready.\r\n"), server_context(MADE))
    with serving(behave, public(63), 993) as server:
        service = service_of(server.port, address=public(63))
    assert (service.protocol, service.product, service.is_tls) == ("IMAP", "Dovecot", True)
    assert service.tls is not None


def test_a_server_that_wants_a_certificate_of_ours_is_still_seen():
    context = server_context(MADE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(encrypted(page, context)) as server:
        service = service_of(server.port)
    assert (service.state, service.protocol, service.is_tls) == (ServiceState.IDENTIFIED, "TLS", True)
    assert service.reason.startswith("it speaks TLS, and the handshake failed: ")


def test_a_handshake_that_breaks_off_in_the_middle_shows_no_certificate():
    def truncated(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x16\x03\x03\x40\x00" + b"\x02" * 100)

    with serving(truncated) as server:
        service = service_of(server.port)
    assert (service.protocol, service.tls) == ("TLS", None)
    assert "handshake failed" in service.reason


def test_a_chain_of_a_megabyte_is_not_taken_in():
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        while True:  # one handshake record after the other
            connection.sendall(b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff" + b"\x00" * (0x4000 - 4))

    with serving(endless) as server:
        service = service_of(server.port)
    assert (service.protocol, service.tls) == ("TLS", None)


def test_ten_thousand_names_do_not_hold_it_up():
    many = make("host.invalid", names=[f"n{n}.invalid" for n in range(10_000)])
    with serving(encrypted(page, server_context(many))) as server:
        began = time.monotonic()
        service = service_of(server.port)
    assert service.protocol == "TLS"
    assert time.monotonic() - began < AT_ONCE


# As PKCS #3 has it: SEQUENCE {INTEGER p of 1024 bits, INTEGER 2}. Neither side asks whether p is prime.
GROUP = bytes.fromhex("308187 028181 0080") + bytes(126) + bytes.fromhex("01 020102")


def test_a_server_cannot_choose_the_group_that_we_reckon_in(tmp_path):
    """OpenSSL takes one of 10,000 bits: more than a second of the lane's thread for each handshake."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    context = server_context(make("host.invalid", key=key), highest=ssl.TLSVersion.TLSv1_2)
    text = base64.encodebytes(GROUP).decode()
    (tmp_path / "group").write_text(f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n")
    context.load_dh_params(tmp_path / "group")
    context.set_ciphers("kDHE:@SECLEVEL=0")
    with serving(encrypted(page, context)) as server:
        service = service_of(server.port)
    assert (service.protocol, service.tls) == ("TLS", None)
    assert service.reason == "it speaks TLS, and the handshake failed: sslv3 alert handshake failure"


@pytest.mark.parametrize(
    ("heard", "refuses"), [("150301 0002 0246", True), ("150301 0002 0228", False), ("1503", False), ("", False)]
)
def test_only_the_alert_about_the_version_says_that_old_ones_are_not_taken(heard, refuses):
    """40 is handshake_failure: the server may take old versions with ciphers that we do not offer."""
    assert tls.is_refusal(Handshake("refused", bytes.fromhex(heard))) is refuses
