"""What greets, by its greeting: SSH, FTP, SMTP, POP3, IMAP, VNC, rsync, Telnet; on any port, and whatever the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.cpe import cpe_of
from scans.core.fingerprint.identify import PROTOCOLS, identify
from scans.core.fingerprint.starttls import EHLO
from scans.core.types import Service, ServiceState
from tests.core.fingerprint.talking import question, talk

QUESTIONS = {"SMTP": EHLO, "IMAP": b"a CAPABILITY\r\n", "POP3": b"CAPA\r\n", "FTP": b"AUTH TLS\r\n"}
GREETINGS = [  # as the products send them by default, from their sources and manuals
    (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "SSH", "OpenSSH", "9.2p1"),
    (b"SSH-2.0-OpenSSH_for_Windows_8.1\r\n", "SSH", "OpenSSH_for_Windows", "8.1"),
    (b"SSH-2.0-dropbear_2022.83\r\n", "SSH", "dropbear", "2022.83"),
    (b"SSH-2.0-Cisco-1.25\r\n", "SSH", "Cisco", "1.25"),
    (b"SSH-2.0-Go\r\n", "SSH", "Go", None),
    (b"SSH-1.99-OpenSSH_3.9p1\n", "SSH", "OpenSSH", "3.9p1"),
    (b"220 (vsFTPd 3.0.3)\r\n", "FTP", "vsftpd", "3.0.3"),
    (b"220 ProFTPD 1.3.5 Server (Debian) [127.0.0.1]\r\n", "FTP", "ProFTPD", "1.3.5"),
    (b"220 ProFTPD Server (Debian) [127.0.0.1]\r\n", "FTP", "ProFTPD", None),
    (b"220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n", "FTP", "Pure-FTPd", None),
    (b"220-FileZilla Server 1.7.3\r\n", "FTP", "FileZilla Server", "1.7.3"),
    (b"220 Welcome.\r\n", "FTP", None, None),
    (b"220 mail.example.invalid ESMTP Postfix (Debian/GNU)\r\n", "SMTP", "Postfix", None),
    (b"220 mail.example.invalid ESMTP Exim 4.96 Fri, 01 Nov 2026 10:00:00 +0000\r\n", "SMTP", "Exim", "4.96"),
    (b"220 mail.example.invalid ESMTP\r\n", "SMTP", None, None),
    (b"+OK Dovecot (Debian) ready.\r\n", "POP3", "Dovecot", None),
    (b"+OK POP3 ready\r\n", "POP3", None, None),
    (b"* OK [CAPABILITY IMAP4rev1 SASL-IR] Dovecot (Debian) ready.\r\n", "IMAP", "Dovecot", None),
    (b"* OK IMAP4rev1 ready\r\n", "IMAP", None, None),
    (b"RFB 003.008\n", "VNC", None, None),
    (b"RFB 003.889\n", "VNC", None, None),
    (b"@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\n", "rsync", None, None),
    (b"@RSYNCD: 29\n", "rsync", None, None),
    (b"\xff\xfb%\xff\xfb&\xff\xfd\x18\xff\xfd \xff\xfd#", "Telnet", None, None),
    (b"\xff\xfd\x1f\xff\xfb\x01\xff\xfa\x18\x01\xff\xf0\r\nlogin: ", "Telnet", None, None),
]


@pytest.mark.parametrize(("greeting", "protocol", "product", "version"), GREETINGS, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("port", [2222, 80, 443])
def test_a_greeting_is_recognised_on_any_port_and_only_who_may_begin_tls_is_asked_further(
    greeting, protocol, product, version, port
):
    talked = talk(identify(question(port)), greeting)
    service = talked.service
    assert (service.state, service.protocol, service.product, service.version) == (
        ServiceState.IDENTIFIED,
        protocol,
        product,
        version,
    )
    assert talked.sent in (b"", QUESTIONS.get(protocol, b""))  # the former where the protocol is a guess
    assert talked.ports == []


def test_a_bare_220_is_mail_where_mail_is_usual():
    assert talk(identify(question(587)), b"220 ready\r\n").service.protocol == "SMTP"
    assert talk(identify(question(21)), b"220 ready\r\n").service.protocol == "FTP"


def test_a_cpe_is_given_only_where_product_and_version_are_certain():
    openssh, other = (talk(identify(question(22)), line).service for line in (GREETINGS[0][0], GREETINGS[2][0]))
    assert openssh.cpe == "cpe:2.3:a:openbsd:openssh:9.2:p1:*:*:*:*:*:*"
    assert other.cpe is None


def test_the_words_between_the_commands_of_telnet_are_kept():
    greeting = b"\xff\xfd\x1f\xff\xfa\x18\x01\xff\xf0Router\xff\xfb\x03 7\n"
    assert talk(identify(question(23)), greeting).service.banner == "Router 7"


@pytest.mark.parametrize("greeting", [b"RFB 3.8\n", b"RFB 003.008", b"@RSYNCD: x\n", b"\xff\xfd\xee", b"\xff\xff\xfd\x01"])
def test_what_only_begins_like_them_is_unknown(greeting):
    assert talk(identify(question(1234)), greeting).service.protocol is None


@pytest.mark.parametrize(
    ("product", "version", "cpe"),
    [
        ("vsftpd", "3.0.3", "cpe:2.3:a:vsftpd_project:vsftpd:3.0.3:*:*:*:*:*:*:*"),
        ("Exim", "4.96", "cpe:2.3:a:exim:exim:4.96:*:*:*:*:*:*:*"),
        ("nginx", "1.22.1", "cpe:2.3:a:f5:nginx:1.22.1:*:*:*:*:*:*:*"),
        ("Apache", "2.4.57", "cpe:2.3:a:apache:http_server:2.4.57:*:*:*:*:*:*:*"),
        ("Apache", "2.4.57-dev", None),
        ("Apache", "2", None),
        ("Apache", None, None),
        ("Apache", "2.4.*", None),
        ("Apache-Coyote", "1.1", None),
        ("memcached", "1.6.18", None),
    ],
)
def test_a_cpe_needs_a_product_that_is_certain_and_a_release(product, version, cpe):
    assert cpe_of(product, version) == cpe


def test_bytes_that_cannot_be_shown_are_words_all_the_same():
    service = talk(identify(question(1234)), b"\x00\x01\n").service
    assert (service.state, service.banner) == (ServiceState.UNRECOGNISED, None)


def test_what_greets_in_an_unknown_way_is_kept_as_it_said():
    service = talk(identify(question(1234)), b"\x00\x1b[31mhello\xe2\x80\xae<script>\n").service
    assert (service.state, service.protocol) == (ServiceState.UNRECOGNISED, None)
    assert service.banner == "[31mhello <script>"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"SSH-2.0-", b"220 ", b"+OK ", b"* OK ", b"220-FTP"]),
    st.integers(1, 65535),
)
def test_any_greeting_ends_in_a_clean_service(said, prefix, port):
    service = talk(identify(question(port)), prefix + said + b"\n").service
    assert isinstance(service, Service)
    assert service.protocol in (None, *(protocol.name for protocol in PROTOCOLS))
    for text in (service.product, service.version, service.banner, service.cpe):
        assert text is None or text.isprintable()


def test_the_documentation_names_every_protocol():
    documented = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    (row,) = [line for line in documented.splitlines() if line.startswith("| `protocol`")]
    assert [protocol.name for protocol in PROTOCOLS if f"`{protocol.name}`" not in row] == []


def test_names_and_techniques_are_one_each():
    names = [protocol.name for protocol in PROTOCOLS]
    assert len(set(names)) == len(names)
    assert all(protocol.technique for protocol in PROTOCOLS)
    assert all((protocol.recognise is None) == (protocol.read is None) for protocol in PROTOCOLS)
