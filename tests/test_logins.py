"""Signing in: one page for all, wrong passwords are blocked and told of, and what was typed is kept nowhere."""

from __future__ import annotations

import logging
from datetime import timedelta
from io import StringIO

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from scans.models import AuditEvent
from tests.test_keys import dump
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
PASSWORD = "a long and private sentence"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password=PASSWORD)


def sign_in(client: Client, name: str, password: str, *, path: str = "/login", **more: str):
    return client.post(path, {"username": name, "password": password}, **more)


def test_the_right_password_leads_to_where_one_was_going(server_profile, client, alice):
    assert client.get("/keys")["Location"] == "/login?next=/keys"
    reply = client.post("/login", {"username": "alice", "password": PASSWORD, "next": "/keys"})
    assert reply["Location"] == "/keys"
    page = client.get("/keys").content.decode()
    assert "alice" in page
    assert 'action="/logout"' in page


@pytest.mark.parametrize("where", ["https://evil.invalid/", "//evil.invalid/", "javascript:alert(1)"])
def test_the_login_leads_to_no_other_site(client, alice, where):
    assert client.post("/login", {"username": "alice", "password": PASSWORD, "next": where})["Location"] == "/"


def test_signing_out_ends_the_session_and_takes_a_button(server_profile, client, alice):
    sign_in(client, "alice", PASSWORD)
    assert client.get("/logout").status_code == 405
    assert client.post("/logout")["Location"] == "/login"
    assert client.get("/").status_code == 302


def test_signing_in_changes_the_session_and_needs_the_forgery_token(alice):
    client = Client(enforce_csrf_checks=True)
    assert sign_in(client, "alice", PASSWORD).status_code == 403
    client.get("/login")
    token = client.cookies["csrftoken"].value
    assert (
        client.post("/login", {"username": "alice", "password": PASSWORD, "csrfmiddlewaretoken": token}).status_code == 302
    )


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_there_is_one_login_page_and_it_keeps_the_policy(client, path):
    response = client.get(path)
    page = response.content.decode()
    assert "Sign in" in page
    assert "no-store" in response["Cache-Control"]
    assert policy_of(response) == POLICY
    assert inline_parts(page) == []


def test_somebody_who_may_not_see_the_admin_is_told_so_and_not_sent_in_a_circle(client, alice):
    client.force_login(alice)
    page = client.get("/admin/", follow=True)
    assert page.redirect_chain == [("/admin/login/?next=/admin/", 302)]
    assert "may not see that page" in page.content.decode()


@pytest.mark.parametrize(("name", "active"), [("alice", True), ("alice", False), ("nobody", True)])
def test_a_failure_says_the_same_whoever_it_was(client, alice, name, active):
    User.objects.update(is_active=active)
    reply = sign_in(client, name, "wrong" if active else PASSWORD)
    assert reply.status_code == 200
    assert "User name and password do not match." in reply.content.decode()
    assert name not in reply.content.decode().replace(f'value="{name}"', "")


@pytest.mark.parametrize("name", ["alice", "nobody"])
@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_a_hundred_wrong_logins_are_blocked_and_leave_a_few_rows(client, alice, name, path):
    replies = [sign_in(client, name, f"guess {n}", path=path) for n in range(100)]
    assert [reply.status_code for reply in replies] == [200] * 9 + [429] * 91
    locked = replies[-1]
    assert int(locked["Retry-After"]) == 900
    assert "Too many attempts" in locked.content.decode()
    assert policy_of(locked) == POLICY
    assert sign_in(client, name, PASSWORD, path=path).status_code == 429
    events = AuditEvent.objects.filter(action="login_failed").order_by("id")
    assert [event.detail["locked"] for event in events] == [False] * 9 + [True]
    assert {event.detail["name"] for event in events} == {"alice" if name == "alice" else "(unknown)"}


def test_nobody_can_lock_somebody_else_out_and_the_lock_ends(client, alice):
    for n in range(11):
        sign_in(client, "alice", f"guess {n}", REMOTE_ADDR="127.66.0.9")
    assert sign_in(client, "alice", PASSWORD, REMOTE_ADDR="127.66.0.9").status_code == 429
    assert sign_in(client, "alice", PASSWORD, REMOTE_ADDR="127.66.0.1").status_code == 302
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert sign_in(client, "alice", PASSWORD, REMOTE_ADDR="127.66.0.9").status_code == 302


def test_the_operator_can_end_a_lock(client, alice):
    for n in range(11):
        sign_in(client, "alice", f"guess {n}")
    call_command("axes_reset_username", "alice", stdout=StringIO())
    assert sign_in(client, "alice", PASSWORD).status_code == 302


def test_a_forged_forwarding_header_makes_no_new_client(client, alice):
    replies = [sign_in(client, "alice", "x", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(12)]
    assert replies[-1].status_code == 429


def test_one_address_may_try_only_so_many_names(client, alice, settings):
    settings.QUOTAS = {**settings.QUOTAS, "login": (30, 3600)}
    replies = [sign_in(client, f"user{n}", "password") for n in range(100)]
    assert [reply.status_code for reply in replies] == [200] * 30 + [429] * 70
    assert 1 <= int(replies[-1]["Retry-After"]) <= 3600
    assert AuditEvent.objects.count() == 30


def test_the_right_password_forgets_the_wrong_ones(client, alice):
    for _ in range(3):
        for n in range(8):
            sign_in(client, "alice", f"guess {n}")
        assert sign_in(client, "alice", PASSWORD).status_code == 302


@pytest.mark.parametrize("name", ["\0", "x" * 100_000, "\ud800", "\u202e", "' or 1=1 --"], ids=lambda name: repr(name[:9]))
def test_whatever_is_typed_as_a_name_the_answer_is_a_page(client, name):
    body = b"password=x&username=" + name.encode("utf-8", "surrogatepass")
    reply = client.post("/login", body, content_type="application/x-www-form-urlencoded")
    assert reply.status_code == 200


def test_what_was_typed_is_found_in_no_row_and_no_log(client, alice, caplog):
    caplog.set_level(logging.DEBUG)
    for n in range(12):
        sign_in(client, "alice", f"canary-password-{n}")
        sign_in(client, f"canary-in-the-name-field-{n // 11}", "x")  # as happens with one Tab too few
    sign_in(client, "alice", PASSWORD, REMOTE_ADDR="127.66.0.1")
    for place in (dump(), caplog.text):
        assert "canary" not in place
        assert PASSWORD not in place
        assert client.cookies["csrftoken"].value not in place
    assert AccessAttempt.objects.filter(username="alice").exists()


def test_coming_failing_and_going_are_told_of(client, alice):
    sign_in(client, "alice", "wrong")
    sign_in(client, "alice", PASSWORD)
    client.post("/logout")
    events = AuditEvent.objects.order_by("id").values_list("action", "actor", "actor_id", "via", "address")
    assert list(events) == [
        ("login_failed", "", None, "session", "127.0.0.1"),
        ("login", "alice", alice.pk, "session", "127.0.0.1"),
        ("logout", "alice", alice.pk, "session", "127.0.0.1"),
    ]
