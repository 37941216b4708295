"""TLS in mid-conversation: what is asked, what counts as an offer, and that nothing costs what the greeting told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.conversation import Handshake
from scans.core.fingerprint.identify import identify
from scans.core.types import Service, ServiceState
from tests.core.fingerprint.asking import saying, service_of, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.core.fingerprint.talking import question, talk
from tests.servers import public

TLS = Handshake(None, b"\x16\x03\x03", "TLSv1.3", "TLS_AES_256_GCM_SHA384", (make().der,))
SMTP = b"220 mail.invalid ESMTP Postfix\r\n"
EHLO = b"250-mail.invalid\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
IMAP = b"* OK IMAP4 ready\r\n"
POP3 = b"+OK POP3 ready\r\n"
FTP = b"220 FTP ready\r\n"
OFFERS = [
    ("SMTP", SMTP + EHLO + b"220 go ahead\r\n", b"EHLO scanner.invalid\r\nSTARTTLS\r\n"),
    ("SMTP", b"220-x ESMTP\r\n220-more\r\n220 words\r\n" + EHLO + b"220 go\r\n", b"EHLO scanner.invalid\r\nSTARTTLS\r\n"),
    ("IMAP", IMAP + b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\nb OK\r\n", b"a CAPABILITY\r\nb STARTTLS\r\n"),
    ("IMAP", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\nb OK\r\n", b"b STARTTLS\r\n"),
    ("POP3", POP3 + b"+OK\r\nUIDL\r\nSTLS\r\n.\r\n+OK go\r\n", b"CAPA\r\nSTLS\r\n"),
    ("FTP", FTP + b"234 go\r\n", b"AUTH TLS\r\n"),
    ("FTP", b"220-FTP of many\r\n words\r\n220 ready\r\n234 go\r\n", b"AUTH TLS\r\n"),
]  # fmt: skip


def asked(said: bytes, *handshakes: Handshake, port: int = 12345):
    return talk(identify(question(port)), said, handshakes=handshakes)


@pytest.mark.parametrize(("protocol", "said", "sent"), OFFERS)
def test_what_is_offered_is_looked_at_on_the_same_connection(protocol, said, sent):
    talked = asked(said, TLS)
    service = talked.service
    assert (service.protocol, service.is_tls, talked.sent, talked.ports) == (protocol, False, sent, [])
    assert service.tls is not None
    assert (service.tls.version, service.tls.problems) == ("TLSv1.3", ("self-signed",))


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("SMTP", SMTP),
        ("SMTP", SMTP + b"250 mail.invalid\r\n"),
        ("SMTP", SMTP + b"250-X-STARTTLS\r\n250 STARTTLSISH\r\n220 x\r\n"),
        ("SMTP", SMTP + b"554 go away\r\n"),
        ("SMTP", SMTP + EHLO + b"454 TLS not available\r\n"),
        ("SMTP", b"220-mail.invalid ESMTP\r\n554 no\r\n" + EHLO + b"220 go\r\n"),
        ("IMAP", b"* BYE IMAP is full [CAPABILITY STARTTLS]\r\nb OK\r\n"),
        ("IMAP", IMAP + b"* CAPABILITY IMAP4rev1\r\na OK\r\nb OK\r\n"),
        ("IMAP", IMAP + b"* CAPABILITY STARTTLS\r\na OK\r\nb NO\r\n"),
        ("POP3", POP3 + b"-ERR what?\r\n+OK\r\n"),
        ("POP3", POP3 + b"+OK\r\nSTLS\r\n.\r\n-ERR\r\n"),
        ("FTP", FTP + b"530 please log in\r\n"),
        ("FTP", b"220 something that may be anything\r\n234 go\r\n"),
    ],
)
def test_what_is_not_offered_is_not_begun(protocol, said):
    service = asked(said, TLS).service
    assert (service.state, service.protocol, service.tls, service.reason) == (ServiceState.IDENTIFIED, protocol, None, "")


def test_on_its_own_port_a_greeting_need_not_name_its_language():
    assert asked(b"220 ready\r\n234 go\r\n", TLS, port=21).service.tls is not None
    assert asked(b"220 ready\r\n" + EHLO + b"220 go\r\n", TLS, port=587).service.tls is not None


def test_a_handshake_that_fails_is_told_and_costs_nothing_else():
    service = asked(FTP + b"234 go\r\n", Handshake("wrong version number")).service
    assert (service.protocol, service.tls) == ("FTP", None)
    assert service.reason == "it offers TLS, and the handshake failed: wrong version number"


@given(st.binary(max_size=300), st.sampled_from([SMTP, IMAP, POP3, FTP, SMTP + EHLO]), st.booleans())
def test_any_answer_leaves_what_the_greeting_told(said, greeting, stays_open):
    service = talk(identify(question()), greeting + said, handshakes=[TLS], stays_open=stays_open).service
    assert isinstance(service, Service)
    assert (service.state, service.protocol in ("SMTP", "IMAP", "POP3", "FTP")) == (ServiceState.IDENTIFIED, True)


def test_inside_tls_it_is_not_asked_for_again():
    heard: list[bytes] = []

    def greet(connection) -> None:
        connection.sendall(SMTP)
        while data := connection.recv(100):
            heard.append(data)

    with serving(encrypted(greet, server_context(make())), public(88), 4650) as server:
        service = service_of(server.port, address=public(88))
    assert service.is_tls or service.protocol == "TLS"
    assert b"STARTTLS" not in b"".join(heard)


def test_words_before_the_handshake_are_not_taken_for_words_inside_it():
    """A reply that came with the consent in one packet is no part of what is encrypted (CVE-2011-0411 and its kin)."""
    with serving(saying(FTP + b"234 go\r\n230 injected\r\n")) as server:
        service = service_of(server.port, options={"seconds": 2.0})
    assert (service.protocol, service.tls) == ("FTP", None)
    assert service.reason.startswith("it offers TLS, and the handshake failed")
