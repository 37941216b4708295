"""SQLite with everybody at it: no writer is turned away, and what was answered with 202 is on the disk.

LOAD_SECONDS and IMAGES make it a long run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.chaos.figures import record
from tests.chaos.ground import ground
from tests.chaos.kill_loop import percentile
from tests.chaos.roles import kill
from tests.cluster import descendants
from tests.patience import PATIENCE
from tests.stack import Stack, becomes

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]
CLIENTS = 50


@pytest.fixture
def stack(tmp_path, ledger):
    started = Stack(tmp_path / "data", **ledger.environment)
    try:
        assert becomes(started.is_ready), started.text()
        ledger.count_from_now()
        yield started
    finally:
        started.kill()


class Clients:
    """Many at once, each submitting a job and reading it."""

    def __init__(self, stack: Stack, ports: list[int], *, count: int) -> None:
        self.statuses: Counter[str] = Counter()
        self.accepted: list[tuple[float, str]] = []  # when the 202 had arrived, and the token
        self.seconds: list[float] = []
        self._stack = stack
        self._ports = ports
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, number: int) -> None:
        body = json.dumps({"ip_addresses": [f"127.40.{number}.1", f"127.40.{number}.2"], "ports": self._ports})
        while not self._ended.is_set():
            with suppress(OSError, HTTPException):  # a stopped or busy server lets a client wait too long
                began = time.monotonic()
                reply = self._stack.request("POST", "/scan", body, Content_Type="application/json")
                self.seconds.append(time.monotonic() - began)
                self._count("POST", reply)
                if reply.status == 202:
                    token = json.loads(reply.text)["token"]
                    self.accepted.append((time.monotonic(), token))
                    self._count("GET", self._stack.request("GET", f"/scan/{token}"))

    def _count(self, method: str, reply) -> None:
        said = json.loads(reply.text).get("code", "") if reply.status >= 400 else ""
        self.statuses[f"{method} {reply.status} {said}".strip()] += 1


def test_fifty_clients_and_the_workers_never_meet_a_locked_database(stack, ledger):
    seconds = float(os.environ.get("LOAD_SECONDS", 10))
    with ground() as ports, Clients(stack, ports.all, count=CLIENTS) as clients:
        time.sleep(seconds)
        clients._ended.set()
        for thread in clients._threads:
            thread.join(PATIENCE)
        assert becomes(ledger.is_all_done), ledger.open_targets()
    text = stack.text()
    stack.stop()
    # Housekeeping waits two seconds and tries again, on purpose: it must not wait for a writer that it has to kill.
    assert [line for line in text.splitlines() if "is locked" in line and "scans.supervisor.housekeeping" not in line] == []
    assert set(clients.statuses) <= {"POST 202", "GET 200"}, clients.statuses
    assert ledger.not_once() == []
    record(
        "50 clients and the workers", ledger.name, seconds=seconds, jobs=len(clients.accepted), locked=0, errors=0,
        reply_p50_ms=1000 * percentile(clients.seconds, 50), reply_p95_ms=1000 * percentile(clients.seconds, 95),
    )  # fmt: skip


# --- Crash images ------------------------------------------------------------------------------------------------------


@contextmanager
def everything_stopped(stack: Stack):
    """As a power loss finds it: between two instructions, everywhere at once."""
    stopped: list[int] = []
    try:
        while pids := [pid for pid in (stack.process.pid, *descendants(stack.process.pid)) if pid not in stopped]:
            stopped += kill(*pids, number=signal.SIGSTOP) or pids
        yield
    finally:
        kill(*stopped, number=signal.SIGCONT)


def test_a_crash_at_any_moment_leaves_a_sound_database_with_every_job_that_was_acknowledged(stack, ledger, tmp_path):
    images, promised = int(os.environ.get("IMAGES", 20)), 0
    with ground() as ports, Clients(stack, ports.all, count=4) as clients:
        for image in range(images):
            assert becomes(lambda before=promised: len(clients.accepted) > before)
            time.sleep(0.2 + image % 7 / 10)
            copy = tmp_path / f"image{image}.sqlite"
            with everything_stopped(stack):
                tokens = {token for _, token in clients.accepted}  # before the copy: these have been answered
                for suffix in ("", "-wal"):
                    if Path(f"{ledger.path}{suffix}").exists():
                        shutil.copyfile(f"{ledger.path}{suffix}", f"{copy}{suffix}")
            with closing(sqlite3.connect(copy)) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert tokens <= {token for (token,) in database.execute("SELECT token FROM scans_scanjob")}
            promised = len(tokens)
    assert becomes(ledger.is_all_done)
    stack.stop()
    record("Crash images under load", ledger.name, images=images, acknowledged_jobs=promised, missing=0, damaged=0)


def test_the_log_is_on_the_disk_before_a_job_is_acknowledged(stack, tmp_path):
    """By the system calls: after the last write to the log comes its sync, and only then the 202."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    (web,) = [pid for pid in descendants(stack.process.pid) if "gunicorn" in command(pid) and not descendants(pid)]
    trace = tmp_path / "trace"
    calls = "trace=pwrite64,fdatasync,fsync,sendto,sendmsg,write"
    argv = ["strace", "-f", "-y", "-s", "40", "-e", calls, "-o", str(trace), "-p", str(web)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    try:
        if "attached" not in (said := tracer.stderr.readline()):
            pytest.skip(f"strace may not look here: {said.strip()}")
        stack.scan(ip_addresses=["127.0.0.1"], ports=[9])
        assert becomes(lambda: "202 Accepted" in trace.read_text())
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=PATIENCE)
    lines = trace.read_text().splitlines()
    answered = next(n for n, line in enumerate(lines) if "202 Accepted" in line)
    written = max(n for n, line in enumerate(lines[:answered]) if re.search(r"pwrite64\(\d+<[^>]*-wal>", line))
    assert any(re.search(r"f(data)?sync\(\d+<[^>]*-wal>\)? *.*= 0", line) for line in lines[written:answered]), lines[
        written:
    ]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
