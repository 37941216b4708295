"""One form makes one job, however often its button is pressed; and a form that was changed makes another."""

from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from scans.models import AuditEvent, IdempotencyKey, ScanJob
from scans.services.idempotency import TAKE_OVER
from scans.web import once
from tests.factories import finish, make_job
from tests.patience import PATIENCE
from tests.threads import at_once

pytestmark = pytest.mark.django_db
FORM = {"targets": "127.0.0.1", "profile": "default", "ports": ""}
REFUSED = {**FORM, "targets": "127.1"}


def keys_in(page: str) -> list[str]:
    return re.findall(r'name="once" value="([^"]+)"', page)


def filled(client: Client, **fields: str) -> dict[str, str]:
    """The form as a browser would send it."""
    (key,) = keys_in(client.get("/").content.decode())
    return {**FORM, **fields, "once": key}


def test_a_second_press_leads_to_the_job_of_the_first(client):
    form = filled(client, label="weekly", tags="a, b")
    first, second = client.post("/", form), client.post("/", form)
    assert (second.status_code, second["Location"]) == (302, first["Location"])
    assert ScanJob.objects.count() == 1


@pytest.mark.parametrize("change", [{"targets": "127.0.0.2"}, {"profile": "all"}, {"label": "again"}, {"ai": "on"}])
def test_back_and_a_change_make_another_job(client, change):
    form = filled(client)
    first, second = client.post("/", form), client.post("/", {**form, **change})
    assert second.status_code == 302
    assert second["Location"] != first["Location"]


def test_each_form_that_is_rendered_makes_a_job_of_its_own(client):
    assert client.post("/", filled(client))["Location"] != client.post("/", filled(client))["Location"]
    refused = client.post("/", {**REFUSED, "once": "one"})
    assert refused.status_code == 422
    (key,) = keys_in(refused.content.decode())
    assert key != "one"


def test_a_refused_form_may_be_sent_again_once_what_refused_it_is_gone(client, settings):
    settings.MAX_OPEN_JOBS = 1
    waiting, form = make_job("127.0.0.9"), filled(client)
    assert client.post("/", form).status_code == 503
    finish(waiting)
    assert client.post("/", form).status_code == 302


def test_the_key_of_another_user_leads_nowhere(client, server_profile):
    places = set()
    for name in ("alice", "bob"):
        client.force_login(User.objects.create_user(name))
        places.add(client.post("/", {**FORM, "targets": "8.8.8.8", "once": "one"})["Location"])
    assert len(places) == 2


@pytest.mark.parametrize("key", ["é", "x" * 5000, "<script>", "a\0b"])
def test_any_key_will_do(client, key):
    first, second = (client.post("/", {**FORM, "once": key}) for _ in range(2))
    assert (first.status_code, second["Location"]) == (302, first["Location"])


def test_two_presses_of_scan_again_make_one_job_with_one_trace(client):
    job = make_job("127.0.0.1")
    finish(job)
    (key,) = keys_in(client.get(f"/jobs/{job.token}").content.decode())
    first, second = (client.post(f"/jobs/{job.token}/rerun", {"once": key}) for _ in range(2))
    assert (second.status_code, second["Location"]) == (302, first["Location"])
    assert ScanJob.objects.count() == 2
    assert AuditEvent.objects.filter(action="rerun").count() == 1


def test_a_press_while_the_first_never_ends_is_told_so_and_submits_nothing(client, monkeypatch):
    monkeypatch.setattr(once, "WAIT_SECONDS", 0.2)
    form = filled(client)
    client.post("/", form)
    IdempotencyKey.objects.update(token="", created_at=timezone.now())
    answer = client.post("/", form)
    assert (answer.status_code, answer["Retry-After"]) == (409, "1")
    assert once.AT_WORK in answer.content.decode()
    IdempotencyKey.objects.update(created_at=timezone.now() - TAKE_OVER - timedelta(seconds=1))
    assert client.post("/", form).status_code == 302, "it had died"
    assert ScanJob.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_presses_at_the_same_moment_all_lead_to_one_job(monkeypatch):
    monkeypatch.setattr(once, "WAIT_SECONDS", PATIENCE)
    start, places = threading.Barrier(4), []

    def press() -> None:
        start.wait(PATIENCE)
        places.append(Client().post("/", {**FORM, "once": "one"}).get("Location"))
        connection.close()

    at_once(press, threads=4)
    assert places == [f"/jobs/{ScanJob.objects.get().token}"] * 4
