"""The audit trail: what it tells, and that nobody can change it, by whatever way they come."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client

from scans.models import AuditEvent, ScanJob
from scans.models.ops import AppendOnlyError
from scans.services import audit, keys
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan

pytestmark = pytest.mark.django_db
TRIGGERS = import_module("scans.migrations.0002_append_only_audit")


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def event(alice) -> AuditEvent:
    return audit.record(audit.Action.CANCEL, actor=alice, via="session", address="192.0.2.1", job_token="0" * 32, why="x")


@pytest.fixture
def triggers(event) -> None:
    """As the migration makes them; the test's transaction takes them back."""
    with connection.cursor() as cursor:
        for statement in TRIGGERS.INSTALL[connection.vendor]:
            cursor.execute(statement)


def test_an_event_tells_who_what_when_and_from_where(event, alice):
    event.refresh_from_db()
    assert (event.action, event.actor, event.actor_id) == ("cancel", "alice", alice.pk)
    assert (event.via, event.address, event.job_token, event.detail) == ("session", "192.0.2.1", "0" * 32, {"why": "x"})


def test_it_outlives_its_user(event, alice):
    number = alice.pk
    alice.delete()
    event.refresh_from_db()
    assert (event.actor, event.actor_id) == ("alice", number)


def test_the_model_refuses_to_change_or_delete(event):
    event.actor = "somebody else"
    with pytest.raises(AppendOnlyError):
        event.save()
    with pytest.raises(AppendOnlyError):
        event.delete()


WAYS = {
    "update": lambda: AuditEvent.objects.update(actor="somebody else"),
    "delete": lambda: AuditEvent.objects.all().delete(),
    "bulk update": lambda: AuditEvent.objects.bulk_update(
        [AuditEvent(pk=AuditEvent.objects.get().pk, actor="x")], ["actor"]
    ),
    "SQL update": lambda: connection.cursor().execute("UPDATE scans_auditevent SET actor = 'x'"),
    "SQL delete": lambda: connection.cursor().execute("DELETE FROM scans_auditevent"),
}
if connection.vendor == "postgresql":
    WAYS["SQL truncate"] = lambda: connection.cursor().execute("TRUNCATE scans_auditevent")


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
def test_the_database_refuses_what_comes_by_other_ways(triggers, event, change):
    with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
        change()
    event.refresh_from_db()
    assert event.actor == "alice"


def test_new_events_are_taken(triggers, alice):
    audit.record(audit.Action.LOGOUT, actor=alice, via="session", address=None)
    assert AuditEvent.objects.count() == 2


def test_the_migration_takes_back_what_it_made(triggers, event):
    with connection.cursor() as cursor:
        for statement in TRIGGERS.REMOVE[connection.vendor]:
            cursor.execute(statement)
    AuditEvent.objects.update(actor="x")


@pytest.mark.parametrize("way", ["session", "key", "anonymous", "form"])
def test_every_submission_is_told_of_with_its_way_in(alice, way):
    client, headers, expected = Client(), {}, way
    if way in ("session", "form"):
        client.force_login(alice)
        expected = "session"
    if way == "key":
        key, text = keys.create_key(alice, name="n", scopes=["scan"], expires_at=None, origin=audit.COMMAND_LINE)
        headers, expected = {"Authorization": f"Bearer {text}"}, f"key {key.prefix}"
    if way == "form":
        client.post("/", {"targets": "127.66.0.1", "profile": "default"})
    else:
        client.post("/scan", {"ip_addresses": ["127.66.0.1"]}, content_type="application/json", headers=headers)
    event = AuditEvent.objects.get(action="submit")
    assert (event.job_token, event.via, event.address) == (ScanJob.objects.get().token, expected, "127.0.0.1")
    assert event.actor == ("" if way == "anonymous" else "alice")
    assert event.detail == {"targets": 1}


def test_a_submission_that_is_rolled_back_has_not_happened(alice):
    with transaction.atomic():
        submit_scan(ScanRequest(items=(SubmittedItem(pointer="", text="127.66.0.1"),), owner=alice.pk))
        transaction.set_rollback(True)
    assert not AuditEvent.objects.filter(action="submit").exists()


@pytest.mark.parametrize("action", ["cancel", "rerun", "delete"])
def test_what_is_done_to_a_job_is_told_of_and_outlives_it(alice, action):
    client = Client()
    client.force_login(alice)
    body = {"ip_addresses": ["10.0.0.1"] if action != "cancel" else ["127.66.0.1"]}  # out of scope: complete at once
    token = client.post("/scan", body, content_type="application/json").json()["token"]
    path = f"/scan/{token}" if action == "delete" else f"/scan/{token}/{action}"
    assert client.generic("DELETE" if action == "delete" else "POST", path).status_code in (202, 204)
    event = AuditEvent.objects.get(action=action)
    assert (event.actor, event.via, event.job_token) == ("alice", "session", token)


def test_keys_are_told_of_by_their_prefix(alice):
    key, text = keys.create_key(alice, name="nightly", scopes=["read"], expires_at=None, origin=audit.COMMAND_LINE)
    keys.revoke_key(key, origin=audit.COMMAND_LINE)
    made, revoked = AuditEvent.objects.order_by("id")
    assert (made.action, made.via, made.detail["prefix"], made.detail["scopes"]) == (
        "key_created", "command line", key.prefix, ["read"],
    )  # fmt: skip
    assert (revoked.action, revoked.detail["prefix"]) == ("key_revoked", key.prefix)
    assert text.partition(".")[2] not in f"{made.detail} {revoked.detail}"


@pytest.mark.ignore_template_errors
def test_staff_read_the_trail_and_cannot_touch_it(admin_client, event):
    page = admin_client.get("/admin/scans/auditevent/?q=alice").content.decode()
    assert "192.0.2.1" in page
    url = f"/admin/scans/auditevent/{event.pk}/"
    assert admin_client.get(f"{url}change/").status_code == 200
    assert admin_client.post(f"{url}change/", {"actor": "x"}).status_code == 403
    assert admin_client.post(f"{url}delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get("/admin/scans/auditevent/add/").status_code == 403
