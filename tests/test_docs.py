"""The documentation is true: settings, endpoints, generated pages, and every command in docs/api.md."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from django.urls import get_resolver

from scans.services.slices import run_slice

ROOT = Path(__file__).resolve().parent.parent
API = (ROOT / "docs/api.md").read_text()
BASE = "http://127.0.0.1:8000"


def test_the_settings_are_documented_and_no_other():
    """`.env.example` is compared with what is read in test_settings.py."""
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
    assert example == documented


@pytest.mark.parametrize("name", ["docs/sources.md", "docs/risk.md"])
def test_generated_pages_are_fresh(name):
    pages = runpy.run_path(str(ROOT / "docs/generate.py"))["PAGES"]
    assert (ROOT / name).read_text() == pages[name](), "run make docs"


def test_every_endpoint_is_documented():
    routes = {str(p.pattern) for p in get_resolver("scans.urls").url_patterns if "api" in str(p.lookup_str)}
    assert {"scan", "ai-agent", "scan/<str:token>", "healthz", "readyz"} <= routes
    for path in (
        "POST http://127.0.0.1:8000/scan ",
        "/ai-agent",
        "/scan/$TOKEN",
        "/healthz",
        "/readyz",
        "/api/docs/",
        "/api/schema/",
    ):
        assert path in API


def test_every_link_between_pages_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.django_db(transaction=True)
def test_every_command_of_the_api_page_works(live_server):
    commands = re.findall(r"```sh\n(.+?)\n```", API, re.DOTALL)
    assert len(commands) >= 7
    token, is_deleted = "", False
    for command in commands:
        argv = shlex.split(command.replace(BASE, live_server.url).replace("$TOKEN", token))
        assert argv[0] == "curl"
        replied = subprocess.run([*argv, "-w", "\n%{http_code}"], capture_output=True, text=True, timeout=20, check=True)
        body, _, status = replied.stdout.rpartition("\n")
        assert status in expected_statuses(command, is_deleted=is_deleted), (command, replied.stdout)
        is_deleted = is_deleted or "DELETE" in command
        if status == "202":
            token = json.loads(body)["token"]
            run_slice()


def expected_statuses(command: str, *, is_deleted: bool) -> set[str]:
    if "DELETE" in command:
        return {"204"}
    if "/cancel" in command:
        return {"409"}  # the slice has long finished it
    if "dry_run" in command:
        return {"200"}
    if is_deleted and "$TOKEN" in command:
        return {"410"}
    if "203.0.113.300" in command:
        return {"422"}
    if "/scan/0000" in command:
        return {"404"}
    if "/readyz" in command:
        return {"200", "503"}  # this test runs a slice itself, without a supervisor
    return {"202"} if "POST" in command else {"200"}


@pytest.mark.django_db(transaction=True)
def test_the_python_of_the_api_page_works(live_server, monkeypatch):
    (code,) = re.findall(r"```python\n(.+?)\n```", API, re.DOTALL)
    code = code.replace(BASE, live_server.url).replace("time.sleep(2)", "time.sleep(0.1)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    from scans.models import ScanJob

    for _ in range(200):
        if ScanJob.objects.exists():
            run_slice()
            break
        import time

        time.sleep(0.05)
    printed, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert printed.startswith("127.0.0.1 low [")
