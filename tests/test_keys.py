"""API keys are made on a page, in the admin and on the command line; each is shown once and found nowhere afterwards."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from scans.models import AuditEvent, ClientKey
from scans.services import audit, keys
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
FORM = re.compile(r"ipi_[A-Za-z0-9]{8}\.[A-Za-z0-9]{32}")


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def browser(alice) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def command(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def dump() -> str:
    """Every row of every table."""
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += cursor.fetchall()
    return repr(rows)


# --- The page ------------------------------------------------------------------------------------------------------


def test_a_key_is_made_on_the_page_and_shown_once(browser, alice):
    made = browser.post("/keys", {"name": "nightly", "scopes": ["read"], "days": "90"})
    (text,) = FORM.findall(made.content.decode())
    key = ClientKey.objects.get()
    assert made["Cache-Control"] == "private, no-store"
    assert (key.owner, key.name, key.scopes) == (alice, "nightly", ["read"])
    assert timedelta(days=89) < key.expiry_date - timezone.now() <= timedelta(days=90)
    assert keys.valid_key(text) == key
    page = browser.get("/keys").content.decode()
    assert f"ipi_{key.prefix}" in page
    assert not FORM.search(page)
    assert key.hashed_key not in page


def test_the_page_keeps_the_policy(browser):
    page = browser.post("/keys", {"name": "x", "scopes": ["read"], "days": ""})
    assert policy_of(page) == POLICY
    assert inline_parts(page.content.decode()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "x" * 51}, "at most 50 characters"),
        ({"name": "\u202e"}, "Give the key a name"),
        ({"scopes": []}, "Choose at least one"),
        ({"scopes": ["root"]}, "Choose at least one"),
        ({"scopes": ["admin"]}, "Choose at least one"),  # alice is not staff
        ({"days": "7000000"}, "Choose how long"),
    ],
)
def test_what_cannot_be_meant_makes_no_key(browser, fields, said):
    reply = browser.post("/keys", {"name": "n", "scopes": ["read"], "days": "90", **fields})
    assert reply.status_code == 422
    assert said in reply.content.decode()
    assert not ClientKey.objects.exists()


def test_somebody_can_have_only_so_many_keys(browser, monkeypatch):
    monkeypatch.setattr(keys, "MAX_KEYS", 1)
    form = {"name": "n", "scopes": ["read"], "days": ""}
    assert [browser.post("/keys", form).status_code for _ in range(2)] == [200, 422]
    browser.post(f"/keys/{ClientKey.objects.get().prefix}/revoke")
    assert browser.post("/keys", form).status_code == 200


def test_staff_may_choose_the_wide_scope(admin_client):
    assert 'value="admin"' in admin_client.get("/keys").content.decode()
    assert admin_client.post("/keys", {"name": "n", "scopes": ["admin"], "days": ""}).status_code == 200
    assert ClientKey.objects.get().scopes == ["admin"]


def test_revoking_ends_a_key_at_once(browser, alice):
    key, text = keys.create_key(alice, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    assert browser.post(f"/keys/{key.prefix}/revoke")["Location"] == "/keys"
    assert keys.valid_key(text) is None
    assert "revoked" in browser.get("/keys").content.decode()


@pytest.mark.parametrize("prefix", ["PREFIX", "aaaaaaaa", "%00", "x" * 500])
def test_nobody_revokes_or_sees_the_key_of_somebody_else(browser, prefix):
    bob = User.objects.create_user("bob")
    key, text = keys.create_key(bob, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    assert browser.post(f"/keys/{prefix.replace('PREFIX', key.prefix)}/revoke").status_code == 404
    assert keys.valid_key(text) == key
    assert key.prefix not in browser.get("/keys").content.decode()


def test_a_link_revokes_nothing(browser, alice):
    key, _ = keys.create_key(alice, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    assert browser.get(f"/keys/{key.prefix}/revoke").status_code == 405


def test_a_stranger_is_sent_to_the_login_in_either_profile(client):
    assert client.get("/keys")["Location"] == "/login?next=/keys"


def test_a_name_is_shown_as_text(browser):
    page = browser.post("/keys", {"name": "<script>alert(1)</script>", "scopes": ["read"], "days": ""}).content.decode()
    assert "<script>alert" not in page


# --- The command line ----------------------------------------------------------------------------------------------


def test_the_command_prints_the_key_alone_on_stdout(alice):
    out, err = command("create", "--user", "alice", "--name", "ci", "--scopes", "scan,read", "--expires", "12h")
    text = out.strip()
    assert FORM.fullmatch(text)
    assert text not in err
    key = keys.valid_key(text)
    assert key.scopes == ["read", "scan"]
    assert key.expiry_date - timezone.now() < timedelta(hours=12)
    listed, _ = command("list")
    assert key.prefix in listed
    assert not FORM.search(listed)
    assert command("list", "--user", "alice")[0] == listed


def test_the_command_revokes_by_the_visible_prefix(alice):
    text = command("create", "--user", "alice", "--name", "ci")[0].strip()
    prefix = text[:12]
    assert "is revoked" in command("revoke", prefix)[0]
    assert "was already revoked" in command("revoke", prefix)[0]
    assert keys.valid_key(text) is None
    assert AuditEvent.objects.filter(action="key_revoked").count() == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "--user", "nobody", "--name", "x"), "no user 'nobody'"),
        (("create", "--user", "alice", "--name", " "), "Give the key a name"),
        (("create", "--user", "alice", "--name", "x", "--scopes", "root"), "no scope 'root'"),
        (("create", "--user", "alice", "--name", "x", "--scopes", ""), "at least one scope"),
        (("create", "--user", "alice", "--name", "x", "--scopes", "admin"), "for staff"),
        (("create", "--user", "alice", "--name", "x", "--expires", "soon"), "not a lifetime"),
        (("create", "--user", "alice", "--name", "x", "--expires", "0d"), "not a lifetime"),
        (("revoke", "aaaaaaaa"), "no key with this prefix"),
        (("revoke", "\0"), "no key with this prefix"),
    ],
)
def test_what_the_command_cannot_do_it_says_in_one_sentence(alice, arguments, said):
    with pytest.raises(CommandError, match=said):
        command(*arguments)
    assert not ClientKey.objects.exists()


def test_a_closed_account_gets_no_key(alice):
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="not active"):
        command("create", "--user", "alice", "--name", "x")


# --- The admin -----------------------------------------------------------------------------------------------------


@pytest.mark.ignore_template_errors
def test_the_admin_makes_a_key_shows_it_once_and_stores_it_in_no_message(admin_client, alice):
    assert admin_client.get("/admin/scans/clientkey/add/").status_code == 200
    form = {"owner": alice.pk, "name": "made by staff", "scopes": ["read"], "expiry_date_0": "", "expiry_date_1": ""}
    made = admin_client.post("/admin/scans/clientkey/add/", form)
    page = made.content.decode()
    (text,) = FORM.findall(page)
    assert keys.valid_key(text).owner == alice
    assert policy_of(made) == POLICY
    assert inline_parts(page) == []
    assert text not in str(made.cookies)
    listed = admin_client.get("/admin/scans/clientkey/").content.decode()
    assert "made by staff" in listed
    assert not FORM.search(listed)
    assert text not in dump()


@pytest.mark.ignore_template_errors
def test_the_admin_refuses_what_the_service_refuses(admin_client, alice):
    form = {"owner": alice.pk, "name": "x", "scopes": ["admin"], "expiry_date_0": "", "expiry_date_1": ""}
    assert "for staff" in admin_client.post("/admin/scans/clientkey/add/", form).content.decode()
    assert not ClientKey.objects.exists()


@pytest.mark.ignore_template_errors
@pytest.mark.parametrize("action", ["revoke", "delete_selected"])
def test_the_admin_ends_keys_and_the_trail_keeps_it(admin_client, alice, action):
    key, text = keys.create_key(alice, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    admin_client.post("/admin/scans/clientkey/", {"action": action, "_selected_action": [key.pk], "post": "yes"})
    assert keys.valid_key(text) is None
    assert AuditEvent.objects.filter(action="key_revoked", actor="admin", detail__prefix=key.prefix).count() == 1


@pytest.mark.ignore_template_errors
def test_staff_who_may_only_look_make_and_end_no_keys(client, alice):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    key, text = keys.create_key(alice, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    assert client.get("/admin/scans/clientkey/").status_code == 200
    assert client.get("/admin/scans/clientkey/add/").status_code == 403
    client.post("/admin/scans/clientkey/", {"action": "revoke", "_selected_action": [key.pk]})
    assert keys.valid_key(text) == key


@pytest.mark.ignore_template_errors
def test_an_account_can_be_deleted_with_its_keys(admin_client, alice):
    keys.create_key(alice, name="n", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    assert admin_client.post(f"/admin/auth/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ClientKey.objects.exists()
    assert AuditEvent.objects.filter(action="key_created").exists()


# --- Nothing leaks -------------------------------------------------------------------------------------------------


def test_a_key_is_found_in_no_row_no_log_and_no_later_page(server_profile, browser, alice, caplog):
    caplog.set_level(logging.DEBUG)
    page = browser.post("/keys", {"name": "canary", "scopes": ["read", "scan"], "days": "30"}).content.decode()
    (text,) = FORM.findall(page)
    program, headers = Client(), {"Authorization": f"Bearer {text}"}
    body = {"ip_addresses": ["127.66.0.1"]}
    token = program.post("/scan", body, content_type="application/json", headers=headers).json()["token"]
    seen = [program.get(path, headers=headers).content.decode() for path in (f"/scan/{token}", "/scans", "/scan/x")]
    seen += [browser.get(path).content.decode() for path in ("/", "/keys", f"/jobs/{token}")]
    program.get(f"/scans?key={text}")
    browser.post(f"/keys/{text[4:12]}/revoke")
    program.get("/scans", headers=headers)
    secret = text.partition(".")[2]
    for place in (dump(), caplog.text, *seen):
        assert secret not in place
    assert text[4:12] in dump()  # the canary was really there: its prefix is
