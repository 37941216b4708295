"""How long pages, admin and API take to read over a long history, and a purge to delete it, on both databases.

    .venv/bin/python bench/history.py                     # 100,000 results on SQLite, then on a throw-away Postgres
    .venv/bin/python bench/history.py --results 1000000   # some twenty minutes and 20 GB
    .venv/bin/python bench/history.py --only dashboard    # the requests whose name holds this; no purge

Prints p50 and p95 of whole requests, in-process, as a member of staff or as somebody who sees their own jobs; then the
longest transaction of a purge. The machine is part of the result: read ratios.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 40
TARGETS_A_JOB = 100
LARGE_JOB = 1_000  # targets
LEVELS = "CASE WHEN ordinal < 50 THEN 'low' WHEN ordinal < 80 THEN 'medium' WHEN ordinal < 95 THEN 'high' ELSE 'unknown' END"
LIMIT_SECONDS = 170  # of both databases together, and as much again for each hundred thousand results
TAGS = 20
SMALL_LISTS = (
    "scans/waiver", "scans/clientkey", "scans/workerheartbeat", "scans/modelanswer", "scans/ratebucket",
    "scans/sourcehealth", "scans/rescore", "scans/rescoredverdict", "django_q/ormq", "django_q/success",
    "django_q/failure", "auth/user", "auth/group",
)  # fmt: skip
PORTS_A_DAY, COUNTRIES_A_DAY = 300, 60  # that the daily counts of a busy installation tell apart
FRESH_COUNTS = 2000  # not folded yet: what forty workers add in some seconds


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--only", default="", help="measure the requests whose name holds this, and no purge")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        measure(arguments.results, only=arguments.only)
        return 0
    inside = [sys.executable, __file__, "--inside", "--results", str(arguments.results), "--only", arguments.only]
    commands = {"sqlite": inside, "postgresql": [sys.executable, "tests/with_postgres.py", "--", *inside]}
    give_up_at = time.monotonic() + LIMIT_SECONDS * (1 + arguments.results / 100_000)
    for command, url in ((command, "") for name, command in commands.items() if arguments.database in (name, "both")):
        with tempfile.TemporaryDirectory(prefix="ipscanner-bench-") as directory:
            env = {**os.environ, "TEST_DATA_DIR": directory, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
            env["DJANGO_SETTINGS_MODULE"] = "tests.settings"
            subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=give_up_at - time.monotonic())
    return 0


def measure(results: int, *, only: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from ipscanner.gunicorn_conf import set_apart

    call_command("migrate", verbosity=0)
    began = time.monotonic()
    token = fill(results)
    busy = fill_busy_jobs()
    seconds, jobs = time.monotonic() - began, results // TARGETS_A_JOB
    set_apart()  # as the web server does
    print(f"\n{connection.vendor}: {results:,} results in {jobs:,} jobs, built in {seconds:.0f} s")
    print(f"{'request':58} {'p50 ms':>8} {'p95 ms':>8} {'cpu ms':>8} {'queries':>8}")
    requests = [("staff", *request) for request in (paths(token) | busy).items()]
    requests += [("owner1", f"{name}, as its owner", path) for name, path in own_paths(token).items()]
    for user, name, path in requests:
        if only in name:
            times, cpu, queries = timed(path, user=user)
            p95 = statistics.quantiles(times, n=20)[-1]
            print(f"{name:58} {statistics.median(times):8.1f} {p95:8.1f} {cpu:8.1f} {queries:8}", flush=True)
    if not only:
        purge_all()


def fill(results: int) -> str:
    """Jobs of three owners over 200 days, every target with one address; returns the token of one in the middle.

    One job is made by the program's own means; the others are copies of it by SQL, which takes a fifth of the time.
    """
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.db import connection, transaction
    from django.utils import timezone

    from scans.models import JobTag, ScanJob
    from tests.factories import make_address, make_job, make_report, make_result, make_service

    User.objects.create_superuser("staff", password="not used: the client logs in without")
    owners = [User.objects.create_user(f"owner{n}") for n in range(3)]
    first = make_job(*(f"https://host{n}.invalid/" for n in range(TARGETS_A_JOB)))
    for n in range(TARGETS_A_JOB):
        ssh = make_service(22, "SSH", product="OpenSSH", version="9.2p1")
        web = make_service(80, "HTTP", product="nginx", version=f"1.{n % 30}.0")
        seen = make_address(f"127.66.255.{n}", open_ports=[443], services=[ssh, web])
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
            JobTag.objects.create(job=job, name=f"tag{n % TAGS}")
            copy_targets(first.pk, job.pk, n)
            if n == 10 and connection.vendor == "postgresql":  # or it plans for empty tables to the end of the transaction
                with connection.cursor() as cursor:
                    cursor.execute("ANALYZE")
    count_days(first, [owner.pk for owner in owners], jobs)
    first.delete()
    if connection.vendor == "postgresql":  # which does so by itself within a minute or two; SQLite never does here
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    return ScanJob.objects.order_by("pk")[jobs // 2].token


def fill_busy_jobs() -> dict[str, str]:
    """A finished job whose targets all have services and a strip of their own, and two of 1,000 targets: one that is done,
    and one that runs, half of them seen; returns what their pages ask, at first and every two seconds."""
    from dataclasses import replace
    from datetime import timedelta

    from django.utils import timezone

    from scans.models import JobState, TargetState, WorkerHeartbeat
    from scans.selectors import RowFilters, RowOrder, job_progress, pace, row_slice
    from scans.web.job_rows import Shown
    from tests.factories import finish, make_address, make_job, make_report, make_result, make_services, spread

    served = make_job(*(f"https://served{n}.invalid/" for n in range(TARGETS_A_JOB)))
    for n in range(TARGETS_A_JOB):
        seen = make_address(f"127.65.255.{n}", services=make_services(), filtered=[9000 + n])
        make_result(make_report(f"https://served{n}.invalid/", seen), job=served)
    large = make_job(*(f"large{n}.invalid" for n in range(LARGE_JOB)))
    seen = make_address("127.65.253.1", services=make_services())
    spread(make_result(make_report("large0.invalid", seen), job=large), large.targets.all())
    finish(large)
    repeated = make_job(*(f"large{n}.invalid" for n in range(LARGE_JOB)), rerun_of=large.token)
    seen = replace(seen, services=make_services()[1:])
    spread(make_result(make_report("large0.invalid", seen), job=repeated), repeated.targets.all())
    finish(repeated)
    now = timezone.now()
    running = make_job(*(f"running{n}.invalid" for n in range(LARGE_JOB)), state=JobState.RUNNING, started_at=now)
    seen = make_address("127.65.254.1", services=make_services())
    row = make_result(make_report("running0.invalid", seen), job=running, state=TargetState.SCANNED)
    spread(row, running.targets.filter(ordinal__lt=LARGE_JOB // 2))
    soon = now + timedelta(hours=1)  # a supervisor that beats, or every page would look for work left behind
    WorkerHeartbeat.objects.create(kind="supervisor", host="bench", pid=1, started_at=now, seen_at=soon)
    page = row_slice(running, RowFilters(), order=RowOrder.SUBMITTED, first=1)
    progress = job_progress(running)
    shown = Shown.now(running, progress, page, pace(running, progress))
    news = {n: replace(shown, letters="l" * n + shown.letters[n:]) for n in (0, 1, TARGETS_A_JOB)}
    return {
        "a job's page, every target with services": f"/jobs/{served.token}",
        "a job's page, 1,000 targets": f"/jobs/{large.token}",
        "a job's page, 1,000 targets again": f"/jobs/{repeated.token}",
        "a running job's page, 1,000 targets": f"/jobs/{running.token}",
        **{f"a running job's page asks again, {n} rows new": f"/jobs/{running.token}?shown={s}" for n, s in news.items()},
    }


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
        cursor.execute(
            "INSERT INTO scans_resultterm (result_id, job_id, kind, value) SELECT n.id, n.job_id, t.kind, t.value "
            "FROM scans_targetresult n JOIN scans_targetresult o ON o.ordinal = n.ordinal JOIN scans_resultterm t ON "
            "t.result_id = o.id WHERE n.job_id = %s AND o.job_id = %s",
            [job, first],
        )
        insert = "INSERT INTO scans_resultterm (result_id, job_id, kind, value) SELECT id, job_id, "
        cursor.execute(
            insert + "'cert', 'invalid.host' || (%s + ordinal) FROM scans_targetresult WHERE job_id = %s",
            [n * TARGETS_A_JOB, job],
        )
        cursor.execute(  # one in twenty jobs has Redis, the others MySQL
            insert + "'service', %s FROM scans_targetresult WHERE job_id = %s AND ordinal IN (0, 10, 20, 40, 50, 70, 80)",
            ["mysql" if n % 20 else "redis", job],
        )


def count_days(job: Any, owners: list[int], jobs: int) -> None:
    """The daily counts of all these jobs, as the program would have them, and of more ports and countries than they have."""
    from datetime import timedelta

    from django.db import connection, transaction
    from django.utils import timezone

    from scans.models import EVERYBODY, CountKind, DailyCount
    from scans.selectors.countries import countries
    from scans.services import aggregates

    once = aggregates.Tally()
    for row in job.targets.all():
        once += aggregates.result_tally(row.state, row.evidence, row.verdict)
    for n, code in zip(range(PORTS_A_DAY), itertools.cycle(list(countries())[:COUNTRIES_A_DAY])):
        once.add(CountKind.PORT, str(1000 + n))
        once.add(CountKind.COUNTRY, code)
    once.add(CountKind.JOB, "complete")
    once.add(CountKind.WAIT, "1", milliseconds=300)
    each = max(1, jobs // (200 * len(owners)))  # jobs of an owner on a day
    today = timezone.now().date()
    for owner, times in (*((owner, each) for owner in owners), (EVERYBODY, each * len(owners))):
        tally = aggregates.Tally()
        for key, count in once.n.items():
            tally.n[key], tally.milliseconds[key] = count * times, once.milliseconds[key] * times
        DailyCount.objects.bulk_create(tally.rows(day=today, owner=owner, is_folded=True), batch_size=500)
    columns = "owner, kind, value, n, milliseconds, is_folded"
    copy = f"INSERT INTO scans_dailycount (day, {columns}) SELECT %s, {columns} FROM scans_dailycount WHERE day = %s"
    with transaction.atomic(), connection.cursor() as cursor:
        for n in range(1, 200):
            cursor.execute(copy, [today - timedelta(days=n), today])
    fresh = once.rows(day=today, owner=owners[0], is_folded=False)
    for _ in range(FRESH_COUNTS // len(fresh)):
        DailyCount.objects.bulk_create(once.rows(day=today, owner=owners[0], is_folded=False), batch_size=500)


def paths(token: str) -> dict[str, str]:
    from datetime import timedelta

    from django.utils import timezone

    jobs, results = "/admin/scans/scanjob/", "/admin/scans/targetresult/"
    middle = (timezone.now() - timedelta(days=100)).date()
    return {
        "dashboard: 7 days": "/dashboard?days=7",
        "dashboard: 30 days": "/dashboard",
        "dashboard: 90 days": "/dashboard?days=90",
        "history: newest": "/history",
        "history: from the middle on": f"/history?before={middle}T00:00:00Z,1",
        "history: newer than the middle": f"/history?after={middle}T00:00:00Z,1",
        "history: state": "/history?state=complete",
        "history: a state nobody has": "/history?state=cancelled",
        "history: outcome": "/history?outcome=complete",
        "history: an outcome nobody has": "/history?outcome=partial",
        "history: a common level": "/history?level=high",
        "history: a rare level": "/history?level=critical",
        "history: label begins": "/history?label=office",
        "history: nothing is labelled so": "/history?label=zzz",
        "history: tag": "/history?tag=tag7",
        "history: owner": "/history?owner=owner1",
        "history: address": "/history?address=127.66.5.5",
        "history: target begins, few do": "/history?q=host77777",
        "history: target begins, many do": "/history?q=host7",
        "history: target begins, all do": "/history?q=host",
        "history: nothing begins so": "/history?q=zzz",
        "history: a URL": "/history?q=https://host777.invalid/",
        "history: a service that all have": "/history?q=service:ssh",
        "history: a service of one in twenty jobs": "/history?q=service:redis",
        "history: a service nobody has": "/history?q=service:telnet",
        "history: product begins, all do": "/history?q=product:nginx",
        "history: product begins, one in three does": "/history?q=product:nginx 1.2",
        "history: no product begins so": "/history?q=product:zzz",
        "history: a name of a certificate": "/history?q=cert:host777.invalid",
        "history: any name of certificates below a domain": "/history?q=cert:*.invalid",
        "history: a finding that all have": "/history?q=finding:EXP-001",
        "history: two services of one target": "/history?q=service:redis product:openssh",
        "history: two services, never of one target": "/history?q=service:redis cert:host777.invalid",
        "history: two that many have, never together": "/history?q=product:nginx 1.1.0 service:mysql",
        "history: one day": f"/history?from={middle}&to={middle}",
        "history: several filters": f"/history?level=high&outcome=complete&tag=tag7&q=host&to={middle}",
        "history: several filters, nothing matches": "/history?level=critical&outcome=partial&tag=tag7&q=host",
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
        "API: jobs with a rare level": "/scans?risk=critical",
        "API: jobs with a tag": "/scans?tag=tag7",
        "API: jobs with a target": "/scans?q=host77777",
        "API: jobs with a service": "/scans?service=redis",
        "API: jobs with a product": "/scans?product=nginx 1.2",
        "API: results of a job with a product": f"/scan/{token}/results?product=nginx 1.2",
        "the form with its recent jobs": "/",
        "a job's page": f"/jobs/{token}",
        "a host's page": f"/jobs/{token}/hosts/8",
        "the page of sources": "/sources",
        "the waivers": "/waivers",
        "one's own keys": "/keys",
        "the login": "/login",
        **{f"admin: {name}": f"/admin/{name}/" for name in SMALL_LISTS},
    }


def own_paths(token: str) -> dict[str, str]:
    """What somebody asks who sees their own jobs only, a third of all."""
    kept = ("dashboard: 90 days", "history: newest", "history: a rare level", "history: target begins, many do",
            "history: target begins, few do", "history: address", "API: a page of jobs",
            "history: a service of one in twenty jobs", "history: product begins, one in three does")  # fmt: skip
    return {name: path for name, path in paths(token).items() if name in kept}


def timed(path: str, *, user: str) -> tuple[list[float], float, int]:
    """Milliseconds of each round, after one that does not count; this process' own of one; and the queries of one.

    On a shared machine the second says what the first would be if nobody else were there: on SQLite all of it.
    """
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(HTTP_HOST="localhost")
    client.force_login(User.objects.get(username=user))
    settings.IS_LOCAL = user == "staff"  # in the local profile everybody sees everything
    headers = {"HX-Request": "true"} if "shown=" in path else {}  # what a page asks by itself
    with CaptureQueriesContext(connection) as queries:
        reply = client.get(path, headers=headers)
    count = len(queries)
    if reply.status_code not in (200, 204):
        raise SystemExit(f"{path} answered {reply.status_code}")
    began = time.process_time()
    times = [_milliseconds(lambda: client.get(path, headers=headers)) for _ in range(ROUNDS)]
    return times, 1000 * (time.process_time() - began) / ROUNDS, count


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
