"""How long jobs take through the real queue: submit to reply, submit to complete, targets per second.

    make bench                         # starts its own stack on SQLite, loopback targets only

Prints one line per workload: the median of the rounds, with minimum and maximum. The machine is part of the result:
compare runs on one machine, interleaved, and read ratios.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
WORKLOADS = {
    "1 address, 24 ports": {"ip_addresses": ["127.0.0.1"]},
    "256 addresses, 24 ports": {"ip_addresses": ["127.0.1.0/24"]},
    "1,024 addresses, 24 ports": {"ip_addresses": ["127.0.4.0/22"]},
    "1 address, 65,535 ports": {"ip_addresses": ["127.0.0.1"], "ports": "all"},
}
LIMIT_SECONDS = 120


def main() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as data_dir:
        env = {**os.environ, "PORT": str(port), "DATA_DIR": data_dir, "OFFLINE": "1", "DATABASE_URL": "", "SCAN_DB_PATH": ""}
        log = subprocess.DEVNULL
        program = subprocess.Popen([sys.executable, "manage.py", "up"], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            wait_until_ready(base)
            measure(base)
        finally:
            program.send_signal(signal.SIGTERM)
            program.wait(20)
    return 0


def wait_until_ready(base: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{base}/readyz", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit("the stack did not start")


def measure(base: str) -> None:
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in WORKLOADS}
    for _ in range(ROUNDS):  # interleaved, so that a slow minute of the machine hits every workload
        for name, body in WORKLOADS.items():
            found[name].append(one_job(base, body))
    print(f"{'workload':28} {'reply ms':>22} {'complete ms':>26} {'targets/s':>10}")
    for name, rows in found.items():
        replies, completes = [1000 * row[0] for row in rows], [1000 * row[1] for row in rows]
        rate = rows[0][2] / statistics.median(row[1] for row in rows)
        print(f"{name:28} {spread(replies):>22} {spread(completes):>26} {rate:10.0f}")


def one_job(base: str, body: dict[str, object]) -> tuple[float, float, int]:
    request = urllib.request.Request(f"{base}/scan", json.dumps(body).encode(), {"Content-Type": "application/json"})
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as reply:
        token = json.load(reply)["token"]
    replied = time.perf_counter() - started
    while time.perf_counter() - started < LIMIT_SECONDS:
        with urllib.request.urlopen(f"{base}/scan/{token}", timeout=30) as reply:
            document = json.load(reply)
        if document["status"] == "complete":
            return replied, time.perf_counter() - started, document["total_targets"]
        time.sleep(0.05)
    raise SystemExit(f"a job took more than {LIMIT_SECONDS} s")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    sys.exit(main())
