"""How long jobs take through the real queue, beside the service that this one replaces, in one interleaved run.

    make bench                                       # loopback, where nothing waits: 1, 100 and 10,000 targets
    make bench ARGS="--ground wan40"                 # 40 ms away and a fifth of the hosts silent; needs root (bench/lab)
    make bench ARGS="--sizes 1,100 --rounds 5"
    .venv/bin/python tests/with_postgres.py -- .venv/bin/python -m bench.jobs --postgres    # a throw-away one

24 ports on each target, no intelligence, no limit of the probe rate. A table for each size, per cell the median of the
rounds, and one of how a target's cost grows with their number. The machine is part of the result: read ratios. The old
service takes hours for 10,000 targets at a distance; what it was not given (above `--patience` seconds by its rate at
fewer) stands in brackets, by that rate.

Queries are counted in the product's own processes (bench/counted.py): those of the request that submits, and all that
workers and supervisor make until the job is complete; not those by which the bench looks whether it is. Workers look for
work when there is none: how often is measured before the first job, and "without idling" leaves so many out. Bytes written
are those that the product's processes had the kernel write to disk; with --postgres the server's write-ahead log alone.
With 10,000 targets among the sizes it also measures how quickly 1,000 targets are accepted while the workers are busy.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, summarize_address_range
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import processes  # noqa: E402

FIRST = {"loopback": IPv4Address("127.64.0.0"), "wan40": IPv4Address("10.99.64.0")}
NETWORK = {"loopback": "127.0.0.0/8", "wan40": "10.99.0.0/16"}
LIMIT_SECONDS = 900
SUBMITS, BUSY_TARGETS = 40, 10_000
SETTLE_SECONDS, IDLE_SECONDS = 3, 10
TARGETS_AT_ONCE = 4  # of the old service


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A running service."""

    name: str
    base: str
    pid: int
    counts: Path | None = None  # where its processes count their queries
    database: str = ""  # the address of its Postgres
    idle: float = 0.0  # queries a second while nothing is to do


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One job."""

    reply_seconds: float
    complete_seconds: float
    megabytes: float
    written_bytes: float
    queries: float = 0.0
    statements: float = 0.0
    idle_queries: float = 0.0  # of the queries, those that it would have made meanwhile anyway


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ground", choices=FIRST, default="loopback")
    parser.add_argument("--sizes", default="1,100,10000", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patience", type=float, default=300)
    parser.add_argument("--postgres", action="store_true", help="on DATABASE_URL, not on SQLite")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ground == "wan40" and not arguments.inside:
        return in_the_lab(sys.argv[1:])
    with ExitStack() as stack:
        old = stack.enter_context(original())
        new = stack.enter_context(
            product(NETWORK[arguments.ground], url=os.environ["DATABASE_URL"] if arguments.postgres else "")
        )
        print(f"  the product with nothing to do: {new.idle:.1f} queries a second", flush=True)
        report(arguments, measure(arguments, old, new))
        if max(arguments.sizes) >= BUSY_TARGETS:
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
def product(network: str, *, url: str) -> Iterator[Program]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as data_dir, tempfile.TemporaryDirectory() as counts:
        budgets = {"PROBE_RATE": "0", "PROBE_PER_HOST": "0", "PROBE_MAX_INFLIGHT": "0", "SCAN_MAX_TARGETS": "20000"}
        own = {"PORT": str(port), "DATA_DIR": data_dir, "OFFLINE": "1", "DATABASE_URL": url, "SCAN_DB_PATH": ""}
        own |= {"DJANGO_SETTINGS_MODULE": "bench.counted", "COUNT_QUERIES": counts}
        own["FINGERPRINT"] = os.environ.get("FINGERPRINT", "0")  # the other asks no port what it is
        env = {**os.environ, **own, **budgets, "PROFILE": "local", "SCAN_ALLOW_NETWORKS": network}
        with running("product", [sys.executable, "manage.py", "up"], port, env) as program:
            wait_until(lambda: answers(f"{program.base}/readyz") == 200)
            program = replace(program, counts=Path(counts), database=url)
            time.sleep(SETTLE_SECONDS)
            before = processes.queries(Path(counts), "work")[0]
            time.sleep(IDLE_SECONDS)
            yield replace(program, idle=(processes.queries(Path(counts), "work")[0] - before) / IDLE_SECONDS)


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
    written = written_bytes(program)
    web, work = queries(program, "web"), queries(program, "work")
    started = time.perf_counter()
    token = submit(program, first, size)
    replied = time.perf_counter()
    web = [after - before for before, after in zip(web, queries(program, "web"), strict=True)]
    pause = 0.01 if size == 1 else 0.1
    while not is_complete(program, token):
        if time.perf_counter() - started > LIMIT_SECONDS:
            raise SystemExit(f"{program.name}: {size} targets took more than {LIMIT_SECONDS} s")
        time.sleep(pause)
    ended = time.perf_counter()
    work = [after - before for before, after in zip(work, queries(program, "work"), strict=True)]
    return Run(
        reply_seconds=replied - started,
        complete_seconds=ended - started,
        megabytes=processes.peak_megabytes(program.pid),
        written_bytes=written_bytes(program) - written,
        queries=web[0] + work[0],
        statements=web[1] + work[1],
        idle_queries=program.idle * (ended - started),
    )


def written_bytes(program: Program) -> float:
    if not program.database:
        return processes.written_bytes(program.pid)
    with psycopg.connect(program.database) as connection:
        return float(connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()[0])


def queries(program: Program, programs: str) -> tuple[int, int]:
    return processes.queries(program.counts, programs) if program.counts else (0, 0)


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


HEADS = (
    "reply, ms", "submit to complete, s", "targets a second", "times the original's speed", "peak memory, MB",
    "bytes written, a target", "queries, a target", "  without idling", "statements, a target",
)  # fmt: skip


def report(arguments: argparse.Namespace, found: dict[tuple[str, int], list[Run]]) -> None:
    table = {}
    for size in arguments.sizes:
        old_seconds = middle(found["original", size], "complete_seconds") or expected_seconds(found, size)
        old, table[size] = (
            cells(found["original", size], size, old_seconds),
            cells(found["product", size], size, old_seconds),
        )
        print(f"\n{arguments.ground}, {size:,} target{'s' if size > 1 else ''} of 24 ports, median of the rounds")
        print_rows(["", "original", "product"], [HEADS, old, table[size]])
    print("\nHow the product's cost grows with the number of targets")
    print_rows(["", *(f"{size:,}" for size in arguments.sizes)], [HEADS, *table.values()])


def print_rows(heads: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
    for first, *others in (heads, *zip(*columns, strict=True)):
        print(f"{first:30}" + "".join(f" {cell:>12}" for cell in others))


def cells(runs: list[Run], size: int, old_seconds: float) -> list[str]:
    """What stands in the rows below HEADS."""
    if not runs:
        guesses = (f"[{old_seconds:.0f}]", f"[{size / old_seconds:.1f}]") if old_seconds else ("", "")
        return ["", *guesses, *[""] * (len(HEADS) - 3)]
    run = Run(**{field.name: middle(runs, field.name) for field in fields(Run)})
    per_target = (run.queries, max(0.0, run.queries - run.idle_queries), run.statements)
    return [
        f"{1000 * run.reply_seconds:.0f}",
        f"{run.complete_seconds:.2f}",
        f"{size / run.complete_seconds:.1f}",
        f"{old_seconds / run.complete_seconds:.2f}",
        f"{run.megabytes:.0f}",
        f"{run.written_bytes / size:,.0f}",
        *(f"{number / size:.2f}" if run.queries else "" for number in per_target),
    ]


def report_submits(program: Program, first: IPv4Address) -> None:
    """How quickly 1,000 targets are accepted while the workers have more than enough to do."""
    tokens = [submit(program, first, BUSY_TARGETS)]
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
