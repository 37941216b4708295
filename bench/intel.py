"""What intelligence costs a target: time, CPU and queries, with a cold and a warm cache, beside a scan that asks nobody.

    .venv/bin/python bench/intel.py                        # 200 addresses, 3 rounds, SQLite
    .venv/bin/python bench/intel.py --addresses 1000 --rounds 5

Every source that is asked over the network is on, against stand-ins in a process of their own; the addresses are of the
loopback range that counts as public, each with one closed port. The cases take turns within a round. `free` has no limits,
so that everything is asked: what the asking costs. `kept` has the limits as they are: most addresses are soon refused, and
reports wait for the answers that are still to come. Printed is the median of the rounds for one target. Queries are those
of the slice's main thread. The machine is part of the result: read ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 900
CASES = ("nobody", "free, cold", "free, warm", "kept, cold", "kept, warm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--addresses", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=("measure", "stand-ins"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "stand-ins":
        return stand_ins()
    if arguments.role == "measure":
        return measure(arguments.addresses, arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as directory:
        env = {**os.environ, "TEST_DATA_DIR": directory, "DATABASE_URL": "", "PYTHONPATH": str(ROOT)}
        env["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        command = [sys.executable, __file__, "--role", "measure"]
        sizes = ["--addresses", str(arguments.addresses), "--rounds", str(arguments.rounds)]
        return subprocess.run([*command, *sizes], cwd=ROOT, env=env, check=False, timeout=LIMIT_SECONDS).returncode


def stand_ins() -> int:
    """The services, until standard input ends: their CPU is not the scanner's."""
    import django

    django.setup()
    from tests.stand_ins import every_source

    with every_source() as world:
        print(world.http.base_url, *world.dns, flush=True)
        sys.stdin.read()
    return 0


def measure(addresses: int, rounds: int) -> int:
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    command = [sys.executable, __file__, "--role", "stand-ins"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as services:
        try:
            base_url, host, port = services.stdout.readline().split()
            settings.SCANNER = replace(settings.SCANNER, intel=asking(settings.SCANNER.intel, base_url, (host, int(port))))
            taken = {case: [] for case in CASES}
            for _ in range(rounds):
                for case in CASES:
                    taken[case].append(one_job(case, addresses))
        finally:
            services.stdin.close()
    show(taken, addresses)
    return 0


def asking(before, base_url: str, dns: tuple[str, int]):
    """Options by which every source is asked at the stand-ins."""
    from tests.fakes import FakeService
    from tests.stand_ins import World

    service = FakeService(lambda _: None)
    service.base_url = base_url
    return World(service, dns).options(before)


def one_job(case: str, addresses: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds and queries of one job, each for one of its targets."""
    from django.conf import settings
    from django.db import connection

    from scans.core.intel import SOURCES
    from scans.models import RateBucket, SourceHealth, SourceReply
    from scans.services.slices import run_slice
    from tests.factories import make_job

    job = make_job(*(f"127.66.{n // 250}.{n % 250 + 1}" for n in range(addresses)), ports="9")
    if not case.endswith("warm"):
        SourceReply.objects.all().delete()
    RateBucket.objects.all().delete()
    SourceHealth.objects.all().delete()
    usual, queries = settings.SCANNER, 0

    def count(execute, *given):
        nonlocal queries
        queries += 1
        return execute(*given)

    if case == "nobody":
        settings.SCANNER = replace(usual, intel=replace(usual.intel, sources=tuple(f"-{kind.name}" for kind in SOURCES)))
    try:
        with without_limits(case.startswith("free")), connection.execute_wrapper(count):
            began, cpu = time.perf_counter(), time.process_time()
            while not job.is_finished:
                run_slice()
                job.refresh_from_db()
            spent = time.perf_counter() - began, time.process_time() - cpu
    finally:
        settings.SCANNER = usual
    job.delete()
    return spent[0] / addresses, spent[1] / addresses, queries / addresses


@contextmanager
def without_limits(is_so: bool):
    """No source has a limit of its own, and reports are waited for as long as it takes."""
    from django.conf import settings

    from scans.core.intel import choice

    usual, made = settings.SCANNER, choice._made

    def unlimited(kind, options):
        source = made(kind, options)
        source.limits = ()
        return source

    if is_so:
        choice._made = unlimited
        settings.SCANNER = replace(usual, intel=replace(usual.intel, grace_seconds=600))
    try:
        yield
    finally:
        choice._made, settings.SCANNER = made, usual


def show(taken: dict[str, list[tuple[float, float, float]]], addresses: int) -> None:
    from tests.stand_ins import REMOTE

    print(f"{addresses} public addresses, {len(REMOTE)} sources over the network, median of {len(taken['nobody'])} rounds")
    print(f"{'a target':14} {'wall ms':>9} {'cpu ms':>9} {'queries':>9}")
    for case, runs in taken.items():
        wall, cpu, queries = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{case:14} {1000 * wall:9.2f} {1000 * cpu:9.2f} {queries:9.2f}")


if __name__ == "__main__":
    sys.exit(main())
