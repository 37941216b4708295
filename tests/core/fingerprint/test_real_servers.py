"""What the real servers are taken for, as Debian packages them: what they say of themselves is what their programs say."""

from __future__ import annotations

import subprocess
from functools import partial

import pytest

from scans.core.fingerprint.favicon import favicon_hash
from scans.core.types import Service, ServiceState
from tests import real_servers
from tests.core.fingerprint.asking import service_of, services_of
from tests.core.fingerprint.clock import PatientClock
from tests.patience import PATIENCE

# Server, port, protocol, product, the option that makes the program say its version, and the CPE before that version.
SERVERS = [
    (real_servers.sshd, 2222, "SSH", "OpenSSH", "ssh -V", None),
    (real_servers.nginx, 8080, "HTTP", "nginx", "nginx -v", "f5:nginx"),
    (real_servers.memcached, 11211, "Memcached", "memcached", "memcached -V", None),
    (real_servers.vsftpd, 2121, "FTP", "vsftpd", "dpkg -s vsftpd", "vsftpd_project:vsftpd"),
    (real_servers.dovecot, 2143, "IMAP", "Dovecot", None, None),
    (real_servers.dovecot, 2110, "POP3", "Dovecot", None, None),
    (real_servers.postfix, 2525, "SMTP", "Postfix", None, None),
    (real_servers.telnetd, 2323, "Telnet", None, None, None),
    (real_servers.xvnc, 5900, "VNC", None, None, None),
    (real_servers.rsyncd, 8730, "rsync", None, None, None),
    (real_servers.mariadb, 3306, "MySQL", "MariaDB", "mariadbd --version", "mariadb:mariadb"),
    (partial(real_servers.mariadb, is_refusing=True), 3306, "MySQL", "MariaDB", None, None),
    (real_servers.postgres, 5432, "PostgreSQL", None, None, None),
    (real_servers.etcd, 2379, "HTTP", "etcd", "etcd --version", None),
    (real_servers.podman, 2375, "HTTP", "Podman", "podman --version", None),
]
FAR_MS = 500.0  # as if it were far away: on a busy machine a server may take a while to start the process that greets
ACCESS = {
    "memcached": "version was answered",
    "Podman": "Podman answered GET /version",
}


@pytest.mark.parametrize(
    ("server", "port", "protocol", "product", "version_command", "cpe"),
    SERVERS,
    ids=[f"{row[2]} {row[3]} {row[4] is not None}" for row in SERVERS],
)
def test_it_is_taken_for_what_it_is(server, port, protocol, product, version_command, cpe):
    is_asked = protocol in ("HTTP", "Memcached", "PostgreSQL")
    with server() as address:
        service = service_of(port, address=address, rtt_ms=0.1 if is_asked else FAR_MS, clock=PatientClock(rate=0.2))
    assert (service.state, service.protocol, service.product) == (ServiceState.IDENTIFIED, protocol, product)
    assert service.access == ACCESS.get(product)
    assert service.tls is None
    assert (service.version is not None) == (version_command is not None)
    if service.version is not None:
        assert service.version in _said(version_command)
    if cpe is not None:
        assert service.cpe == f"cpe:2.3:a:{cpe}:{service.version}:*:*:*:*:*:*:*"


def _said(command: str) -> str:
    name, *options = command.split()
    done = subprocess.run([real_servers.program(name), *options], input="", capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr


def test_postgres_that_encrypts_shows_its_certificate():
    with real_servers.postgres(is_encrypting=True) as address:
        service = service_of(5432, address=address, name="host.invalid", clock=PatientClock(rate=0.2))
    assert (service.protocol, service.access) == ("PostgreSQL", None)
    assert service.tls is not None
    assert (service.tls.version, service.tls.subject, service.tls.problems) == (
        "TLSv1.3",
        "CN=host.invalid",
        ("self-signed",),
    )


@pytest.mark.parametrize(
    ("server", "port", "protocol"),
    [
        (real_servers.encrypting_postfix, 2525, "SMTP"),
        (partial(real_servers.dovecot, is_encrypting=True), 2143, "IMAP"),
        (partial(real_servers.dovecot, is_encrypting=True), 2110, "POP3"),
        (partial(real_servers.vsftpd, is_encrypting=True), 2121, "FTP"),
    ],
    ids=["SMTP", "IMAP", "POP3", "FTP"],
)
def test_mail_and_file_servers_that_can_encrypt_show_their_certificate(server, port, protocol):
    with server() as address:
        service = service_of(port, address=address, name="host.invalid", rtt_ms=FAR_MS)
    assert (service.state, service.protocol, service.is_tls, service.reason) == (
        ServiceState.IDENTIFIED,
        protocol,
        False,
        "",
    )
    assert service.tls is not None
    assert (service.tls.version, service.tls.subject, service.tls.problems) == (
        "TLSv1.3",
        "CN=host.invalid",
        ("self-signed",),
    )


def test_nginx_shows_its_list_of_files_its_headers_and_its_old_versions():
    with real_servers.nginx() as address:
        found = services_of([8080, 8443, 9443], address=address, name="host.invalid", clock=PatientClock(rate=0.2))
    plain, guarded, old = (_web(found[port]) for port in (8080, 8443, 9443))
    assert (plain.http.lists_directory, plain.is_tls) == (True, False)
    assert guarded.http.title == "Guarded"
    assert dict(guarded.http.security_headers) == {
        "strict-transport-security": "max-age=63072000",
        "x-content-type-options": "nosniff",
    }
    assert (guarded.product, guarded.version, guarded.cpe) == ("nginx", None, None)
    assert (guarded.http.favicon_hash, plain.http.favicon_hash) == (favicon_hash(b"an icon"), None)
    assert guarded.tls.legacy_versions == ()
    assert old.tls.legacy_versions == ("TLSv1.1",)


def _web(service: Service) -> Service:
    assert (service.state, service.protocol) == (ServiceState.IDENTIFIED, "HTTP")
    return service
