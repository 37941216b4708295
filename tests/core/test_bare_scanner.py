"""`python -m scans.core`: the bare scanner as a program of its own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from scans.core import __main__ as bare_scanner
from scans.core.risk import default_pack
from tests.fakes import wait_until
from tests.patience import AGES, PATIENCE
from tests.servers import listening, refusing

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "scans.core", *arguments],
        input=stdin, capture_output=True, text=True, timeout=AGES, cwd=ROOT, check=False,
        env={**os.environ, "OFFLINE": "1", **env},
    )  # fmt: skip


def test_results_are_wire_results_one_a_line_as_they_come():
    with listening() as port, refusing() as other:
        done = run("127.0.0.1", "127.0.0.2", "--ports", f"{port},{other}", "--format", "ndjson")
    assert (done.returncode, done.stderr) == (0, "")
    results = {r["target"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert results["127.0.0.1"]["port_states"]["open"] == str(port)
    assert results["127.0.0.2"]["open_ports"] == []


def test_json_is_one_list_in_the_order_submitted():
    results = json.loads(run("127.0.0.3", "no.such.invalid", "127.0.0.1", "--ports", "1", "--format", "json").stdout)
    assert [result["target"] for result in results] == ["127.0.0.3", "no.such.invalid", "127.0.0.1"]


def test_a_key_in_a_url_is_in_no_log_of_whoever_logs_everything():
    key = "canary-key-0123456789"
    code = "import logging, runpy; logging.basicConfig(level=1); runpy.run_module('scans.core', run_name='__main__')"
    with refusing() as closed:
        service = {"IP_API_BASE_URL": f"http://127.0.0.1:{closed}", "INTEL_IP_API_KEY": key, "INTEL_SOURCES": "ip-api"}
        done = subprocess.run(
            [sys.executable, "-c", code, "127.66.0.1", "--ports", "1", "--format", "json"],
            capture_output=True, text=True, timeout=AGES, cwd=ROOT, check=True, env={**os.environ, **service},
        )  # fmt: skip
    (source,) = json.loads(done.stdout)[0]["sources"]
    assert (source["state"], source["reason"]) == ("failed", "no connection")
    assert key not in done.stdout + done.stderr


def test_a_scan_that_only_probes_loads_nothing_that_asks():
    code = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
runpy.run_module("scans.core", run_name="__main__")
"""
    env = {"PATH": os.environ["PATH"], "OFFLINE": "1"}

    def loaded(*arguments: str) -> set[str]:
        argv = [sys.executable, "-c", code, "127.0.0.1", "--ports", "1", *arguments]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=AGES, cwd=ROOT, check=True)
        return set(done.stderr.split())

    asking = {f"scans.core.{name}" for name in ("intel", "feeds", "vulnerabilities", "fingerprint.turns")}
    other = {"scans.core.fingerprint.protocols", "scans.core.summary.gemini", "_hashlib"}
    assert not loaded("--probe-only") & (asking | other)
    assert asking <= loaded()  # or they have another name by now


def test_csv_cells_are_no_formulas():
    rows = list(csv.reader(io.StringIO(run("127.0.0.1", "--ports", "1", "--format", "csv").stdout)))
    assert rows[0][0] == "target"
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_the_table_shows_level_ports_and_words():
    with listening() as port:
        done = run("127.0.0.1", "--ports", str(port))
    assert done.stdout.splitlines()[0] == f"127.0.0.1  low  {port}/unknown"


def test_targets_come_from_a_file_and_from_standard_input(tmp_path):
    listed = tmp_path / "targets.txt"
    listed.write_text("# lab\n127.0.0.4, 127.0.0.5\n\n")
    assert run("-l", str(listed), "--ports", "1", "--format", "ndjson").stdout.count("\n") == 2
    assert run("-l", "-", "--ports", "1", "--format", "ndjson", stdin="127.0.0.0/30\n").stdout.count("\n") == 4


def test_the_scope_policy_is_the_same_and_allow_widens_it():
    refused = run("10.1.2.3", "--ports", "1", "--format", "ndjson")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["outcome"] == "refused"
    assert (
        run(
            "127.0.0.1", "--ports", "1", "--format", "ndjson", PROFILE="server", ALLOWED_HOSTS="x", SCAN_TREAT_AS_GLOBAL=""
        ).returncode
        == 2
    )
    allowed = run("127.0.0.1", "--ports", "1", "--allow", "127.0.0.0/8", PROFILE="server", SCAN_TREAT_AS_GLOBAL="")
    assert allowed.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "at least one target"),
        (["300.1.1.1", "127.0.0.1", "a b"], "target 1: 300.1.1.1"),
        (["300.1.1.1", "127.0.0.1", "a b"], "target 3: "),
        (["127.0.0.1", "--ports", "70000"], "70000"),
        (["127.0.0.1", "--allow", "nonsense"], "--allow"),
        (["127.0.0.1", "--rate", "-1"], "0 (no limit) or more"),
        (["-l", "/no/such/file"], "/no/such/file"),
    ],
)
def test_bad_input_is_named_on_stderr_with_exit_code_2(arguments, word):
    done = run(*arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert done.stdout == ""


def test_zero_means_no_limit_of_its_own():
    with listening() as port:
        zeros = ("--rate", "0", "--per-host", "0", "--max-inflight", "0")
        done = run("127.0.0.1", "--ports", str(port), "--probe-only", "--format", "ndjson", *zeros)
    assert json.loads(done.stdout)["open_ports"] == [port]


def test_it_starts_without_django_in_a_fraction_of_a_second():
    loaded = run("127.0.0.1", "--ports", "1", "--probe-only")
    assert loaded.returncode == 0
    code = "import sys, scans.core.__main__; print([m for m in ('django', 'google.genai', 'httpx2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_an_interrupt_ends_it_at_once_with_130():
    command = [sys.executable, "-m", "scans.core", "127.0.0.0/24", "--ports", "all"]  # for minutes
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OFFLINE": "1"}, stdout=subprocess.PIPE)
    assert wait_until(lambda: _holds_a_socket(process.pid))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def _holds_a_socket(pid: int) -> bool:
    """Whether it has begun to probe: nothing before that opens one."""
    with suppress(FileNotFoundError):  # closed while we look
        return any(str(entry.readlink()).startswith("socket:") for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_a_list_too_long_to_read_is_refused_and_not_cut(tmp_path):
    listed = tmp_path / "long.txt"
    listed.write_text("#" * ((64 << 20) + 1))
    done = run("-l", str(listed))
    assert done.returncode == 2
    assert "split it" in done.stderr


def test_a_reader_that_stops_reading_gets_no_traceback():
    command = f"{sys.executable} -m scans.core 127.0.0.0/24 --ports 1 --format ndjson | head -1"
    env = {**os.environ, "OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=AGES, cwd=ROOT, env=env, check=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_no_limit_of_the_rate_is_none_of_a_network_either_and_another_rate_leaves_that_to_the_environment(monkeypatch):
    def budgets(*arguments: str) -> tuple[float, float]:
        probe = bare_scanner._options(bare_scanner._parser().parse_args(["127.0.0.1", *arguments])).probe
        return probe.rate_per_second, probe.network_per_second

    assert budgets("--rate", "0") == (0, 0)
    assert budgets("--rate", "50") == (50, 1000)
    monkeypatch.setenv("PROBE_NETWORK_RATE", "0")
    assert budgets("--rate", "5000") == (5000, 0)
    assert "PROBE_NETWORK_RATE=0" in bare_scanner._parser().format_help()


def test_an_operators_rules_rate_here_too_and_bad_ones_stop_it(tmp_path):
    own = tmp_path / "rules.yaml"
    own.write_text("rules:\n  - {id: EXP-001, tiers: [{at: 1, points: 50}]}\n")
    with listening() as port:
        scan = ["127.0.0.1", "no.such.invalid", "10.0.0.1", "--ports", str(port), "--format", "json"]
        results = json.loads(run(*scan, RISK_RULES=str(own)).stdout)
    assert [(result["risk_score"], result["risk_level"]) for result in results[:2]] == [(52, "high"), (0, "unknown")]
    version = f"{default_pack().version}+{hashlib.sha256(own.read_bytes()).hexdigest()[:12]}"
    assert {result["ruleset_version"] for result in results} == {version}  # also of those that could not be scanned
    own.write_text("rules:\n  - {id: EXP-001, points: 50}\n")
    ended = run("127.0.0.1", RISK_RULES=str(own))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"RISK_RULES: {own}: line 2: EXP-001: points: is not a field")
