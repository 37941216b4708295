"""Quotas: exact, shared by all processes, told in headers, and never in the way of reading."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.db.models import F
from django.test import Client, RequestFactory

from scans.models import RateBucket, ScanJob
from scans.services import audit, keys, quotas
from tests.factories import make_job
from tests.threads import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(server_profile):
    """Three submissions and five reads in ten minutes."""
    server_profile.QUOTAS = {"submit": (3, 600), "read": (5, 600), "login": None}
    return server_profile


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def key_of(user: User) -> dict[str, str]:
    _, text = keys.create_key(user, name="k", scopes=("read", "scan"), expires_at=None, origin=audit.COMMAND_LINE)
    return {"Authorization": f"Bearer {text}"}


def submit(client: Client, **headers: str):
    return client.post("/scan", {"ip_addresses": ["127.66.0.1"]}, content_type="application/json", headers=headers)


def pass_time(seconds: float) -> None:
    RateBucket.objects.update(counted_at=F("counted_at") - timedelta(seconds=seconds))


def test_the_quota_is_exact_and_the_refusal_says_when_to_come_back(limited, alice):
    client = client_of(alice)
    replies = [submit(client) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [202, 202, 202, 429, 429]
    assert [reply["RateLimit-Remaining"] for reply in replies] == ["2", "1", "0", "0", "0"]
    assert {reply["RateLimit-Limit"] for reply in replies} == {"3"}
    refused = replies[-1]
    assert refused["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "throttled"
    assert 1 <= int(refused["Retry-After"]) <= 600
    assert refused["RateLimit-Reset"] == refused["Retry-After"]
    assert ScanJob.objects.count() == 3


def test_the_window_moves_on(limited, alice):
    client = client_of(alice)
    assert [submit(client).status_code for _ in range(4)] == [202, 202, 202, 429]
    pass_time(400)
    assert submit(client).status_code == 429
    pass_time(201)
    assert [submit(client).status_code for _ in range(4)] == [202, 202, 202, 429]


def test_having_submitted_much_never_blocks_reading_or_cancelling(limited, alice):
    client, job = client_of(alice), make_job("127.66.0.1", owner=alice)
    assert [submit(client).status_code for _ in range(4)][-1] == 429
    assert client.get(f"/scan/{job.token}").status_code == 200
    assert client.post(f"/scan/{job.token}/cancel").status_code == 202


def test_reading_has_its_own_quota(limited, alice):
    client, job = client_of(alice), make_job("127.66.0.1", owner=alice)
    assert [client.get(f"/scan/{job.token}").status_code for _ in range(6)] == [200] * 5 + [429]
    assert submit(client).status_code == 202


def test_nobody_pays_for_somebody_else(limited, alice):
    assert [submit(client_of(alice)).status_code for _ in range(4)][-1] == 429
    assert submit(client_of(User.objects.create_user("bob"))).status_code == 202


def test_one_key_leaves_room_for_its_owner_and_more_keys_give_no_more(limited, alice):
    program, another, third = key_of(alice), key_of(alice), key_of(alice)
    client = Client()
    assert [submit(client, **program).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert [submit(client, **another).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert submit(client, **third).status_code == 429
    assert submit(client_of(alice)).status_code == 429
    assert submit(client, **third)["RateLimit-Limit"] == "6"


def test_the_form_draws_on_the_same_quota(limited, alice):
    client = client_of(alice)
    form = {"targets": "127.66.0.1", "profile": "default"}
    assert [submit(client).status_code for _ in range(3)] == [202] * 3
    refused = client.post("/", form)
    page = refused.content.decode()
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) >= 1
    assert "try again in" in page
    assert "127.66.0.1" in page


def test_without_limits_nothing_is_counted_and_no_header_is_sent(client):
    reply = submit(client)
    assert reply.status_code == 202
    assert "RateLimit-Limit" not in reply
    assert not RateBucket.objects.filter(name__startswith=quotas.PREFIX).exists()


def test_health_is_neither_counted_nor_refused(limited, client):
    assert {client.get("/healthz").status_code for _ in range(10)} == {200}
    assert not RateBucket.objects.exists()


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [("2001:db8::1", "2001:db8::ffff", True), ("2001:db8::1", "2001:db8:0:1::1", False), ("192.0.2.1", "192.0.2.2", False)],
)
def test_strangers_are_counted_by_address_and_an_ipv6_client_by_its_network(limited, first, second, shared):
    limited.QUOTAS = {"login": (1, 600)}
    drawn = [
        quotas.draw("login", RequestFactory().get("/", REMOTE_ADDR=address), user=AnonymousUser())
        for address in (first, second)
    ]
    assert [allowance.is_granted for allowance in drawn] == [True, not shared]


def test_counters_of_addresses_that_do_not_come_back_are_forgotten(limited, alice):
    RateBucket.objects.create(name="ip-api", tokens=1, counted_at="2020-01-01T00:00:00Z")
    RateBucket.objects.create(name="quota:login:address:192.0.2.1", tokens=1, counted_at="2020-01-01T00:00:00Z")
    submit(client_of(alice))
    names = set(RateBucket.objects.values_list("name", flat=True))
    assert names == {"ip-api", f"quota:submit:session:{alice.pk}", f"quota:submit:user:{alice.pk}"}


@pytest.mark.django_db(transaction=True)
def test_however_many_ask_at_once_the_quota_holds(settings):
    settings.QUOTAS = {"read": (5, 600)}
    alice = User.objects.create_user("alice")
    granted: list[bool] = []

    def ask():
        for _ in range(4):
            granted.append(quotas.draw("read", RequestFactory().get("/"), user=alice).is_granted)
        connection.close()

    at_once(ask, threads=6)
    assert (len(granted), sum(granted)) == (24, 5)
