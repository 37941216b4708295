"""Who sees what: in the server profile people see their own work, staff everything, strangers nothing that tells them more
than that there is nothing.
"""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from scans import selectors
from scans.models import ScanJob
from scans.services.access import client_address
from tests.factories import finish, make_job, make_report, make_result

pytestmark = pytest.mark.django_db
NEVER = "0" * 32  # a token that never was


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def hers(alice) -> ScanJob:
    job = make_job("127.66.0.1", "secret-project.invalid", owner=alice)
    make_result(make_report("127.66.0.1"), job=job)
    return job


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(client: Client, method: str, path: str, **headers: str):
    return client.generic(method, path, b"{}" if method == "POST" else b"", content_type="application/json", headers=headers)


PAGES = ["/jobs/TOKEN", "/jobs/TOKEN/hosts/1", "/jobs/TOKEN/hosts/9"]
CALLS = [
    ("GET", "/scan/TOKEN"),
    ("HEAD", "/scan/TOKEN"),
    ("GET", "/scan/TOKEN?wait=1"),
    ("GET", "/scan/TOKEN/results"),
    ("GET", "/scan/TOKEN/egress"),
    ("GET", "/scan/TOKEN/prompts"),
    ("GET", "/scan/TOKEN/export.json"),
    ("GET", "/scan/TOKEN/export.ndjson"),
    ("GET", "/scan/TOKEN/export.csv"),
    ("POST", "/scan/TOKEN/cancel"),
    ("POST", "/scan/TOKEN/rerun"),
    ("DELETE", "/scan/TOKEN"),
]


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["page", "poll"])
@pytest.mark.parametrize("path", PAGES)
def test_a_strangers_page_is_the_404_of_a_token_that_never_was(server_profile, hers, bob, path, headers):
    stranger = client_of(bob)
    theirs = ask(stranger, "GET", path.replace("TOKEN", hers.token), **headers)
    missing = ask(stranger, "GET", path.replace("TOKEN", NEVER), **headers)
    assert theirs.status_code == missing.status_code == 404
    assert theirs.content == missing.content
    assert dict(theirs.headers) == dict(missing.headers)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_strangers_call_is_the_404_of_a_token_that_never_was_and_changes_nothing(server_profile, hers, bob, method, path):
    stranger = client_of(bob)
    theirs = ask(stranger, method, path.replace("TOKEN", hers.token))
    missing = ask(stranger, method, path.replace("TOKEN", NEVER))
    assert theirs.status_code == missing.status_code == 404
    assert theirs.content == missing.content
    assert dict(theirs.headers) == dict(missing.headers)
    before = hers.version
    hers.refresh_from_db()
    assert (hers.version, hers.state, ScanJob.objects.count()) == (before, "queued", 1)


@pytest.mark.parametrize("path", PAGES[:2])
def test_the_owner_and_staff_see_the_pages(server_profile, hers, alice, path):
    for user in (alice, User.objects.create_user("staff", is_staff=True)):
        assert client_of(user).get(path.replace("TOKEN", hers.token)).status_code == 200


def test_a_deleted_job_is_gone_for_its_owner_and_never_was_for_strangers(server_profile, hers, alice, bob):
    make_result(make_report("secret-project.invalid"), job=hers)
    finish(hers)
    assert ask(client_of(alice), "DELETE", f"/scan/{hers.token}").status_code == 204
    assert ask(client_of(alice), "GET", f"/scan/{hers.token}").status_code == 410
    theirs = ask(client_of(bob), "GET", f"/scan/{hers.token}")
    assert (theirs.status_code, theirs.content) == (404, ask(client_of(bob), "GET", f"/scan/{NEVER}").content)


def test_lists_and_their_filters_do_not_tell_of_the_work_of_others(server_profile, hers, bob):
    his = make_job("127.66.0.9", owner=bob)
    stranger = client_of(bob)
    assert [scan["token"] for scan in stranger.get("/scans").json()["scans"]] == [his.token]
    for query in ("q=secret-project", "address=127.66.0.1"):
        assert stranger.get(f"/scans?{query}").json()["scans"] == []
    page = stranger.get("/").content.decode()
    assert his.token[:8] in page
    assert hers.token[:8] not in page


def test_a_job_of_nobody_is_for_staff(server_profile, alice):
    job = make_job("127.66.0.1")
    assert selectors.job_by_token(job.token, alice) is None
    assert selectors.job_by_token(job.token, User(pk=99, is_staff=True)) == job


def test_an_account_that_was_closed_sees_nothing_more(server_profile, hers):
    User.objects.update(is_active=False, is_staff=True)
    assert not selectors.sees_all_jobs(User.objects.get())


@pytest.mark.parametrize("path", ["/", "/keys", "/jobs/x", "/jobs/x/hosts/1"])
def test_strangers_are_sent_to_the_login_and_a_poll_takes_its_page_there(server_profile, client, path):
    assert client.get(path)["Location"] == f"/login?next={path}"
    poll = client.get(path, headers={"HX-Request": "true"})
    assert (poll.content, poll["HX-Redirect"]) == (b"", "/login")


@pytest.mark.parametrize("path", ["/scan/" + NEVER, "/scans", "/api/schema/", "/api/docs/"])
def test_without_a_proof_the_api_is_a_401_that_says_how(server_profile, client, path):
    reply = client.get(path)
    assert reply.status_code == 401
    assert reply["WWW-Authenticate"] == 'Bearer realm="api"'
    assert reply["Content-Type"] == "application/problem+json"
    assert client.post("/scan", {"ip_addresses": ["192.0.2.1"]}, content_type="application/json").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login"])
def test_health_and_login_are_for_everybody(server_profile, client, path):
    assert client.get(path).status_code in (200, 503)


def test_a_submission_belongs_to_who_made_it(server_profile, alice):
    body = json.dumps({"ip_addresses": ["127.66.0.1"]})
    token = client_of(alice).post("/scan", body, content_type="application/json").json()["token"]
    assert ScanJob.objects.get(token=token).owner == alice
    client_of(alice).post("/", {"targets": "127.66.0.2", "profile": "default"})
    assert ScanJob.objects.filter(owner=alice).count() == 2


def test_in_the_local_profile_everybody_sees_everything(client, hers, bob):
    for somebody in (client, client_of(bob)):
        assert somebody.get(f"/scan/{hers.token}").status_code == 200
        assert hers.token[:8] in somebody.get("/").content.decode()


# --- The client's address ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # no proxy of ours: what it says is only said
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # the left one is what the client sent
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),  # two proxies
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense" * 1000, "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "198.51.100.1", "fe80::1"),
        ("", "198.51.100.1", None),
    ],
)
def test_only_configured_proxies_are_believed(settings, peer, forwarded, found):
    from ipaddress import ip_network

    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/8"),)
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers)) == found
