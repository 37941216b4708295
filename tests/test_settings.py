"""Settings come from the environment and fail at start when wrong; the secret is made once; log lines are clean."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipscanner.logs import OneLineFormatter, SecretFilter
from ipscanner.secret import load_or_create_secret
from tests.patience import AGES
from tests.stack import ROOT, environment

READS = (
    r"(?:whole_number|rate|networks)\(\"([A-Z_]+)\"",
    r"env\.\w+\(\s*\"([A-Z_]+)\"",
    r"env, \"([A-Z_]+)\"",
    r"env\.get\(\"([A-Z_]+)\"",
)
READ_BY_GUNICORN = {"WEB_CONCURRENCY"}


def python(data_dir: Path, code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    env = environment(data_dir, **changes)
    env |= {"SCAN_TREAT_AS_GLOBAL": changes.get("SCAN_TREAT_AS_GLOBAL", "")}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=AGES)


def setting(data_dir: Path, expression: str, **changes: str) -> str:
    ended = python(data_dir, f"from ipscanner import settings; print({expression})", **changes)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


# --- Settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"DATABASE_URL": "postgres://x@127.0.0.1/x", "SCAN_DB_PATH": "x.sqlite"},
            "DATABASE_URL and SCAN_DB_PATH are both set",
        ),
        ({"PROFILE": "server"}, "PROFILE=server needs ALLOWED_HOSTS"),
        ({"PROFILE": "laptop"}, "PROFILE='laptop' is neither 'local' nor 'server'"),
        ({"THROTTLE_SUBMIT": "60"}, "THROTTLE_SUBMIT='60' is not a rate like 60/min"),
        ({"THROTTLE_READ": "-1/min"}, "THROTTLE_READ='-1/min' is not a rate like 60/min"),
        ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES: 10.0.0.1/8 has host bits set"),
        ({"TRUSTED_PROXIES": "proxy.invalid"}, "TRUSTED_PROXIES: 'proxy.invalid' does not appear to be"),
        ({"RISK_RULES": "/no/such/rules.yaml"}, "RISK_RULES: /no/such/rules.yaml: is not there."),
        ({"OFFLINE": "maybe"}, "OFFLINE='maybe' is neither 1 nor 0"),
        ({"SCAN_TREAT_AS_GLOBAL": "127.66.0.0/16", "PROFILE": "server"}, "SCAN_TREAT_AS_GLOBAL is for demos and tests"),
    ],
)
def test_a_value_that_cannot_be_meant_stops_the_start_and_is_named(tmp_path, changes, said):
    ended = python(tmp_path, "import ipscanner.settings", **changes)
    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["check", "up", "worker", "doctor", "migrate"])
def test_rules_that_cannot_be_meant_stop_every_command_with_their_place(tmp_path, command):
    own = tmp_path / "rules.yaml"
    own.write_text("disable:\n  - EXP-002\n  - EXP-999\n")
    argv = [sys.executable, "manage.py", command]
    env = environment(tmp_path, RISK_RULES=str(own))
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith(f"RISK_RULES: {own}: line 1: the file: disable: 'EXP-999' is no rule of the")
    assert "Traceback" not in ended.stderr


def test_scan_db_path_names_the_database(tmp_path):
    expression = "settings.DATABASES['default']['NAME']"
    assert setting(tmp_path, expression, SCAN_DB_PATH=str(tmp_path / "mine.sqlite")) == str(tmp_path / "mine.sqlite")
    assert setting(tmp_path, expression) == str(tmp_path / "scans.sqlite")


def test_postgres_keeps_its_connections(tmp_path):
    expression = "settings.DATABASES['default']['CONN_MAX_AGE']"
    assert setting(tmp_path, expression, DATABASE_URL="postgres://x@127.0.0.1/x") == "600"


def test_the_server_profile_demands_a_login_and_passes_djangos_own_checks(tmp_path):
    server = {"PROFILE": "server", "ALLOWED_HOSTS": "scanner.invalid", "SCAN_TREAT_AS_GLOBAL": ""}
    env = environment(tmp_path, **server)
    argv = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=AGES)
    assert ended.returncode == 0, ended.stderr
    quotas = setting(tmp_path, "settings.QUOTAS", **server)
    assert quotas == "{'submit': (60, 60), 'preview': (120, 60), 'read': (600, 60), 'login': (30, 60)}"
    permissions = "settings.REST_FRAMEWORK['DEFAULT_PERMISSION_CLASSES']"
    assert "AllowAny" not in setting(tmp_path, permissions, **server)
    assert "LoginRequired" in setting(tmp_path, "settings.MIDDLEWARE", **server)


def test_the_example_names_every_setting_and_no_other():
    sources = [(ROOT / name).read_text() for name in ("ipscanner/settings.py", "scans/core/options.py")]
    read = {name for source in sources for pattern in READS for name in re.findall(pattern, source)} | READ_BY_GUNICORN
    assert set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)) == read


def test_the_example_loads_as_it_stands(tmp_path):
    lines = re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    values = dict(lines) | {"DATA_DIR": str(tmp_path), "DATABASE_URL": ""}
    assert setting(tmp_path, "settings.PORT", **values) == "8000"


# --- Secret ------------------------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "new" / "secret_key"
    key = load_or_create_secret(path)
    assert len(key) >= 50
    assert load_or_create_secret(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_together_get_one_secret(tmp_path):
    code = "from pathlib import Path; from ipscanner.secret import *; print(load_or_create_secret(Path('{}')))"
    argv = [sys.executable, "-c", code.format(tmp_path / "data" / "key")]
    running = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate(timeout=AGES)[0] for process in running}) == 1


def test_a_file_that_holds_no_secret_is_refused_and_not_overwritten(tmp_path):
    path = tmp_path / "secret_key"
    path.write_text("short\n")
    with pytest.raises(ValueError, match="shorter than 50 characters"):
        load_or_create_secret(path)
    assert path.read_text() == "short\n"


# --- Logs --------------------------------------------------------------------------------------------------------


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "x.py", 1, message, args, extra.get("exc_info"))


@given(st.text())
def test_whatever_is_logged_is_one_printable_line(text):
    line = OneLineFormatter().format(record("said %s", text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_traceback_stays_on_the_line_of_its_event():
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        line = OneLineFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert line.isprintable()
    assert r"ValueError: first\nsecond" in line


def test_a_secret_never_reaches_the_log():
    secret = "k3y-of-the-model-service"
    kept = record("calling %s with %s", "https://x.invalid", f"key={secret}")
    assert SecretFilter([secret, ""]).filter(kept)
    assert kept.getMessage() == "calling https://x.invalid with key=[secret]"


@pytest.mark.parametrize("dot", [".", "%2E", "%2e"])
def test_what_looks_like_an_api_key_never_reaches_the_log(dot):
    kept = record("Not Found: %s", f"/scan/ipi_abcDEF12{dot}{'s3cr' * 8}/x")
    SecretFilter().filter(kept)
    assert kept.getMessage() == "Not Found: /scan/[key]/x"


@pytest.mark.parametrize(
    "url", ["redis://:s3cr%2Ft-of-redis@127.0.0.1:9/0", "unix:///run/redis.sock?db=1&password=s3cr%2Ft-of-redis"]
)
def test_the_password_of_redis_is_a_secret_wherever_it_stands_in_the_address(tmp_path, url):
    assert {"s3cr%2Ft-of-redis", "s3cr/t-of-redis"} <= set(
        setting(tmp_path, "'\\n'.join(settings.SECRETS)", BROKER_URL=url).split()
    )


def test_short_values_are_no_secrets():
    kept = record("port %s", 8000)
    SecretFilter(["80"]).filter(kept)
    assert kept.getMessage() == "port 8000"


def test_a_secret_in_a_traceback_is_not_logged_either():
    secret = "AIza-not-a-real-key"
    try:
        raise ValueError(f"GET /?key={secret} with ipi_abcdefgh.0123456789")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    SecretFilter([secret]).filter(record)
    line = OneLineFormatter().format(record)
    assert "ValueError: GET /?key=[secret] with [key]" in line
    assert secret not in line
