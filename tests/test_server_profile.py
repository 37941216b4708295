"""The server profile as an operator starts it: nobody exists, nothing is open, and then it works for those who may."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from urllib.parse import urlencode

import pytest

from tests.patience import PATIENCE
from tests.stack import ROOT, Stack, becomes, environment, one_at_a_time

PASSWORD = "a long and private sentence"
SERVER = {
    "PROFILE": "server",
    "ALLOWED_HOSTS": "127.0.0.1",
    "BEHIND_TLS": "0",
    "SCAN_TREAT_AS_GLOBAL": "",
    "SCAN_ALLOW_NETWORKS": "127.0.0.0/8",
    "THROTTLE_SUBMIT": "2/h",
}


@pytest.fixture
def stack(tmp_path):
    with one_at_a_time():
        running = Stack(tmp_path / "data", **SERVER)
        try:
            assert becomes(running.is_ready), running.text()
            yield running
        finally:
            running.kill()


def manage(stack: Stack, *arguments: str, **more: str) -> str:
    env = environment(stack.data_dir, **SERVER, **more)
    argv = [sys.executable, "manage.py", *arguments]
    return subprocess.check_output(argv, cwd=ROOT, env=env, text=True, timeout=PATIENCE)


def cookie(reply, name: str) -> str:
    (value,) = [m[1] for header in reply.headers.get_all("Set-Cookie") or [] if (m := re.match(rf"{name}=([^;]+)", header))]
    return value


@pytest.mark.timeout(3000)
def test_nothing_is_open_and_those_who_may_can_work(stack):
    assert "createsuperuser" in stack.text()
    body = json.dumps({"ip_addresses": ["127.0.0.1"], "ports": "1", "generate_ai_summary": False})
    with closing(sqlite3.connect(stack.data_dir / "scans.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)

    # Strangers
    assert stack.request("GET", "/").headers["Location"] == "/login?next=/"
    refused = stack.request("POST", "/scan", body, Content_Type="application/json")
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')

    # A person
    make_user(stack)
    assert "do not match" in post_login(stack, "a wrong guess").text
    session = f"sessionid={sign_in(stack, PASSWORD)}"
    page = stack.request("GET", "/keys", Cookie=session)
    assert page.status == 200
    assert "operator" in page.text

    # A program
    key = manage(stack, "key", "create", "--user", "operator", "--name", "ci", "--expires", "1d").strip()
    headers = {"Authorization": f"Bearer {key}", "Content_Type": "application/json"}
    token = json.loads(stack.request("POST", "/scan", body, **headers).text)["token"]
    assert becomes(lambda: json.loads(stack.request("GET", f"/scan/{token}", **headers).text)["status"] == "complete")
    assert stack.request("GET", f"/scan/{token}").status == 401
    assert stack.request("GET", f"/scans?key={key}", **headers).status == 400
    assert stack.request("POST", "/scan", body, **headers).status == 202
    limited = stack.request("POST", "/scan", body, **headers)
    assert (limited.status, limited.headers["RateLimit-Remaining"]) == (429, "0")
    assert 1 <= int(limited.headers["Retry-After"]) <= 3600
    manage(stack, "key", "revoke", key[4:12])
    assert stack.request("GET", f"/scan/{token}", **headers).status == 401

    # What is kept
    with closing(sqlite3.connect(stack.data_dir / "scans.sqlite")) as database:
        actions = [action for (action,) in database.execute("SELECT action FROM scans_auditevent ORDER BY id")]
        assert actions == ["login_failed", "login", "key_created", "submit", "submit", "key_revoked"]
        for change in ("DELETE FROM scans_auditevent", "UPDATE scans_auditevent SET actor = 'x'"):
            with pytest.raises(sqlite3.DatabaseError, match="never changed or deleted"):
                database.execute(change)
    stored = "".join(path.read_bytes().decode("latin-1") for path in stack.data_dir.glob("scans.sqlite*"))
    for secret in (key.partition(".")[2], PASSWORD, "a wrong guess"):
        assert secret not in stored
        assert secret not in stack.text()
    stack.stop()


def make_user(stack: Stack) -> None:
    manage(
        stack, "createsuperuser", "--noinput", "--username", "operator", "--email", "",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )  # fmt: skip


def sign_in(stack: Stack, password: str) -> str:
    reply = post_login(stack, password)
    assert reply.headers["Location"] == "/"
    (attributes,) = [h for h in reply.headers.get_all("Set-Cookie") if h.startswith("sessionid=")]
    assert "HttpOnly" in attributes
    assert "SameSite=Lax" in attributes
    return cookie(reply, "sessionid")


def post_login(stack: Stack, password: str):
    form = stack.request("GET", "/login")
    token = cookie(form, "csrftoken")
    fields = {"username": "operator", "password": password, "csrfmiddlewaretoken": token}
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={token}"}
    return stack.request("POST", "/login", urlencode(fields), **headers)
