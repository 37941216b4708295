"""The frame of every page: who is at work, which theme, which versions; and the way to the login from the API's page."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ipscanner.version import version
from scans import selectors
from scans.core.risk import default_pack
from scans.models import DeletedJob, WorkerHeartbeat

pytestmark = pytest.mark.django_db
TOKEN = "d" * 32


def beat(kind: str = "supervisor", *, seconds_ago: int = 0) -> None:
    at = timezone.now() - timedelta(seconds=seconds_ago)
    WorkerHeartbeat.objects.create(kind=kind, host="lab", pid=1, started_at=at, seen_at=at)


# --- Workers -------------------------------------------------------------------------------------------------------


def test_a_page_counts_the_supervisors_that_beat_lately(client):
    beat()
    beat(seconds_ago=2)
    beat(seconds_ago=60)
    beat("slice")
    assert selectors.live_workers() == 2
    page = client.get("/").content.decode()
    assert "2 workers" in page
    assert "No worker is running" not in page


def test_without_a_worker_the_form_says_that_nobody_will_scan(client):
    page = client.get("/").content.decode()
    assert "no worker" in page
    assert "No worker is running" in page
    assert "manage.py worker" in page


def test_a_stranger_is_not_told_who_is_at_work(server_profile, client):
    page = client.get("/login").content.decode()
    assert "worker" not in page


# --- Theme ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chosen_theme_is_kept_and_rendered_by_the_server(client, theme):
    page = client.get("/login")
    assert "data-theme" not in page.content.decode()
    chosen = client.post("/theme", {"theme": theme, "next": "/login"})
    assert (chosen.status_code, chosen["Location"]) == (302, "/login")
    assert chosen.cookies["theme"]["httponly"]
    for path in ("/login", "/no/such/page", "/api/docs/"):
        assert f'<html lang="en" data-theme="{theme}">' in client.get(path).content.decode()
    assert 'value="system" aria-describedby="theme-label" aria-pressed="false"' in client.get("/login").content.decode()
    client.post("/theme", {"theme": "system", "next": "/login"})
    assert "data-theme" not in client.get("/login").content.decode()


@pytest.mark.ignore_template_errors
def test_the_admin_follows_the_theme(admin_client):
    admin_client.post("/theme", {"theme": "dark", "next": "/admin/"})
    assert '<html lang="en" data-theme="dark">' in admin_client.get("/admin/").content.decode()


@pytest.mark.parametrize("cookie", ["", "sepia", '"><script>', "dark light"])
def test_a_theme_that_is_none_of_ours_means_system(client, cookie):
    client.cookies["theme"] = cookie
    assert "data-theme" not in client.get("/login").content.decode()
    assert "theme" not in client.post("/theme", {"theme": cookie}).cookies


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://evil.invalid/",
        "//evil.invalid/",
        "/\\evil.invalid",
        "javascript:alert(1)",
        "http:///evil.invalid",
        "\x00",
        "history",  # the name of a view of ours is no address
        "no-such-word",
    ],
)
def test_the_theme_form_never_leads_to_another_site(client, address):
    assert client.post("/theme", {"theme": "dark", "next": address})["Location"] == "/"


def test_the_theme_form_leads_back_to_the_page_it_stood_on(client):
    page = client.get("/login?next=/keys").content.decode()
    assert '<input type="hidden" name="next" value="/login?next=/keys">' in page
    assert client.post("/theme", {"theme": "dark", "next": "/login?next=/keys"})["Location"] == "/login?next=/keys"


def test_a_stranger_may_choose_a_theme_without_a_token_and_only_by_post(server_profile):
    stranger = Client(enforce_csrf_checks=True)
    assert stranger.post("/theme", {"theme": "dark", "next": "/login"}).cookies["theme"].value == "dark"
    assert stranger.get("/theme").status_code == 405


# --- Versions, a deleted job, the API's page -----------------------------------------------------------------------


def test_the_footer_names_both_versions(client):
    for path in ("/login", "/no/such/page"):
        assert f"Version {version()} · rules {default_pack().version}" in client.get(path).content.decode()


def test_a_deleted_job_is_gone_for_its_owner_and_was_never_there_for_others(server_profile, client):
    alice, ben = (User.objects.create_user(name) for name in ("alice", "ben"))
    DeletedJob.objects.create(token=TOKEN, owner=alice, deleted_at=timezone.now())
    client.force_login(alice)
    for path in (f"/jobs/{TOKEN}", f"/jobs/{TOKEN}/hosts/1"):
        gone = client.get(path)
        assert gone.status_code == 410
        assert "<h1>This job was deleted</h1>" in gone.content.decode()
    client.force_login(ben)
    assert client.get(f"/jobs/{TOKEN}").status_code == 404
    client.force_login(alice)
    assert client.get(f"/jobs/{'e' * 32}").status_code == 404


def test_a_browser_without_a_login_is_led_to_it_from_the_apis_page_and_a_program_is_not(server_profile, client):
    page = client.get("/api/docs/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (page.status_code, page["Location"]) == (302, "/login?next=/api/docs/")
    assert client.get("/api/docs/").status_code == 401
    assert client.get("/scans", headers={"Accept": "text/html"}).status_code == 401
    client.force_login(User.objects.create_user("alice"))
    assert client.get("/api/docs/", headers={"Accept": "text/html"}).status_code == 200
