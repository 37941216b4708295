"""Ten workers at once, processes that share a database, scan a thousand public addresses: every source's quota is kept.

Counted is what arrives at the stand-ins. The bound is on all that was asked in the time that really passed, so a machine
that stalls only makes it wider. Sources that can do without a key have none: their limits are the narrower ones.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from scans.core.budgets import BURST
from scans.core.intel import RemoteSource
from scans.core.intel.base import KeyUse
from scans.core.options import IntelOptions
from tests.patience import AGES
from tests.stand_ins import REMOTE, World, every_source

ROOT = Path(__file__).resolve().parent.parent
WORKERS, NETWORK, ADDRESSES = 10, "127.66.8.0/22", 1024
SCAN = """
import json, os, time, django; django.setup()
from collections import Counter
from django.core.management import call_command
from django.db import connection
from scans.models import EgressEntry, ScanJob, TargetResult
from scans.services.slices import run_slice

def work():
    while ScanJob.objects.filter(finished_at=None).exists():
        run_slice()
        time.sleep(0.5)

call_command("migrate", verbosity=0)
call_command("scan", "{network}", ports="9", no_wait=True)
connection.close()
began, workers = time.monotonic(), []
for _ in range({workers}):
    if not (pid := os.fork()):
        try:
            work()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    workers.append(pid)
ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
lasted = time.monotonic() - began
states = Counter(
    f"{source['source']} {source['state']}" for row in TargetResult.objects.all()
    for address in row.evidence["addresses"] for source in address["sources"]
)
told = Counter()
for entry in EgressEntry.objects.all():
    told[entry.source] += entry.n
found = {"ended": ended, "seconds": lasted, "states": list(TargetResult.objects.values_list("state", flat=True))}
print(json.dumps(found | {"sources": states, "told": told}))
"""


def environment(world: World, directory: Path) -> dict[str, str]:
    options = world.options(IntelOptions())
    variables = {f"INTEL_{name.upper().replace('-', '_')}_URL": url for name, url in options.urls.items()}
    keyed = {kind.name for kind in REMOTE if kind.key is KeyUse.REQUIRED}
    variables |= {f"INTEL_{name.upper().replace('-', '_')}_KEY": options.keys[name] for name in keyed}
    variables |= {
        "DJANGO_SETTINGS_MODULE": "ipscanner.settings", "PROFILE": "local", "DATA_DIR": str(directory), "DATABASE_URL": "",
        "SCAN_DB_PATH": "", "SCAN_TREAT_AS_GLOBAL": "127.66.0.0/16", "FINGERPRINT": "0", "LOG_LEVEL": "WARNING",
        "INTEL_SOURCES": ",".join(options.sources), "IP_API_BASE_URL": "", "GEMINI_API_KEY": "", "GOOGLE_API_KEY": "",
        "DNS_SERVERS": "{}:{}".format(*world.dns), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    return os.environ | variables


def allowed(kind: type[RemoteSource], seconds: float) -> float:
    """Requests that the tightest of its limits lets through in so long, and not one more."""
    return min(
        min(BURST, limit.requests) + limit.requests * seconds / limit.seconds
        if limit.is_short
        else limit.requests * (1 + math.ceil(seconds / limit.seconds))
        for limit in kind.limits
    )


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """The stand-ins after the scan, and what its workers and the database say."""
    script = SCAN.replace("{network}", NETWORK).replace("{workers}", str(WORKERS))
    with every_source() as world:
        command, env = [sys.executable, "-c", script], environment(world, tmp_path_factory.mktemp("data"))
        with subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as parent:
            try:
                said, _ = parent.communicate(timeout=3 * AGES)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(parent.pid, signal.SIGKILL)  # its workers with it, if it did not end by itself
        return world, json.loads(said.splitlines()[-1])


ASKED_BY_HTTP = [kind for kind in REMOTE if kind.base_url]
ASKED_BY_DNS = {"cymru": ".origin.asn.cymru.com", "reverse-dns": ".in-addr.arpa", "dnsbl": ".zen.spamhaus.org"}  # by zone


@pytest.mark.parametrize("kind", ASKED_BY_HTTP, ids=lambda kind: kind.name)
def test_ten_workers_together_keep_the_quota_of_each_source(scanned, kind):
    world, found = scanned
    lasted = found["seconds"]
    asked = len(world.requests_of(kind.name))
    print(f"{kind.name}: {asked} requests in {lasted:.1f} s, {allowed(kind, lasted):.1f} allowed")
    assert 1 <= asked <= allowed(kind, lasted), f"{asked} requests in {lasted:.1f} s"


@pytest.mark.parametrize("name", ASKED_BY_DNS)
def test_nor_do_they_ask_dns_about_more_addresses_than_so_many_requests_hold(scanned, name):
    """A request is for up to a batch of addresses; a question that was sent again is one."""
    world, found = scanned
    (kind,) = [kind for kind in REMOTE if kind.name == name]
    about = {question for question in world.questions if question.endswith(ASKED_BY_DNS[name])}
    most = math.floor(allowed(kind, found["seconds"])) * (kind.batch_size + (2 if name == "dnsbl" else 0))  # two test points
    print(f"{name}: {len(about)} names in {found['seconds']:.1f} s, {most} allowed")
    assert 1 <= len(about) <= most


def test_nobody_is_asked_that_is_not_counted_here():
    assert {kind.name for kind in REMOTE} == {kind.name for kind in ASKED_BY_HTTP} | ASKED_BY_DNS.keys()


def test_every_address_has_its_result_and_a_word_for_every_source(scanned):
    _, found = scanned
    assert found["ended"] == [0] * WORKERS
    assert found["states"] == ["done"] * ADDRESSES
    for kind in REMOTE:
        assert sum(n for key, n in found["sources"].items() if key.split()[0] == kind.name) == ADDRESSES, kind.name


def test_the_ledger_counts_no_more_addresses_than_were_told(scanned):
    world, found = scanned
    for kind in ASKED_BY_HTTP:
        assert 1 <= found["told"][kind.name] <= len(world.requests_of(kind.name)) * kind.batch_size, kind.name
