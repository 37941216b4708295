"""Real servers of Debian, for the tests that ask them what they are: one function each, yielding the address it listens on.

Each runs in a directory of its own, on an address that no other test has and so on its usual port if that is a high one, and
is ended by its own id. Where the tests run as root it runs as nobody. No name is looked up. What is not installed is a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from grp import getgrgid
from pathlib import Path
from pwd import getpwuid
from typing import Any

import pytest

from tests.core.fingerprint.asking import serving
from tests.core.fingerprint.certs import make, pem
from tests.fakes import wait_until
from tests.patience import AGES, PATIENCE
from tests.servers import public
from tests.with_postgres import postgres_bin

IS_ROOT = os.geteuid() == 0
USER, GROUP = ("nobody", "nogroup") if IS_ROOT else (getpwuid(os.geteuid()).pw_name, getgrgid(os.getegid()).gr_name)
AS_USER: dict[str, Any] = {"user": USER, "group": GROUP, "extra_groups": []} if IS_ROOT else {}


def program(name: str) -> str:
    """Where it is, in the directories for administrators as well."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/lib/postfix/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def home(**files: str) -> Iterator[Path]:
    """A directory with these files, which the user of the server owns; HOME stands for it."""
    with tempfile.TemporaryDirectory(prefix="ipscanner-") as name:
        directory = Path(name)
        for file, text in files.items():
            (directory / file).write_text(text.replace("HOME", name))
            (directory / file).chmod(0o600)
            os.utime(directory / file, (0, 0))  # Postfix waits until a file is some seconds old
        if IS_ROOT:
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, USER, GROUP)
        yield directory


@contextmanager
def running(*command: object, address: str, port: int, user: dict[str, Any] = AS_USER) -> Iterator[None]:
    """The command, from when it accepts connections until the block ends."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            **user,
        )
        try:
            is_up = wait_until(lambda: _accepts(address, port) or process.poll() is not None)
            if not is_up or process.poll() is not None:
                said.seek(0)
                pytest.fail(said.read().decode(errors="replace")[-2000:])
            yield
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)
    with suppress(ProcessLookupError):  # what is left of its family, as of Postfix
        os.killpg(process.pid, signal.SIGKILL)


def _accepts(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def _greets(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), PATIENCE) as connection:
        return connection.recv(1) != b""
    return False


def run(*command: object) -> None:
    """Prepare something, as the user of the server."""
    subprocess.run([str(part) for part in command], capture_output=True, check=True, timeout=AGES, **AS_USER)


@contextmanager
def for_each_connection(
    address: str, port: int, *command: str, has_input: bool = True, **environment: str
) -> Iterator[None]:
    """The command as inetd would run it, until the other side leaves: the connection is its output, or its input too."""

    def behave(connection: socket.socket) -> None:
        streams: dict[str, Any] = {"stdin": connection if has_input else subprocess.PIPE, "stdout": connection}
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment, **streams, **AS_USER) as process:
            with suppress(OSError):
                while connection.recv(65536):
                    pass
            _stop(process)

    with serving(behave, address, port):
        yield


# -- One function each ----------------------------------------------------------------------------------------------


@contextmanager
def sshd() -> Iterator[str]:
    """OpenSSH on port 2222."""
    server, address = program("sshd"), public(71)
    settings = f"ListenAddress {address}:2222\nHostKey HOME/key\nPidFile none\nUsePAM no\n"
    with home(settings=settings) as directory:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "key")
        with running(server, "-D", "-e", "-f", directory / "settings", address=address, port=2222):
            yield address


NGINX = """
daemon off;
pid HOME/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path HOME/t1; proxy_temp_path HOME/t2; fastcgi_temp_path HOME/t3; uwsgi_temp_path HOME/t4;
    scgi_temp_path HOME/t5;
    ssl_certificate HOME/pem; ssl_certificate_key HOME/pem;
    server { listen ADDRESS:8080; root HOME; autoindex on; }
    server {
        listen ADDRESS:8443 ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        server_tokens off;
        add_header Strict-Transport-Security max-age=63072000;
        add_header X-Content-Type-Options nosniff;
        location / { default_type text/html; return 200 "<title>Guarded</title>"; }
        location = /favicon.ico { default_type image/x-icon; return 200 "an icon"; }
    }
    server { listen ADDRESS:9443 ssl; ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0; root HOME; }
}
"""


@contextmanager
def nginx() -> Iterator[str]:
    """8080: a list of files. 8443: TLS as it should be, with headers. 9443: TLS that takes old versions."""
    server, address = program("nginx"), public(72)
    with (
        home(settings=NGINX.replace("ADDRESS", address), pem=pem(make("host.invalid")).decode()) as directory,
        running(server, "-e", "stderr", "-c", directory / "settings", address=address, port=9443),
    ):
        yield address


@contextmanager
def memcached() -> Iterator[str]:
    """Memcached on its own port."""
    server, address = program("memcached"), public(73)
    with running(server, "-l", address, "-p", "11211", "-U", "0", address=address, port=11211):
        yield address


@contextmanager
def vsftpd(*, is_encrypting: bool = False) -> Iterator[str]:
    """vsftpd on port 2121."""
    server, address = program("vsftpd"), public(74)
    settings = f"listen=YES\nlisten_address={address}\nlisten_port=2121\nrun_as_launching_user=YES\nbackground=NO\n"
    if is_encrypting:
        settings += "ssl_enable=YES\nrsa_cert_file=HOME/pem\nrsa_private_key_file=HOME/pem\n"
    with (
        home(settings=settings, pem=pem(make("host.invalid")).decode()) as directory,
        running(server, directory / "settings", address=address, port=2121),
    ):
        yield address


DOVECOT = """
protocols = imap pop3
listen = ADDRESS
base_dir = HOME/run
state_dir = HOME/state
log_path = HOME/log
default_internal_user = USER
default_internal_group = GROUP
default_login_user = USER
SSL
mail_location = maildir:HOME/mail
service anvil {
  chroot =
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 2143
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = 2110
  }
  inet_listener pop3s {
    port = 0
  }
}
passdb {
  driver = static
}
"""


@contextmanager
def dovecot(*, is_encrypting: bool = False) -> Iterator[str]:
    """IMAP on port 2143, POP3 on port 2110."""
    server, address = program("dovecot"), public(75)
    ssl = "ssl = yes\nssl_cert = <HOME/pem\nssl_key = <HOME/pem" if is_encrypting else "ssl = no"
    settings = DOVECOT.replace("ADDRESS", address).replace("USER", USER).replace("GROUP", GROUP).replace("SSL", ssl)
    with (
        home(settings=settings, pem=pem(make("host.invalid")).decode()) as directory,
        running(server, "-F", "-c", directory / "settings", address=address, port=2110),
    ):
        assert wait_until(lambda: all(_greets(address, port) for port in (2143, 2110)))  # each in a process of its own
        yield address


@contextmanager
def postfix() -> Iterator[str]:
    """SMTP on port 2525, by the server that Postfix's sendmail starts for one connection. It wants to read from a pipe."""
    server, address = program("smtpd"), public(76)
    settings = {
        "main.cf": "compatibility_level = 3.6\nmyhostname = mail.invalid\nqueue_directory = HOME\ndata_directory = HOME\n",
        "master.cf": "",
    }
    with (
        home(**settings) as directory,
        for_each_connection(address, 2525, server, "-S", has_input=False, MAIL_CONFIG=str(directory)),
    ):
        yield address


POSTFIX = """
compatibility_level = 3.6
myhostname = mail.invalid
mydestination = mail.invalid
queue_directory = HOME/queue
data_directory = HOME/data
maillog_file = /dev/stdout
inet_protocols = ipv4
smtpd_peername_lookup = no
local_recipient_maps =
alias_maps =
smtpd_tls_security_level = may
smtpd_tls_cert_file = HOME/pem
smtpd_tls_key_file = HOME/pem
"""


@contextmanager
def encrypting_postfix() -> Iterator[str]:
    """SMTP that can begin TLS, on port 2525: for that the server needs its whole family, which only root can start."""
    server, address = program("master"), public(87)
    if not IS_ROOT:
        pytest.skip("postfix is tried as root")
    services = f"{address}:2525 inet n - n - - smtpd\n"
    services += "tlsmgr unix - - n - 1 tlsmgr\nanvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n"
    files = {"main.cf": POSTFIX, "master.cf": services, "pem": pem(make("host.invalid")).decode()}
    with home(**files) as directory:
        directory.chmod(0o755)
        for path in (directory, *directory.iterdir()):
            shutil.chown(path, "root", "root")
        for name in ("queue/pid", "queue/private", "queue/public", "data"):
            (directory / name).mkdir(parents=True)
            shutil.chown(directory / name, "root" if name == "queue/pid" else "postfix")
        with running(server, "-c", directory, "-d", address=address, port=2525, user={}):
            yield address


@contextmanager
def telnetd() -> Iterator[str]:
    """Telnet on port 2323."""
    server, address = program("telnetd"), public(77)
    with for_each_connection(address, 2323, server):
        yield address


@contextmanager
def xvnc() -> Iterator[str]:
    """TigerVNC on its own port, with a display that nobody sees."""
    server, address = program("Xvnc"), public(78)
    command = [server, f":{os.getpid()}", "-interface", address, "-rfbport", "5900", "-SecurityTypes", "VncAuth"]
    with running(*command, "-nolisten", "tcp", "-nolisten", "unix", address=address, port=5900):
        yield address


@contextmanager
def rsyncd() -> Iterator[str]:
    """rsync on port 8730."""
    server, address = program("rsync"), public(79)
    with home(settings="use chroot = no\nreverse lookup = no\n") as directory:
        command = [server, "--daemon", "--no-detach", "--config", directory / "settings", "--address", address]
        with running(*command, "--port", "8730", address=address, port=8730):
            yield address


@contextmanager
def mariadb(*, is_refusing: bool = False) -> Iterator[str]:
    """MariaDB on its own port; one that is refusing lets in local users only, and says so instead of greeting."""
    server, address = program("mariadbd"), public(80 if is_refusing else 81)
    sql = "DELETE FROM mysql.global_priv WHERE Host <> 'localhost';\nFLUSH PRIVILEGES;\n" if is_refusing else ""
    with home(sql=sql) as directory:
        data = f"--datadir={directory}/data"
        run(
            program("mariadb-install-db"),
            "--no-defaults",
            data,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        command = [server, "--no-defaults", data, f"--socket={directory}/socket", f"--init-file={directory}/sql"]
        command += ["--skip-name-resolve", f"--bind-address={address}", "--port=3306"]
        with running(*command, address=address, port=3306):
            yield address


@contextmanager
def postgres(*, is_encrypting: bool = False) -> Iterator[str]:
    """PostgreSQL on its own port."""
    tools, address = postgres_bin(), public(82 if is_encrypting else 83)
    if tools is None:
        pytest.skip("postgres is not installed")
    with home(pem=pem(make("host.invalid")).decode()) as directory:
        # The first line of that file is as good a password as any: nobody logs in.
        run(tools / "initdb", "-D", directory / "data", "-A", "scram-sha-256", "--pwfile", directory / "pem", "--no-sync")
        command = [tools / "postgres", "-D", directory / "data", "-h", address, "-p", "5432", "-k", directory, "-F"]
        if is_encrypting:
            command += ["-c", "ssl=on", "-c", f"ssl_cert_file={directory}/pem", "-c", f"ssl_key_file={directory}/pem"]
        with running(*command, address=address, port=5432):
            yield address


@contextmanager
def etcd() -> Iterator[str]:
    """etcd on its own port."""
    server, address = program("etcd"), public(84)
    clients, peers = f"http://{address}:2379", f"http://{address}:2380"
    with home() as directory:
        command = [server, "--data-dir", directory, "--listen-client-urls", clients, "--advertise-client-urls", clients]
        command += [
            "--listen-peer-urls",
            peers,
            "--initial-advertise-peer-urls",
            peers,
            "--initial-cluster",
            f"default={peers}",
        ]
        with running(*command, address=address, port=2379):
            yield address


@contextmanager
def podman() -> Iterator[str]:
    """Podman, with Docker's API and on Docker's port; as root, so that it needs no ranges of user ids.

    Docker itself is not run: it changes the network settings of the whole machine.
    """
    server, address = program("podman"), public(86)
    if not IS_ROOT:
        pytest.skip("podman is tried as root")
    with home() as directory:
        command = [server, "--root", directory / "root", "--runroot", directory / "run", "--storage-driver=vfs"]
        command += ["--cgroup-manager=cgroupfs", "--events-backend=file", "system", "service", "--time=0"]
        with running(*command, f"tcp://{address}:2375", address=address, port=2375, user={}):
            yield address
