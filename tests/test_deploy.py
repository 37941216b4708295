"""The files under deploy/ name what exists: commands, settings, paths; and systemd finds nothing wrong with its units."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import get_commands

from tests.patience import AGES, PATIENCE
from tests.servers import refusing
from tests.stack import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
DAEMONS = [unit for unit in UNITS if "Type=oneshot" not in unit.read_text()]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SETTINGS = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
OF_PYTHON = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"}
OURS = ("web", "worker")


def assert_commands_exist(text: str) -> None:
    """Every manage.py command, every module that is run, every file of ours."""
    named = re.findall(r"manage\.py[\", ]+([a-z]+)", text)
    assert named
    assert set(named) <= set(get_commands())
    assert set(re.findall(r"-m ([a-z]+)", text)) <= {"gunicorn", "compileall"}
    for path in re.findall(r"(?:ipscanner|deploy)/[a-z_]+\.py", text):
        assert (ROOT / path).is_file(), path


# --- systemd -----------------------------------------------------------------------------------------------------


def options(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze (on Debian: apt install systemd)")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong(unit, tmp_path):
    copy = tmp_path / unit.name
    # Where it will be installed nothing is yet; and the interpreter of this test run exists for certain.
    text = unit.read_text().replace("/opt/ipscanner/.venv/bin/python", sys.executable)
    copy.write_text(text.replace("/opt/ipscanner", str(ROOT)))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)]
    if (timer := unit.with_suffix(".timer")).exists():
        argv.append(str(shutil.copy(timer, tmp_path)))
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=AGES)
    said = [line for line in (ended.stdout + ended.stderr).splitlines() if unit.stem in line]
    assert (ended.returncode, said) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_names_commands_and_settings_that_exist(unit):
    found = options(unit)
    assert_commands_exist(" ".join(found["ExecStart"] + found.get("ExecStartPre", []) + ["manage.py worker"]))
    settings = {name for line in found["Environment"] for name in re.findall(r"([A-Z_]+)=", line)}
    assert settings <= SETTINGS
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]


@pytest.mark.parametrize("unit", DAEMONS, ids=lambda unit: unit.stem)
def test_a_unit_of_what_keeps_running_stops_as_it_must(unit):
    found = options(unit)
    assert found["KillMode"] == ["mixed"]
    assert found["Restart"] == ["always"]
    assert found["TimeoutStopSec"] == ["20"]


def test_there_is_a_unit_for_each_program():
    assert [unit.stem for unit in DAEMONS] == ["ipscanner-web", "ipscanner-worker"]


# --- Containers --------------------------------------------------------------------------------------------------


def test_the_dockerfile_copies_what_exists_and_what_is_not_kept_out():
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]}
    assert sources == kept
    assert all((ROOT / name).exists() for name in sources)
    assert {"data", ".env"}.isdisjoint(sources)


def test_the_dockerfile_names_commands_and_settings_that_exist():
    assert_commands_exist(DOCKERFILE)
    names = {
        name for line in re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE) for name in re.findall(r"([A-Z_]+)=", line)
    }
    assert names <= SETTINGS | OF_PYTHON
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["ipscanner"]
    for command in re.findall(r"CMD (\[.+\])$", DOCKERFILE, re.MULTILINE):
        assert json.loads(command)[0] == "python"


def test_no_image_is_taken_from_a_named_registry():
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values()]
    assert len(images) == 5
    assert all(re.fullmatch(r"[a-z]+(:[0-9a-z.-]+)?", image) for image in images)


@pytest.mark.parametrize("name", OURS)
def test_a_service_names_commands_and_settings_that_exist(name):
    service = COMPOSE["services"][name]
    assert_commands_exist(" ".join(map(str, [*service["command"], *service.get("healthcheck", {}).get("test", [])])))
    assert set(service["environment"]) <= SETTINGS
    assert service["init"] is True
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_services_find_each_other_and_each_says_how_it_is():
    services = COMPOSE["services"]
    for name, service in services.items():
        assert name == "web" or "healthcheck" in service  # web: that of the image
        assert set(service.get("depends_on", {})) <= set(services)
        volumes = [volume.split(":")[0] for volume in service.get("volumes", ()) if ":" in volume]
        assert set(volumes) <= set(COMPOSE["volumes"])
    environment = services["web"]["environment"]
    for setting in ("DATABASE_URL", "BROKER_URL"):
        address = re.sub(r"\$\{[^}]*\}", "x", environment[setting])
        assert urlsplit(address).hostname in services


def test_no_secret_has_a_default():
    text = (DEPLOY / "compose.yaml").read_text()
    for secret in ("SECRET_KEY", "POSTGRES_PASSWORD"):
        assert f"${{{secret}:?" in text
        assert f"${{{secret}:-" not in text


# --- The health check --------------------------------------------------------------------------------------------


def healthcheck(port: int, **changes: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PORT": str(port), **changes}
    script = (DEPLOY / "healthcheck.py").read_text()
    assert "timeout=5)" in script
    argv = [sys.executable, "-c", script.replace("timeout=5)", f"timeout={PATIENCE})")]  # this machine may be slower
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=AGES)


@pytest.mark.django_db(transaction=True)
def test_the_health_check_asks_by_a_name_that_is_allowed(live_server, settings):
    port = urlsplit(live_server.url).port
    settings.ALLOWED_HOSTS = ["scanner.invalid"]
    assert healthcheck(port, ALLOWED_HOSTS="scanner.invalid,other.invalid").returncode == 0
    refused = healthcheck(port, ALLOWED_HOSTS="other.invalid")
    assert (refused.returncode, refused.stderr.strip()) == (1, "answered 400")


def test_the_health_check_fails_where_nobody_answers():
    with refusing() as port:
        ended = healthcheck(port)
    assert ended.returncode == 1
    assert ended.stderr.startswith("no answer: ")
