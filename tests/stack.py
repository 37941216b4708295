"""The program as an operator starts it, on a port and in a data directory of its own; it stays on the loopback."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.patience import PATIENCE
from tests.settings import NOWHERE

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Others of this machine that start a whole program wait their turn: two cores carry one."""
    with (Path(tempfile.gettempdir()) / "ipscanner-stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """Of a program that has its own database and stays on the loopback."""
    return {
        **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "Q_CLUSTER_NAME")},
        "DJANGO_SETTINGS_MODULE": "ipscanner.settings",
        "PROFILE": "local",
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "DATA_DIR": str(data_dir),
        "SCAN_DB_PATH": "",
        "SECRET_KEY": "",
        "OFFLINE": "1",
        "INTEL_SOURCES": "ip-api",
        "IP_API_BASE_URL": NOWHERE,
        "GEMINI_BASE_URL": NOWHERE,
        "GEMINI_API_KEY": "",
        "LOG_LEVEL": "INFO",
        "STOP_SECONDS": str(int(PATIENCE) // 2),  # a stop is clean however slow the machine is
        **changes,
    }


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(data_dir: Path, command: str = "up", **changes: str) -> subprocess.CompletedProcess[str]:
    """A program that is expected to end by itself."""
    env = environment(data_dir, **changes)
    argv = [sys.executable, "manage.py", command]
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)


class Stack:
    """A running supervisor and what it has started."""

    def __init__(self, data_dir: Path, command: str = "up", *, within: Sequence[str] = (), **changes: str) -> None:
        """`within` is the beginning of a command line that runs another program, in a namespace for example."""
        self.data_dir = data_dir
        env = environment(data_dir, **changes)
        self.port = int(env["PORT"])
        self.output = data_dir.with_name(f"{data_dir.name}.{time.monotonic_ns()}.log")
        with self.output.open("wb") as file:
            argv = [*within, sys.executable, "manage.py", command]
            self.process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text()

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """One request on a connection of its own; the body of the reply stays readable."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            reply = connection.getresponse()
            reply.text = reply.read().decode()
            return reply

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.text()
        with suppress(OSError):
            return self.request("GET", "/readyz").status == 200
        return False

    def scan(self, **body: object) -> str:
        reply = self.request("POST", "/scan", json.dumps(body), Content_Type="application/json")
        assert reply.status == 202, reply.text
        return json.loads(reply.text)["token"]

    def is_complete(self, token: str) -> bool:
        return json.loads(self.request("GET", f"/scan/{token}").text)["status"] == "complete"

    def descendants(self) -> dict[int, dict[str, str]]:
        """Every living process that the supervisor brought about, by whatever way, with its environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and b"SCANNER_SUPERVISOR=" in (raw := (entry / "environ").read_bytes()):
                    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
                    found[int(entry.name)] = {name: value for name, _, value in pairs}
        return {pid: env for pid, env in found.items() if env.get("DATA_DIR") == str(self.data_dir)}

    def cluster(self, queue: str = "scan") -> int:
        """The main process of a cluster: the one that leads its group."""
        found = self.descendants()
        (pid,) = [pid for pid, env in found.items() if env.get("Q_CLUSTER_NAME") == queue and os.getpgid(pid) == pid]
        return pid

    def stop(self) -> float:
        """SIGTERM; how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.text()
        assert "did not stop within" not in self.text(), "it had to be killed"
        return time.monotonic() - began

    def kill(self) -> None:
        """Whatever a failed test has left."""
        for pid in (self.process.pid, *self.descendants()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def becomes(condition: Callable[[], object], *, seconds: float = PATIENCE) -> bool:
    """Whether the condition comes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False
