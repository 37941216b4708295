"""The documentation is true: settings, endpoints, generated pages, and every command in docs/api.md."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from scans.models import WorkerHeartbeat
from scans.services import heartbeats
from scans.services.slices import run_slice
from tests.fakes import wait_until
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
API = (ROOT / "docs/api.md").read_text()
BASE = "http://127.0.0.1:8000"
COMMANDS = re.findall(r"```sh (\d+)\n(.+?)\n```", API, re.DOTALL)  # each with the status that it is answered with


def test_the_settings_are_documented_and_no_other():
    """`.env.example` is compared with what is read in test_settings.py."""
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE))
    assert example == documented


@pytest.mark.parametrize("name", ["docs/sources.md", "docs/risk.md"])
def test_generated_pages_are_fresh(name):
    pages = runpy.run_path(str(ROOT / "docs/generate.py"))["PAGES"]
    assert (ROOT / name).read_text() == pages[name](), "run make docs"


def test_every_endpoint_is_documented_by_a_command(client):
    commands = [command for _, command in COMMANDS]
    for path, methods in client.get("/api/schema/?format=json").json()["paths"].items():
        for method in methods:
            call = f"{BASE}{path.replace('{token}', '$TOKEN')}"
            found = [
                command
                for command in commands
                if re.search(rf"{re.escape(call)}[ ?\"']|{re.escape(call)}$", command)
                and (re.search(r"-X (\w+)", command) or ["", "GET"])[1] == method.upper()
            ]
            assert found, f"{method} {path}"
    for address in ("/api/docs/", "/api/schema/"):
        assert address in API


def test_every_parameter_and_field_of_the_schema_is_documented(client):
    schema = client.get("/api/schema/?format=json").json()
    operations = [operation for methods in schema["paths"].values() for operation in methods.values()]
    names = {parameter["name"] for operation in operations for parameter in operation.get("parameters", ())} - {"token"}
    for component in ("SubmissionRequest", "JobDocument", "Result"):
        names |= set(schema["components"]["schemas"][component]["properties"])
    assert [name for name in sorted(names) if not re.search(rf"[`\"?]{re.escape(name)}\b", API)] == []


def test_every_link_between_pages_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.django_db(transaction=True)
def test_every_command_of_the_api_page_is_answered_as_it_says(live_server):
    token, etag, supervisor = "", "", uuid4()
    with heartbeats.beating(supervisor, WorkerHeartbeat.Kind.SUPERVISOR):
        for expected, command in COMMANDS:
            heartbeats.beat(supervisor)
            if "/cancel" not in command:  # what is cancelled must not have ended
                run_slice()
            known = {BASE: live_server.url, "$TOKEN": token, "$ETAG": etag}
            argv = [filled(word, known) for word in shlex.split(command)]
            assert argv[0] == "curl"
            status, headers, body = curl(*argv)
            assert status == expected, (command, body)
            etag = headers.get("etag", etag)
            if status == "202":
                token = json.loads(body)["token"]


def filled(word: str, known: dict[str, str]) -> str:
    """A word of a command with what the shell would put in."""
    for name, value in known.items():
        word = word.replace(name, value)
    return word


def curl(*argv: str) -> tuple[str, dict[str, str], str]:
    """Status, headers and body of what a command replied."""
    replied = subprocess.run([*argv, "-i"], capture_output=True, text=True, timeout=PATIENCE, check=True)
    head, _, body = replied.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return first.split()[1], headers, body


@pytest.mark.django_db(transaction=True)
def test_the_python_of_the_api_page_works(live_server, monkeypatch):
    (code,) = re.findall(r"```python\n(.+?)\n```", API, re.DOTALL)
    code = code.replace(BASE, live_server.url)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    from scans.models import ScanJob

    assert wait_until(ScanJob.objects.exists)
    run_slice()
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert printed.startswith("127.0.0.1 low [")
