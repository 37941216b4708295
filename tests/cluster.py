"""The real django-q2 cluster on the test database, alone or under the supervisor; whatever it started ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from django.db import connection

from tests.patience import PATIENCE
from tests.stack import becomes, one_at_a_time

ROOT = Path(__file__).resolve().parent.parent


def child_environment(**changes: str) -> dict[str, str]:
    """The environment of a program that works on this test's database and stays on the loopback."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "ipscanner.settings", **changes}
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        env["SCAN_DB_PATH"] = name
    else:
        env["DATABASE_URL"] = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    return env


def descendants(pid: int) -> list[int]:
    """Every living child, and theirs."""
    found, parents = [], [pid]
    while parents:
        parent = parents.pop()
        with suppress(OSError):
            children = [int(c) for c in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
            found += children
            parents += children
    return found


@contextmanager
def cluster(name: str = "scan", **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running cluster; the whole group is killed at the end. Needs a transactional test."""
    env = child_environment(SCANNER_DIE_WITH_PARENT="1", **changes)
    if name != "scan":
        env["Q_CLUSTER_NAME"] = name
    argv = [sys.executable, "manage.py", "qcluster", "--skip-checks"]
    with one_at_a_time():
        process = subprocess.Popen(argv, cwd=ROOT, env=env, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)


@contextmanager
def workers(**changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """The supervisor with its clusters, as on a worker host: what is killed below it comes back, and a stall is healed."""
    command = [sys.executable, "manage.py", "worker"]
    with one_at_a_time():
        process = subprocess.Popen(command, cwd=ROOT, env=child_environment(**changes), start_new_session=True)
        try:
            yield process
        finally:
            below = descendants(process.pid)
            process.kill()  # and the kernel all below it
            process.wait(PATIENCE)
            for pid in below:
                assert becomes(lambda pid=pid: has_ended(pid)), f"process {pid} outlived its supervisor"


def has_ended(pid: int) -> bool:
    """One that only waits to be collected has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
