"""What happens before anything is started. Every refusal is one sentence with its remedy."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import secrets
import socket  # noqa: TID251 - to bind a port and let it go again; nothing is sent
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from scans.checks import ForeignDatabaseError, refuse_foreign
from scans.supervisor.errors import StartError

ADMIN = "admin"
_BUILDERS = ("django", "whitenoise")  # their versions decide what the collected files look like


def refuse_other_systems() -> None:
    """Probing, supervision and /proc are Linux; in WSL2 it is Linux too."""
    if platform.system() != "Linux":
        raise StartError(f"This needs Linux and runs on {platform.system()}: use a Linux machine, a container or WSL2.")


def refuse_taken_port() -> None:
    """A port that cannot be had is better said now than by a web server that keeps dying."""
    host, port = settings.HOST.strip("[]"), settings.PORT
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        raise StartError(_port_refusal(error, host, port)) from error


def _port_refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: stop what listens there, or choose another, for example PORT={port + 1}."
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for root: choose one above 1023, for example PORT=8000."
    return f"HOST={host} PORT={port} cannot be listened on ({error.strerror}): set HOST to an address of this machine."


def make_private_data_dir() -> None:
    """For its owner only; so is every file that this program and its children make from now on."""
    os.umask(0o077)
    try:
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(f"DATA_DIR={settings.DATA_DIR} cannot be made ({error.strerror}): choose another.") from error
    if not os.access(settings.DATA_DIR, os.W_OK | os.X_OK):
        raise StartError(f"DATA_DIR={settings.DATA_DIR} is not writable: make it so, or choose another.")


def migrate() -> None:
    """Bring the database up to date, unless it is another program's."""
    if connection.vendor == "sqlite":
        try:
            refuse_foreign(Path(connection.settings_dict["NAME"]))
        except ForeignDatabaseError as error:
            raise StartError(str(error)) from error
    try:
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
    except DatabaseError as error:
        raise StartError(f"The database cannot be brought up to date: {error}".strip()) from error


def refuse_missing_migrations() -> None:
    """A worker beside other workers does not change the database they all use."""
    try:
        executor = MigrationExecutor(connection)
        is_behind = bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError as error:
        raise StartError(f"The database does not answer: {error}".strip()) from error
    if is_behind:
        raise StartError("The database lacks migrations: run manage.py migrate, or manage.py up on the web host.")


def collect_static() -> bool:
    """Gather the static files where the web server reads them. Returns whether anything had changed since last time."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = _static_fingerprint()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return False
    call_command("collectstatic", interactive=False, verbosity=0, skip_checks=True)
    stamp.write_text(fingerprint)
    return True


def _static_fingerprint() -> str:
    """Names, sizes and times of all sources: a tenth of the time of reading them."""
    digest = hashlib.sha256(" ".join(version(name) for name in _BUILDERS).encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            stat = Path(storage.path(path)).stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def create_admin() -> str | None:
    """On the first start of the local profile: a superuser. Returns its password, which is stored nowhere in clear.

    A server's output is often kept in a log, so there the operator makes one: manage.py createsuperuser.
    """
    users = get_user_model().objects
    if not settings.IS_LOCAL or users.filter(is_superuser=True).exists() or users.filter(username=ADMIN).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    return password
