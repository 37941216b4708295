"""What an operator reads at the start."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from django.conf import settings

from scans.conf import risk_pack
from scans.core.intel import IpApi, RemoteSource, switched_on
from scans.core.vulnerabilities import ALL_SOURCES
from scans.supervisor.prepare import ADMIN

log = logging.getLogger(__name__)

ENVIRONMENT = ("GEMINI_API_KEY", "GEMINI_MODEL", "SCAN_DB_PATH")


def everything(*, admin: str | None) -> str:
    """The text of `up`; `admin` is the password of the superuser just made."""
    where = _local_lines() if settings.IS_LOCAL else _server_lines()
    notes = ["Scan only what you may scan.", *_rules_lines(), *_sources_lines()]
    return "\n".join(["IP Intelligence Scanner", *where, *_password_lines(admin), "", *notes, "Ctrl-C stops.", ""])


def workers() -> str:
    """The text of `worker`."""
    return "\n".join(["IP Intelligence Scanner: workers only.", *_rules_lines(), "Ctrl-C stops.", ""])


def log_environment() -> None:
    """Which of the three variables that people forget are set. Never their values."""
    states = [f"{name} is {'set' if os.environ.get(name) else 'not set'}" for name in ENVIRONMENT]
    log.info(", ".join(states))


def _rules_lines() -> list[str]:
    """Nothing where the built-in rules are as they came."""
    own = settings.SCANNER.risk.rules_file
    return [f"Risk rules {risk_pack().version}: the built-in ones with {own} over them."] if own else []


def _sources_lines() -> list[str]:
    """Who is told about public addresses; nothing where nobody is."""
    intel = settings.SCANNER.intel
    asked = [source for source in switched_on(intel, ALL_SOURCES) if isinstance(source, RemoteSource)]
    if intel.offline or not asked:
        return []
    lines = [
        f"About public addresses others are asked: {', '.join(source.title for source in asked)}.",
        "The page /sources says what each is told, and its terms. OFFLINE=1 does without them.",
    ]
    if any(source.name == IpApi.name and source.url.startswith("http:") for source in asked):
        lines.append("ip-api.com is asked over plain HTTP: its free service is for non-commercial use.")
    return lines


def _local_lines() -> list[str]:
    host = settings.HOST.strip("[]")
    base = f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}"
    body = '{"ip_addresses": ["127.0.0.1"]}'
    return [
        f"  Page      {base}/",
        f"  Admin     {base}/admin/",
        f"  Submit    curl -s -X POST {base}/scan -H 'Content-Type: application/json' -d '{body}'",
        f"  Poll      curl -s {base}/scan/TOKEN     (TOKEN from the reply)",
    ]


def _server_lines() -> list[str]:
    return [
        f"  Listens   {settings.HOST}:{settings.PORT}, for the proxy that ends TLS",
        f"  Serves    {', '.join(settings.ALLOWED_HOSTS)}",
    ]


def _password_lines(admin: str | None) -> list[str]:
    if admin:
        login = f"  Login     {ADMIN}, password {admin}     (shown only this once)"
        return [login, f"            a new one: {_manage('changepassword')} {ADMIN}"]
    if settings.IS_LOCAL:
        return [f"  Login     {ADMIN}; a new password: {_manage('changepassword')} {ADMIN}"]
    return [f"  Login     a first user: {_manage('createsuperuser')}"]


def _manage(command: str) -> str:
    python = Path(sys.executable)
    shown = python.relative_to(settings.BASE_DIR) if python.is_relative_to(settings.BASE_DIR) else python
    return f"{shown} manage.py {command}"
