"""Two worker hosts on one Postgres, each in a network namespace, and the cable of one is pulled out in mid-job.

    host a ─ veth ─┐
                   ├─ bridge, with Postgres on its address
    host b ─ veth ─┘

Everything happens inside one namespace of the test's own; nothing is connected to this machine's network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import with_postgres
from tests.chaos.figures import record
from tests.stack import ROOT

MISSING = [tool for tool in ("unshare", "ip", "mount", "nft") if not shutil.which(tool)]
pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]  # brings its own Postgres


def test_a_host_that_is_cut_off_loses_nothing_and_doubles_nothing_and_the_other_takes_over(tmp_path):
    if MISSING or os.geteuid() != 0 or with_postgres.postgres_bin() is None:
        pytest.skip(f"needs root, Postgres and {', '.join(MISSING) or 'nothing else'}")
    can_unshare = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True)
    if can_unshare.returncode:
        pytest.skip(f"no network namespaces here: {can_unshare.stderr.strip()}")
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.chaos.two_hosts", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2500)
    assert ran.returncode == 0, ran.stderr[-4000:] + ran.stdout[-2000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["not_once"] == []
    assert found["states"] == {"done": found["targets"]}
    assert found["cut_off"] > 0
    figures = {"targets": found["targets"], "cut_off": found["cut_off"], "lost": 0, "twice": 0}
    record("Two hosts, one cut off for 25 s", "Postgres", **figures, taken_over_after_s=found["taken_over_s"])
