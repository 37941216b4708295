"""Nobody waits for somebody else's giant: what a job of one target waits while another job keeps every worker busy."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scans.core.ports import compact
from tests.chaos.figures import record
from tests.chaos.ground import ground, silent_ports_everywhere
from tests.chaos.kill_loop import percentile
from tests.fakes import Answer, service
from tests.stack import Stack, becomes

pytestmark = [pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]
ROUNDS = 5


@contextmanager
def frozen(group: int, ledger) -> Iterator[None]:
    """A cluster that does nothing for the length of the block. In the midst of a write to SQLite it would stop everybody."""
    assert becomes(lambda: _freeze(group, ledger))
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def _freeze(group: int, ledger) -> bool:
    os.killpg(group, signal.SIGSTOP)
    time.sleep(0.05)  # until the last of them has noticed
    if not ledger.is_locked():
        return True
    os.killpg(group, signal.SIGCONT)
    return False


def seconds_of_one(stack: Stack, ledger, port: int) -> float:
    """From the submission of one quick target to its result: two is the goal."""
    began = time.time()
    token = stack.scan(ip_addresses=["127.0.0.1"], ports=[port])
    query = "SELECT count(*) FROM scans_scanjob WHERE token = %s AND state = 'complete'"
    assert becomes(lambda: ledger.count(query, token)), stack.text()[-2000:]
    (ended,) = ledger.rows(
        "SELECT w.at FROM chaos_written w JOIN scans_scanjob j ON j.id = w.pk AND w.kind = 'job' WHERE j.token = %s", token
    )[0]
    return ended - began


def test_a_job_of_ten_thousand_targets_holds_up_a_small_one_by_little(start, ledger):
    stack = start(SCAN_MAX_TARGETS="10000", MAX_OPEN_TARGETS="0", MAX_OPEN_JOBS="0")
    ledger.count_from_now()
    with ground() as ports:
        alone = [seconds_of_one(stack, ledger, ports.heard) for _ in range(ROUNDS)]
        stack.scan(ip_addresses=["127.60.0.0-127.60.39.15"], ports=ports.all)
        assert becomes(ledger.holders)
        beside: list[float] = []
        while len(beside) < ROUNDS:
            seconds = seconds_of_one(stack, ledger, ports.heard)
            if not ledger.open_targets():
                break  # a quick machine; the giant was perhaps in nobody's way during this round
            beside.append(seconds)
    assert beside, "a small job waits for the giant's end"
    record(
        "One target beside a job of 10,000", ledger.name,
        alone_p50_s=percentile(alone, 50), beside_p50_s=percentile(beside, 50), beside_max_s=max(beside),
    )  # fmt: skip


def test_dark_hosts_with_a_thousand_ports_hold_up_a_small_job_by_little(start, ledger):
    stack = start()
    ledger.count_from_now()
    with silent_ports_everywhere(1000) as dark, ground() as ports:
        stack.scan(ip_addresses=["127.61.0.0/26"], ports=dark)
        assert becomes(ledger.holders)
        beside = [seconds_of_one(stack, ledger, ports.heard) for _ in range(ROUNDS)]
        assert ledger.open_targets(), "the small ones wait for the dark ones"
        query = "SELECT CAST(evidence AS text) FROM scans_targetresult WHERE host LIKE %s AND state = 'done'"
        assert becomes(lambda: ledger.rows(query, "127.61.%")), stack.text()[-2000:]
        states = json.loads(ledger.rows(query, "127.61.%")[0][0])["addresses"][0]["port_states"]
        assert states["filtered"] == compact(dark), "the ground is not dark"
    record(
        "One target beside 64 hosts of 1,000 ports", ledger.name,
        beside_p50_s=percentile(beside, 50), beside_max_s=max(beside),
    )  # fmt: skip


def test_three_large_jobs_share_the_workers_evenly(start, ledger):
    stack = start(SCAN_MAX_TARGETS="4096")
    ledger.count_from_now()
    with ground() as ports:
        with frozen(
            stack.cluster(), ledger
        ):  # else the first job is done before the third is there, where submitting takes long
            for n in range(3):
                stack.scan(ip_addresses=[f"127.{70 + n}.0.0-127.{70 + n}.7.255"], ports=ports.all)
        done = "SELECT job_id, count(*) FROM scans_targetresult WHERE state = 'done' GROUP BY job_id"
        assert becomes(lambda: sum(dict(ledger.rows(done)).values()) > 2500)
        shares = Counter(dict(ledger.rows(done)))
    assert len(shares) == 3
    assert max(shares.values()) < 3 * min(shares.values()), shares
    record("Three jobs of 2,048 targets", ledger.name, results_each=", ".join(map(str, sorted(shares.values()))))


@contextmanager
def stalled_resolver(directory: Path) -> Iterator[list[str]]:
    """A DNS server that takes questions and never answers. Yields the beginning of a command line that runs under it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.66.0.53", 53))
        conf = directory / "resolv.conf"
        conf.write_text("nameserver 127.66.0.53\noptions timeout:30 attempts:5\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        yield ["unshare", "--mount", "sh", "-c", script, str(conf)]
        assert len(server.recv(512)) > 12, "nobody has asked it"


def test_a_stalled_resolver_holds_up_only_those_who_wait_for_a_name(start, ledger, tmp_path):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("needs root and a mount namespace")
    with stalled_resolver(tmp_path) as within, ground() as ports:
        stack = start(within=within)
        ledger.count_from_now()
        began = time.time()
        names = [f"stuck{n}.invalid" for n in range(4)]
        stack.scan(ip_addresses=[*names[:2], "127.0.3.0-127.0.3.49", *names[2:]], ports=ports.quick)
        assert becomes(ledger.is_all_done), stack.text()[-2000:]
        stack.stop()
    ends = dict(ledger.rows("SELECT t.target, w.at FROM chaos_written w JOIN scans_targetresult t ON t.id = w.pk"))
    others = max(at for target, at in ends.items() if target not in names) - began
    stuck = min(ends[name] for name in names) - began
    assert others < stuck
    assert set(ledger.rows("SELECT DISTINCT error_code FROM scans_targetresult WHERE target LIKE 'stuck%%'")) == {
        ("resolve_failed",)
    }
    record("A resolver that never answers", ledger.name, others_saved_after_s=others, names_given_up_after_s=stuck)


@pytest.mark.parametrize("trouble", ["drips", "answers 429"])
def test_a_source_that_drips_or_says_429_holds_up_only_those_who_asked_it(start, ledger, trouble):
    answers = {
        "drips": Answer(body=b"[" + b" " * 100, drip_seconds=1),
        "answers 429": Answer(status=429, headers={"X-Ttl": "600", "X-Rl": "0"}),
    }
    with service(lambda _: answers[trouble]) as slow, ground() as ports:
        stack = start(OFFLINE="", IP_API_BASE_URL=slow.base_url, SCAN_TREAT_AS_GLOBAL="127.66.0.0/16")
        ledger.count_from_now()
        began = time.time()
        stack.scan(ip_addresses=["127.66.0.1", "127.66.0.2", "127.0.2.0-127.0.2.49"], ports=ports.quick)
        assert becomes(ledger.is_all_done), stack.text()[-2000:]
        stack.stop()
    assert slow.requests
    asked = ledger.rows("SELECT id FROM scans_targetresult WHERE target LIKE %s", "127.66.%")
    ends = dict(ledger.rows("SELECT pk, at FROM chaos_written WHERE kind = 'target'"))
    others = max(at for pk, at in ends.items() if (pk,) not in asked) - began
    last = max(ends.values()) - began
    if trouble == "drips":
        assert others < last
    record(f"A source that {trouble}", ledger.name, others_saved_after_s=others, asking_saved_after_s=last)


def test_a_stalled_resolver_a_drip_and_a_429_in_one_claim_hold_up_only_those_they_concern(start, ledger, tmp_path):
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"]).returncode:
        pytest.skip("needs root and a mount namespace")
    names, global_ones = [f"stuck{n}.invalid" for n in range(2)], ["127.66.0.1", "127.66.0.2"]
    targets = [names[0], "127.0.4.0-127.0.4.24", *global_ones, "127.0.4.25-127.0.4.49", names[1]]
    drip, no_more = Answer(body=b"[" + b" " * 100, drip_seconds=1), Answer(status=429, headers={"Retry-After": "600"})
    with (
        service(lambda request: drip if request.path.startswith("/drip") else no_more) as slow,
        stalled_resolver(tmp_path) as within,
        ground() as ports,
    ):
        sources = {"INTEL_IP_API_URL": f"{slow.base_url}/drip", "INTEL_INTERNETDB_URL": f"{slow.base_url}/full"}
        chosen = {"OFFLINE": "", "INTEL_SOURCES": "ip-api,internetdb", "SCAN_TREAT_AS_GLOBAL": "127.66.0.0/16"}
        stack = start(within=within, **sources, **chosen)
        ledger.count_from_now()
        began = time.time()
        stack.scan(ip_addresses=targets, ports=ports.quick)
        written = "SELECT count(*) FROM chaos_written WHERE kind = 'target'"
        assert becomes(lambda: ledger.count(written) >= 50), stack.text()[-2000:]
        leases = ledger.rows("SELECT DISTINCT lease FROM scans_targetresult WHERE target LIKE %s", "stuck%")
        assert becomes(ledger.is_all_done), stack.text()[-2000:]
        stack.stop()
    assert len(leases) == 1, "one claim held them all"
    assert {request.path.split("/")[1] for request in slow.requests} == {"drip", "full"}
    ends = dict(ledger.rows("SELECT t.target, w.at FROM chaos_written w JOIN scans_targetresult t ON t.id = w.pk"))
    asking, stuck = [ends.pop(target) for target in global_ones], [ends.pop(name) for name in names]
    others = list(ends.values())
    assert len(others) == 50
    assert max(others) < min(stuck)
    assert max(others) <= max(asking)
    assert [code for (code,) in ledger.rows("SELECT error_code FROM scans_targetresult WHERE target LIKE %s", "stuck%")] == [
        "resolve_failed"
    ] * 2
    kept = ledger.rows("SELECT CAST(evidence AS text) FROM scans_targetresult WHERE target LIKE %s", "127.66.%")
    states = [{s["source"]: s["state"] for s in json.loads(text)["addresses"][0]["sources"]} for (text,) in kept]
    assert states == [{"ip-api": "failed", "internetdb": "rate_limited"}] * 2
    record(
        "A stalled resolver, a drip and a 429 in one claim", ledger.name, others_saved_after_s=max(others) - began,
        asking_saved_after_s=max(asking) - began, names_given_up_after_s=min(stuck) - began,
    )  # fmt: skip
