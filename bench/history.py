"""How long the admin and the history take to read with 100,000 results, and a purge to delete them, on both databases.

    .venv/bin/python bench/history.py             # on SQLite, then on a throw-away Postgres if this machine has one
    .venv/bin/python bench/history.py --results 20000

Prints p50 and p95 of whole requests, in-process, as a member of staff; then the longest transaction of a purge. The
machine is part of the result: read ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 20
TARGETS_A_JOB = 100
LEVELS = "CASE WHEN ordinal < 50 THEN 'low' WHEN ordinal < 80 THEN 'medium' WHEN ordinal < 95 THEN 'high' ELSE 'unknown' END"
LIMIT_SECONDS = 170  # of both databases together


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        measure(arguments.results)
        return 0
    inside = [sys.executable, __file__, "--inside", "--results", str(arguments.results)]
    give_up_at = time.monotonic() + LIMIT_SECONDS
    for command, url in ((inside, ""), ([sys.executable, "tests/with_postgres.py", "--", *inside], "")):
        with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as directory:
            env = {**os.environ, "TEST_DATA_DIR": directory, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
            env["DJANGO_SETTINGS_MODULE"] = "tests.settings"
            subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=give_up_at - time.monotonic())
    return 0


def measure(results: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    began = time.monotonic()
    token = fill(results)
    seconds, jobs = time.monotonic() - began, results // TARGETS_A_JOB
    print(f"\n{connection.vendor}: {results:,} results in {jobs:,} jobs, built in {seconds:.0f} s")
    print(f"{'request':58} {'p50 ms':>8} {'p95 ms':>8} {'queries':>8}")
    for name, path in paths(token).items():
        times, queries = timed(path)
        print(
            f"{name:58} {statistics.median(times):8.1f} {statistics.quantiles(times, n=20)[-1]:8.1f} {queries:8}", flush=True
        )
    purge_all()


def fill(results: int) -> str:
    """Jobs of three owners over 200 days, every target with one address; returns the token of one in the middle.

    One job is made by the program's own means; the others are copies of it by SQL, which takes a fifth of the time.
    """
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.db import connection, transaction
    from django.utils import timezone

    from scans.models import ScanJob
    from tests.factories import make_address, make_job, make_report, make_result

    User.objects.create_superuser("staff", password="not used: the client logs in without")
    owners = [User.objects.create_user(f"owner{n}") for n in range(3)]
    first = make_job(*(f"https://host{n}.invalid/" for n in range(TARGETS_A_JOB)))
    for n in range(TARGETS_A_JOB):
        seen = make_address(f"127.66.255.{n}", open_ports=[22, 80, 443])
        make_result(make_report(f"https://host{n}.invalid/", seen), job=first)
    now, jobs = timezone.now(), results // TARGETS_A_JOB
    with transaction.atomic():
        for n in range(jobs):
            at = now - timedelta(days=200) * (jobs - n) / jobs
            job = ScanJob.objects.create(
                owner=owners[n % 3], label=f"office {n % 50}", mode="ai" if n % 4 == 0 else "standard", ports="1-24",
                submitted=["-"], total_targets=TARGETS_A_JOB, created_at=at, started_at=at, finished_at=at,
                state="complete", outcome="complete",
            )  # fmt: skip
            copy_targets(first.pk, job.pk, n)
    first.delete()
    if connection.vendor == "postgresql":  # which does so by itself within a minute; SQLite never does here
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    return ScanJob.objects.order_by("pk")[jobs // 2].token


def copy_targets(first: int, job: int, n: int) -> None:
    """The first job's targets once more, each with a name and an address of its own; every thousandth is critical."""
    from django.db import connection

    from scans.models import TargetResult

    is_sqlite = connection.vendor == "sqlite"
    address = "%s || ordinal" if is_sqlite else "CAST(%s || ordinal AS inet)"
    changed = {
        "job_id": ("%s", [job]),
        "target": ("'https://host' || (%s + ordinal) || '.invalid/'", [n * TARGETS_A_JOB]),
        "host": ("'host' || (%s + ordinal) || '.invalid'", [n * TARGETS_A_JOB]),
        "ip_address": (address, [f"127.{66 + n // 256}.{n % 256}."]),
        "risk_level": (LEVELS if n % 10 else f"CASE WHEN ordinal = 7 THEN 'critical' ELSE {LEVELS} END", []),
    }
    names = [field.column for field in TargetResult._meta.fields if field.column != "id"]
    values = ", ".join(changed[name][0] if name in changed else name for name in names)
    parameters = [value for name in names if name in changed for value in changed[name][1]]
    with connection.cursor() as cursor:
        copy = (
            f"INSERT INTO scans_targetresult ({', '.join(names)}) SELECT {values} FROM scans_targetresult WHERE job_id = %s"
        )
        cursor.execute(copy, [*parameters, first])
        cursor.execute(
            "INSERT INTO scans_targetaddress (result_id, address, is_global, observed_at) "
            "SELECT id, ip_address, %s, finished_at FROM scans_targetresult WHERE job_id = %s",
            [True, job],
        )


def paths(token: str) -> dict[str, str]:
    jobs, results = "/admin/scans/scanjob/", "/admin/scans/targetresult/"
    return {
        "admin: index with the overview": "/admin/",
        "jobs: first page": jobs,
        "jobs: last page": f"{jobs}?p=20",
        "jobs: state, outcome, mode": f"{jobs}?state__exact=complete&outcome__exact=complete&mode__exact=ai",
        "jobs: owner": f"{jobs}?owner__id__exact=3",
        "jobs: a rare level": f"{jobs}?risk=critical",
        "jobs: token": f"{jobs}?q={token}",
        "jobs: address": f"{jobs}?q=127.66.5.5",
        "jobs: label begins": f"{jobs}?q=office",
        "jobs: name begins": f"{jobs}?q=host77",
        "jobs: nothing begins so": f"{jobs}?q=zzz",
        "results: first page": results,
        "results: page 200, the last that is counted": f"{results}?p=200",
        "results: a rare level": f"{results}?risk_level=critical",
        "results: a state nobody has": f"{results}?state__exact=error",
        "results: mode of the job": f"{results}?job__mode__exact=ai",
        "results: owner of the job": f"{results}?job__owner__id__exact=3",
        "results: token": f"{results}?q={token}",
        "results: address": f"{results}?q=127.66.5.5",
        "results: name begins": f"{results}?q=host77",
        "results: nothing begins so": f"{results}?q=zzz",
        "audit events": "/admin/scans/auditevent/",
        "source replies": "/admin/scans/sourcereply/",
        "API: a page of jobs": "/scans",
        "API: jobs with an address": "/scans?address=127.66.5.5",
        "the form with its recent jobs": "/",
        "a job's page": f"/jobs/{token}",
    }


def timed(path: str) -> tuple[list[float], int]:
    """Milliseconds of each round, after one that does not count; and the queries of one."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(HTTP_HOST="localhost")
    client.force_login(User.objects.get(username="staff"))
    with CaptureQueriesContext(connection) as queries:
        reply = client.get(path)
    count = len(queries)
    if reply.status_code != 200:
        raise SystemExit(f"{path} answered {reply.status_code}")
    return [_milliseconds(lambda: client.get(path)) for _ in range(ROUNDS)], count


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def purge_all() -> None:
    """Every job goes; a chunk's time is that of its transaction, as nothing else is done in it."""
    from datetime import timedelta

    from django.utils import timezone

    from scans.services import purge
    from scans.services.audit import COMMAND_LINE

    chunks, began = [], time.monotonic()
    selection = purge.Selection(before=timezone.now() + timedelta(days=1))
    pieces = purge.purge(selection, origin=COMMAND_LINE)
    total = purge.Amounts()
    while True:
        started_at = time.perf_counter()
        if (taken := next(pieces, None)) is None:
            break
        chunks.append(1000 * (time.perf_counter() - started_at) - 1000 * purge.PAUSE_SECONDS)
        total += taken
    seconds = time.monotonic() - began
    print(
        f"purge of {total.targets:,} results: {seconds:.1f} s; transactions: {len(chunks)}, "
        f"p50 {statistics.median(chunks):.0f} ms, longest {max(chunks):.0f} ms"
    )
    began = time.monotonic()
    purge.give_back_space()
    print(f"giving back the space: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
