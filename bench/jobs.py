"""How long jobs take through the real queue, beside the service that this one replaces, in one interleaved run.

    make bench                                       # loopback, where nothing waits: 1, 100 and 10,000 targets
    .venv/bin/python bench/jobs.py --ground wan40    # 40 ms away and a fifth of the hosts silent; needs root (bench/lab)
    .venv/bin/python bench/jobs.py --sizes 1,100 --rounds 5

24 ports on each target, no intelligence, no limit of the probe rate. Per cell: the median of the rounds. The machine is
part of the result: read ratios. The old service takes hours for 10,000 targets at a distance; what it was not given (above
`--patience` seconds by its rate at fewer) stands in brackets, by that rate.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, summarize_address_range
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import processes  # noqa: E402

FIRST = {"loopback": IPv4Address("127.64.0.0"), "wan40": IPv4Address("10.99.64.0")}
NETWORK = {"loopback": "127.0.0.0/8", "wan40": "10.99.0.0/16"}
LIMIT_SECONDS = 900
SUBMITS = 40
TARGETS_AT_ONCE = 4  # of the old service


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A running service."""

    name: str
    base: str
    pid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One job."""

    reply_seconds: float
    complete_seconds: float
    megabytes: float
    written_bytes: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ground", choices=FIRST, default="loopback")
    parser.add_argument("--sizes", default="1,100,10000", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=300)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ground == "wan40" and not arguments.inside:
        return in_the_lab(sys.argv[1:])
    with ExitStack() as stack:
        old = stack.enter_context(original())
        new = stack.enter_context(product(NETWORK[arguments.ground]))
        report(arguments, measure(arguments, old, new))
        report_submits(new, FIRST[arguments.ground])
    return 0


def in_the_lab(argv: list[str]) -> int:
    from bench.lab import network

    network.up("wan40")
    try:
        inside = network.inside_command(sys.executable, __file__, *argv, "--inside")
        return subprocess.run(inside, cwd=ROOT).returncode
    finally:
        network.down()


# --- The two programs ------------------------------------------------------------------------------------------------


@contextmanager
def original() -> Iterator[Program]:
    port = free_port()
    command = [sys.executable, "bench/original.py", str(port)]
    with running("original", command, port, dict(os.environ)) as program:
        wait_until(lambda: answers(f"{program.base}/scan/none") == 404)
        yield program


@contextmanager
def product(network: str) -> Iterator[Program]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as data_dir:
        budgets = {"PROBE_RATE": "0", "PROBE_PER_HOST": "0", "PROBE_MAX_INFLIGHT": "0", "SCAN_MAX_TARGETS": "20000"}
        own = {"PORT": str(port), "DATA_DIR": data_dir, "OFFLINE": "1", "DATABASE_URL": "", "SCAN_DB_PATH": ""}
        own["FINGERPRINT"] = os.environ.get("FINGERPRINT", "0")  # the other asks no port what it is
        env = {**os.environ, **own, **budgets, "PROFILE": "local", "SCAN_ALLOW_NETWORKS": network}
        with running("product", [sys.executable, "manage.py", "up"], port, env) as program:
            wait_until(lambda: answers(f"{program.base}/readyz") == 200)
            yield program


@contextmanager
def running(name: str, command: list[str], port: int, env: dict[str, str]) -> Iterator[Program]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            yield Program(name=name, base=f"http://127.0.0.1:{port}", pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


# --- Measuring -------------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, *programs: Program) -> dict[tuple[str, int], list[Run]]:
    found: dict[tuple[str, int], list[Run]] = {}
    first = FIRST[arguments.ground]
    for round_number in range(arguments.rounds):  # interleaved, so that a slow minute of the machine hits everyone
        for size in arguments.sizes:
            for program in programs:
                cell = found.setdefault((program.name, size), [])
                if program.name == "original" and expected_seconds(found, size) > arguments.patience:
                    continue
                if program.name == "original" and cell and cell[0].complete_seconds > arguments.patience / 10:
                    continue  # once is enough of what takes so long
                cell.append(one_job(program, first, size))
                print(
                    f"  round {round_number + 1}: {program.name}, {size} targets: {cell[-1].complete_seconds:.2f} s",
                    flush=True,
                )
    return found


def expected_seconds(found: dict[tuple[str, int], list[Run]], size: int) -> float:
    """How long the old service will take, by the largest job it has done, four targets at a time; 0 if it has done none."""
    done = [n for (name, n), runs in found.items() if name == "original" and runs and n < size]
    if not done:
        return 0.0
    largest = max(done)
    return middle(found["original", largest], "complete_seconds") * size / max(largest, TARGETS_AT_ONCE)


def one_job(program: Program, first: IPv4Address, size: int) -> Run:
    processes.forget_peaks(program.pid)
    written = processes.written_bytes(program.pid)
    started = time.perf_counter()
    token = submit(program, first, size)
    replied = time.perf_counter()
    pause = 0.01 if size == 1 else 0.1
    while not is_complete(program, token):
        if time.perf_counter() - started > LIMIT_SECONDS:
            raise SystemExit(f"{program.name}: {size} targets took more than {LIMIT_SECONDS} s")
        time.sleep(pause)
    ended = time.perf_counter()
    return Run(
        reply_seconds=replied - started,
        complete_seconds=ended - started,
        megabytes=processes.peak_megabytes(program.pid),
        written_bytes=processes.written_bytes(program.pid) - written,
    )


def submit(program: Program, first: IPv4Address, size: int) -> str:
    networks = [str(network) for network in summarize_address_range(first, first + size - 1)]
    body = json.dumps({"ip_addresses": networks, "generate_ai_summary": False}).encode()
    request = urllib.request.Request(f"{program.base}/scan", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(json.load(reply)["token"])


def is_complete(program: Program, token: str) -> bool:
    """Without reading all results again and again, where that can be had."""
    path = f"/scan/{token}" if program.name == "original" else "/scans?limit=1"
    with urllib.request.urlopen(f"{program.base}{path}", timeout=60) as reply:
        document = json.load(reply)
    return bool((document if program.name == "original" else document["scans"][0])["status"] == "complete")


# --- Reporting -------------------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace, found: dict[tuple[str, int], list[Run]]) -> None:
    print(f"\n{arguments.ground}, 24 ports, median of the rounds")
    heads = ("reply ms", "complete s", "targets/s", "peak MB", "written/target", "ratio")
    print(f"{'':10} {'targets':>8}" + "".join(f" {head:>14}" for head in heads))
    for size in arguments.sizes:
        old = middle(found["original", size], "complete_seconds") or expected_seconds(found, size)
        for name in ("original", "product"):
            print(f"{name:10} {size:8}" + "".join(f" {cell:>14}" for cell in cells(found[name, size], size, old)))


def cells(runs: list[Run], size: int, old_seconds: float) -> tuple[str, ...]:
    if not runs:
        return "", f"[{old_seconds:.0f}]", f"[{size / old_seconds:.1f}]", "", "", ""
    complete = middle(runs, "complete_seconds")
    return (
        f"{1000 * middle(runs, 'reply_seconds'):.0f}",
        f"{complete:.2f}",
        f"{size / complete:.1f}",
        f"{middle(runs, 'megabytes'):.0f}",
        f"{middle(runs, 'written_bytes') / size:,.0f}",
        f"{old_seconds / complete:.2f}x",
    )


def report_submits(program: Program, first: IPv4Address) -> None:
    """How quickly 1,000 targets are accepted while the workers have more than enough to do."""
    tokens = [submit(program, first, 10_000)]
    replies = []
    for _ in range(SUBMITS):
        started = time.perf_counter()
        tokens.append(submit(program, first, 1000))
        replies.append(1000 * (time.perf_counter() - started))
    for token in tokens:
        urllib.request.urlopen(urllib.request.Request(f"{program.base}/scan/{token}/cancel", b"", method="POST"), timeout=60)
    replies.sort()
    print(f"\n1,000 targets accepted while the workers are busy: median {statistics.median(replies):.0f} ms, "
          f"p95 {replies[int(0.95 * len(replies))]:.0f} ms, of {SUBMITS}")  # fmt: skip


def middle(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs) if runs else 0.0


# --- Small things ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(url: str) -> int:
    """The status of the reply; 0 if there is none."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("a program did not start")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
