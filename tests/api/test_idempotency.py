"""Idempotency-Key: a submission happens once, however often and however at once it is sent."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone

from scans.models import IdempotencyKey, ScanJob
from scans.services.idempotency import IdempotencyInFlightError, body_digest, submit_once
from tests.factories import make_job
from tests.patience import PATIENCE
from tests.threads import at_once

pytestmark = pytest.mark.django_db
BODY = {"ip_addresses": ["127.0.0.1"], "ports": [22]}


def submit(client, body=BODY, *, key: str = "one", path: str = "/scan"):
    data = body if isinstance(body, str) else json.dumps(body)
    return client.post(path, data, content_type="application/json", headers={"Idempotency-Key": key})


def age(**by: float) -> None:
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(**by))


@pytest.mark.parametrize("path", ["/scan", "/ai-agent"])
def test_the_same_body_again_gives_the_same_reply_and_no_second_job(client, path):
    first = submit(client, path=path)
    assert "Idempotent-Replayed" not in first
    again = submit(client, '{"ports": [22],   "ip_addresses": ["127.0.0.1"]}', path=path)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Idempotent-Replayed"] == "true"
    assert {name: again[name] for name in ("Location", "Retry-After", "Link")} == {
        name: first[name] for name in ("Location", "Retry-After", "Link")
    }
    assert ScanJob.objects.count() == 1


@pytest.mark.parametrize(("body", "path"), [({**BODY, "ports": [23]}, "/scan"), (BODY, "/ai-agent")])
def test_another_submission_under_the_same_key_is_a_422(client, body, path):
    submit(client)
    reply = submit(client, body, path=path)
    assert (reply.status_code, reply.json()["code"]) == (422, "idempotency_mismatch")
    assert ScanJob.objects.count() == 1


def test_another_key_is_another_job(client):
    assert submit(client).json()["token"] != submit(client, key="two").json()["token"]


def test_a_key_belongs_to_its_owner(server_profile, client):
    tokens = set()
    for name in ("alice", "bob"):
        client.force_login(User.objects.create_user(name))
        tokens.add(submit(client).json()["token"])
    assert len(tokens) == 2


def test_a_refused_submission_does_not_use_the_key_up(client):
    assert submit(client, {"ip_addresses": ["127.0.0.1", "999.1.1.1"]}).status_code == 422
    assert submit(client, {"ip_addresses": "no list"}).status_code == 422
    assert submit(client).status_code == 202


def test_a_request_that_is_still_in_flight_is_a_409(client):
    digest = body_digest("standard", BODY)
    IdempotencyKey.objects.create(owner_key="", key="one", body_digest=digest, created_at=timezone.now())
    reply = submit(client)
    assert (reply.status_code, reply.json()["code"]) == (409, "in_flight")
    age(seconds=20)
    assert submit(client).status_code == 409
    assert ScanJob.objects.count() == 0


def test_a_request_that_died_in_flight_blocks_its_key_for_a_minute_and_no_longer(client):
    IdempotencyKey.objects.create(owner_key="", key="one", body_digest="of another body", created_at=timezone.now())
    age(seconds=61)
    first = submit(client)
    assert first.status_code == 202
    assert submit(client).json() == first.json()
    assert IdempotencyKey.objects.count() == 1


def test_a_key_is_kept_for_a_day(client):
    first = submit(client).json()
    age(hours=23, minutes=59)
    assert submit(client).json() == first
    age(hours=24, minutes=1)
    assert submit(client, {**BODY, "ports": [23]}).json()["token"] != first["token"]


def test_who_was_too_slow_and_lost_the_key_stores_nothing(client):
    def slow() -> ScanJob:
        age(seconds=61)
        assert submit(client).status_code == 202  # another request takes over meanwhile
        return make_job("127.66.0.1")

    with pytest.raises(IdempotencyInFlightError):
        submit_once(owner=None, key="one", digest=body_digest("standard", BODY), submit=slow)
    assert submit(client).json()["token"] == ScanJob.objects.get().token


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb", "a\0b"])
def test_a_key_that_cannot_be_meant_is_a_422(client, key):
    reply = submit(client, key=key)
    assert reply.status_code == 422
    assert [error["pointer"] for error in reply.json()["errors"]] == ["/Idempotency-Key"]
    assert ScanJob.objects.count() == 0


@pytest.mark.parametrize("key", ["x" * 255, " a~!\"'", "%00"])
def test_a_key_is_any_printable_ascii_text(client, key):
    assert submit(client, key=key).status_code == 202


def test_a_body_that_holds_what_no_database_stores_is_digested_all_the_same():
    assert body_digest("ai", {"a": "\ud800\0"}) != body_digest("ai", {"a": "\ud801\0"})


@pytest.mark.django_db(transaction=True)
def test_of_many_requests_at_the_same_moment_one_submits(live_server):
    start, replies = threading.Barrier(6), []

    def send() -> None:
        start.wait(PATIENCE)
        replies.append(
            requests.post(f"{live_server.url}/scan", json=BODY, headers={"Idempotency-Key": "one"}, timeout=PATIENCE)
        )

    at_once(send, threads=6)
    assert {reply.status_code for reply in replies} <= {202, 409}
    tokens = {reply.json()["token"] for reply in replies if reply.status_code == 202}
    assert tokens == {ScanJob.objects.get().token}
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies if reply.status_code == 202) == 1
