"""API keys and sessions at the API's door."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from scans.models import ClientKey, ScanJob
from scans.services import audit, keys
from tests.factories import make_job

pytestmark = pytest.mark.django_db
ORIGIN = audit.COMMAND_LINE


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


def make_key(owner: User, *scopes: str, expires_at=None) -> tuple[ClientKey, str]:
    return keys.create_key(owner, name="test", scopes=scopes or ("read", "scan"), expires_at=expires_at, origin=ORIGIN)


def submit(client: Client, **headers: str):
    return client.post("/scan", {"ip_addresses": ["127.66.0.1"]}, content_type="application/json", headers=headers)


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "Authorization: bearer  {}", "X-API-Key: {}"])
def test_a_key_in_either_header_acts_as_its_owner(server_profile, client, alice, form):
    _, text = make_key(alice)
    name, _, value = form.format(text).partition(": ")
    reply = submit(client, **{name: value})
    assert reply.status_code == 202
    assert ScanJob.objects.get().owner == alice
    assert client.get(f"/scan/{reply.json()['token']}", headers={name: value}).status_code == 200


def bad_keys(alice: User) -> dict[str, str]:
    key, text = make_key(alice)
    revoked, revoked_text = make_key(alice)
    keys.revoke_key(revoked, origin=ORIGIN)
    expired, expired_text = make_key(alice)
    ClientKey.objects.filter(pk=expired.pk).update(expiry_date=timezone.now() - timedelta(seconds=1))
    _, closed_text = make_key(User.objects.create_user("closed"))
    User.objects.filter(username="closed").update(is_active=False)
    return {
        "unknown prefix": f"ipi_{'a' * 8}.{'b' * 32}",
        "wrong secret": f"ipi_{key.prefix}.{'b' * 32}",
        "revoked": revoked_text,
        "expired": expired_text,
        "owner inactive": closed_text,
        "without its mark": text.removeprefix("ipi_"),
        "nothing": "",
        "too much": text + "x",
        "NUL": text[:-1] + "\0",
        "NUL in the prefix": f"ipi_{'a' * 7}\0.{'b' * 32}",
        "the stored hash": f"ipi_{key.prefix}.{key.hashed_key}",
        "not ASCII": "ipi_äöüäöüäö." + "ß" * 32,
        "huge": "ipi_" + "a" * 100_000,
        "not a key": "password",
    }


def test_every_key_that_is_not_valid_gets_one_and_the_same_401(server_profile, client, alice):
    replies = {name: client.get("/scans", HTTP_AUTHORIZATION=f"Bearer {text}") for name, text in bad_keys(alice).items()}
    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(replies, 401)
    assert len({reply.content for reply in replies.values()}) == 1
    assert {reply["WWW-Authenticate"] for reply in replies.values()} == {'Bearer realm="api"'}
    assert replies["expired"].json()["code"] == "invalid_key"


def test_a_bad_key_is_refused_in_the_local_profile_too_and_a_good_one_is_honoured(client, alice):
    assert submit(client, Authorization="Bearer nonsense").status_code == 401
    assert submit(client, Authorization=f"Bearer {make_key(alice)[1]}").status_code == 202
    assert ScanJob.objects.get().owner == alice
    assert submit(client).status_code == 202


def test_other_schemes_are_no_proof(server_profile, client):
    assert client.get("/scans", HTTP_AUTHORIZATION="Basic YWxpY2U6eA==").status_code == 401


@pytest.mark.parametrize(
    ("scopes", "read", "scan"),
    [(("read",), 200, 403), (("scan",), 403, 202), (("read", "scan"), 200, 202)],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_key_does_what_its_scopes_say_and_no_more(server_profile, client, alice, scopes, read, scan):
    job = make_job("127.66.0.1", owner=alice)
    headers = {"Authorization": f"Bearer {make_key(alice, *scopes)[1]}"}
    assert client.get(f"/scan/{job.token}", headers=headers).status_code == read
    assert submit(client, **headers).status_code == scan
    for method, path in (("POST", "cancel"), ("POST", "rerun"), ("DELETE", "")):
        reply = client.generic(method, f"/scan/{job.token}/{path}".rstrip("/"), headers=headers)
        assert (reply.status_code == 403) == (scan == 403)
        if scan == 403:
            assert reply.json()["code"] == "insufficient_scope"
            assert reply["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="scan"'


def test_a_key_of_staff_sees_all_only_with_the_scope_for_it(server_profile, client, alice):
    job = make_job("127.66.0.1", owner=alice)
    boss = User.objects.create_user("boss", is_staff=True)
    narrow, wide = make_key(boss)[1], make_key(boss, "read", "admin")[1]
    assert client.get(f"/scan/{job.token}", headers={"X-API-Key": narrow}).status_code == 404
    assert client.get(f"/scan/{job.token}", headers={"X-API-Key": wide}).status_code == 200
    User.objects.filter(pk=boss.pk).update(is_staff=False)
    assert client.get(f"/scan/{job.token}", headers={"X-API-Key": wide}).status_code == 404


@pytest.mark.parametrize(
    "query", ["key={}", "api_key={}", "token={}", "x={}", "{}", "q=Bearer%20{}", "a=1&a={}", "k=%69pi_x"]
)
def test_a_key_in_an_address_is_a_400_that_does_not_repeat_it(server_profile, client, alice, query):
    _, text = make_key(alice)
    for headers in ({}, {"Authorization": f"Bearer {text}"}):
        reply = client.get(f"/scans?{query.format(text)}", headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (400, "key_in_query")
        assert text not in reply.content.decode() + str(reply.headers)


def test_use_is_noted_at_most_once_a_minute(server_profile, client, alice):
    key, text = make_key(alice)

    def used_at():
        assert client.get("/scans", headers={"X-API-Key": text}).status_code == 200
        key.refresh_from_db()
        return key.last_used_at

    first = used_at()
    assert first is not None
    assert used_at() == first
    ClientKey.objects.update(last_used_at=first - timedelta(seconds=61))
    assert used_at() > first


def test_a_session_needs_the_forgery_token_and_a_key_does_not(server_profile, alice):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)
    assert submit(browser).status_code == 403
    browser.get("/")
    token = browser.cookies["csrftoken"].value
    assert submit(browser, **{"X-CSRFToken": token}).status_code == 202
    program = Client(enforce_csrf_checks=True)
    assert submit(program, Authorization=f"Bearer {make_key(alice)[1]}").status_code == 202


def test_a_key_opens_no_page(server_profile, client, alice):
    assert client.get("/", headers={"Authorization": f"Bearer {make_key(alice)[1]}"}).status_code == 302


def test_the_shortcuts_lead_where_a_key_counts(server_profile, client, alice):
    assert client.get("/openapi.json")["Location"] == "/api/schema/?format=json"
    headers = {"Authorization": f"Bearer {make_key(alice)[1]}"}
    schema = client.get("/api/schema/?format=json", headers=headers).json()
    assert set(schema["components"]["securitySchemes"]) >= {"apiKey", "apiKeyHeader", "cookieAuth"}
