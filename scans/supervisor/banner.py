"""What an operator reads at the start."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from django.conf import settings

from scans.conf import risk_pack
from scans.supervisor.prepare import ADMIN

log = logging.getLogger(__name__)

ENVIRONMENT = ("GEMINI_API_KEY", "GEMINI_MODEL", "SCAN_DB_PATH")
IP_API_NOTICE = (
    "Global addresses are looked up at ip-api.com: a free service, over plain HTTP, for non-commercial use.\n"
    "OFFLINE=1 does without it."
)


def everything(*, admin: str | None) -> str:
    """The text of `up`; `admin` is the password of the superuser just made."""
    where = _local_lines() if settings.IS_LOCAL else _server_lines()
    notes = ["Scan only what you may scan.", *_rules_lines()]
    if not settings.SCANNER.intel.offline:
        notes.append(IP_API_NOTICE)
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
