"""`manage.py scan`: submit to the running workers, results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scans.models import ScanJob
from tests.cluster import ROOT, child_environment, cluster
from tests.patience import AGES
from tests.servers import listening

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "scan", *arguments]
    env = child_environment(OFFLINE="1", **changes)
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=AGES, cwd=ROOT, env=env, check=False)


def test_results_of_the_workers_are_printed_as_they_come():
    with listening() as port, cluster(OFFLINE="1"):
        done = run("127.0.0.1", "127.0.0.2", "--ports", str(port), "--format", "ndjson")
        listed = run("-l", "-", "--ports", str(port), "--format", "csv", stdin="127.0.0.0/30 # lab\n")
    assert done.returncode == 0, done.stderr
    results = {r["target"]: r["open_ports"] for r in map(json.loads, done.stdout.splitlines())}
    assert results == {"127.0.0.1": [port], "127.0.0.2": []}
    assert listed.stdout.count("\n") == 5
    assert "No worker is running" in done.stderr  # a bare cluster has no supervisor, which is said


def test_a_target_without_result_is_exit_code_2():
    done = run("10.0.0.1", "--format", "json")
    assert done.returncode == 2
    assert json.loads(done.stdout)[0]["outcome"] == "refused"


def test_bad_input_names_each_target_and_stores_nothing():
    done = run("127.0.0.1", "300.1.1.1", "a b")
    assert done.returncode == 2
    assert "target 2: 300.1.1.1" in done.stderr
    assert "target 3: " in done.stderr
    assert ScanJob.objects.count() == 0


def test_a_submission_at_a_bad_time_says_why_and_stores_nothing():
    done = run("127.0.0.1", MIN_FREE_DISK_MB="1000000000")
    assert done.returncode == 2
    assert done.stderr.startswith("CommandError: The disk of the data directory")
    assert ScanJob.objects.count() == 0


def test_without_waiting_it_prints_the_token():
    done = run("127.0.0.1", "--no-wait")
    assert done.stdout.strip() == ScanJob.objects.get().token


def test_a_wait_that_ends_says_where_the_job_is():
    done = run("127.0.0.1", "--timeout", "0.5")
    assert done.returncode == 2
    assert f"/scan/{ScanJob.objects.get().token}" in done.stderr
