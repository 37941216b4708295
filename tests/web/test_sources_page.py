"""The page of sources and the same as JSON: on or off and why, health, quota, keys that are never told."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from scans.core.budgets import Limit
from scans.core.feeds import Store
from scans.core.intel import IpApi, LocalSource
from scans.core.intel.base import KeyUse
from scans.core.vulnerabilities import ALL_SOURCES, FEEDS
from scans.models import RateBucket, SourceHealth, SourceReply
from scans.selectors import sources as selector
from scans.selectors.sources import source_statuses
from scans.templatetags.sources import lasting
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
SECRET = "k-3f9a-never-told"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def intel(settings):
    """Change what is set for intelligence."""

    def change(**options):
        settings.SCANNER = replace(settings.SCANNER, intel=replace(settings.SCANNER.intel, **options))

    return change


@pytest.fixture
def words(client):
    """The words of the page."""

    def read() -> str:
        response = client.get("/sources")
        assert (response.status_code, policy_of(response)) == (200, POLICY)
        assert response["Cache-Control"] == "private, no-store"
        assert inline_parts(response.content.decode()) == []
        return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split()))

    return read


def of(client, name: str = "ip-api") -> dict[str, object]:
    reply = client.get("/sources.json")
    assert (reply.status_code, reply["Cache-Control"]) == (200, "private, no-store")
    return next(source for source in reply.json()["sources"] if source["name"] == name)


def test_every_source_stands_there_on_or_off(client, words):
    page = words()
    found = client.get("/sources.json").json()
    assert [source["name"] for source in found["sources"]] == [kind.name for kind in ALL_SOURCES]
    for kind in ALL_SOURCES:
        assert f"{kind.name} {kind.title}" in page
        assert kind.terms in page
    assert 'aria-current="page"' in client.get("/sources").content.decode()


def test_the_setting_that_says_so_is_named(client, intel):
    assert (of(client)["is_on"], of(client)["why"]) == (True, "INTEL_SOURCES names it")
    intel(sources=("default",))
    assert (of(client)["is_on"], of(client)["why"]) == (True, "on by default")
    intel(sources=("default", "-ip-api"))
    assert (of(client)["is_on"], of(client)["why"]) == (False, "INTEL_SOURCES takes it out (-ip-api)")
    intel(sources=("cloud",))
    assert (of(client)["is_on"], of(client)["why"]) == (False, "INTEL_SOURCES does not name it: cloud")


class NeedsKey(IpApi):
    name = "needs-key"
    key = KeyUse.REQUIRED
    is_default = False


class OnlyNamed(IpApi):
    name = "only-named"
    is_default = False
    key = KeyUse.NONE


def test_a_key_and_a_name_switch_on_what_is_off(intel):
    kinds = (NeedsKey, OnlyNamed)
    intel(sources=("default",))
    found = [(source.is_on, source.why) for source in source_statuses(kinds=kinds)]
    off = "off by default: INTEL_SOURCES=default,only-named switches it on"
    assert found == [(False, "it needs a key: set INTEL_NEEDS_KEY_KEY"), (False, off)]
    intel(sources=("-rdap",))
    assert source_statuses(kinds=kinds)[1].why == "off by default: INTEL_SOURCES=default,-rdap,only-named switches it on"
    intel(sources=("default", "only-named"), keys={"needs-key": SECRET})
    found = [(source.is_on, source.why) for source in source_statuses(kinds=kinds)]
    assert found == [(True, "INTEL_NEEDS_KEY_KEY is set"), (True, "INTEL_SOURCES names it")]


def test_a_key_is_never_told(client, intel, words):
    assert "optional; none is set" in words()
    intel(keys={"ip-api": SECRET}, urls={"ip-api": "http://inside.invalid:9/secret-path"})
    assert "optional; one is set" in words()
    assert of(client)["has_key"] is True
    for path in ("/sources", "/sources.json"):
        text = client.get(path).content.decode()
        assert SECRET not in text
        assert "inside.invalid" not in text, "where an operator has it asked"
        assert "a service of the operator's (INTEL_IP_API_URL)" in html.unescape(text)


def test_health_is_told_by_what_all_processes_have_seen(client, words):
    assert of(client)["state"] == "not_asked"
    now = timezone.now()
    row = SourceHealth.objects.create(source="ip-api", answered_at=now - timedelta(hours=5))
    assert of(client)["state"] == "answers"
    assert "answers last answer 5 h ago" in words()
    row.failures, row.missed_at, row.last_miss = 2, now, "failed: HTTP 503"
    row.save()
    assert of(client)["state"] == "failing"
    assert "failing 2 times in a row; its last answer came 5 h ago" in words()
    row.blocked_until, row.why_blocked = now + timedelta(hours=4), "it failed 5 times in a row and is left alone"
    row.save()
    assert (of(client)["state"], of(client)["why_blocked"]) == ("on_hold", row.why_blocked)
    assert re.search(r"on hold until \d\d:\d\d:\d\d : it failed 5 times in a row and is left alone", words())
    row.blocked_until = now - timedelta(seconds=1)
    row.save()
    assert (of(client)["state"], of(client)["blocked_until"], of(client)["why_blocked"]) == ("failing", None, "")


def test_what_is_left_of_a_quota_grows_back(client, words):
    def left() -> list[int]:
        return [quota["left"] for quota in of(client)["quotas"]]

    assert left() == [3]
    row = RateBucket.objects.create(name="ip-api:12/60s", tokens=0.5, counted_at=timezone.now())
    assert left() in ([0], [1], [2], [3]), "it is growing"
    row.counted_at = timezone.now() - timedelta(hours=1)
    row.save()
    assert left() == [3]
    assert "3 now, 12 in a minute" in words()


def test_a_long_limit_begins_anew_at_a_time_that_is_told(monkeypatch):
    monkeypatch.setattr(OnlyNamed, "limits", (Limit(1000, 86400),))
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    RateBucket.objects.create(name="only-named:1000/86400s", tokens=941, counted_at=midnight)
    (quota,) = source_statuses(kinds=(OnlyNamed,))[0].quotas
    assert (quota.left, quota.resets_at) in (
        (941, midnight + timedelta(days=1)),
        (1000, midnight + timedelta(days=2)),  # a day has ended meanwhile
    )


def test_cached_answers_are_counted_up_to_a_cap(client, words, monkeypatch):
    monkeypatch.setattr(selector, "MAX_COUNTED", 3)
    now = timezone.now()
    for n in range(1, 3):
        SourceReply.objects.create(source="ip-api", address=f"127.66.0.{n}", state="ok", observed_at=now, expires_at=now)
    assert of(client)["cached_answers"] == 2
    for n in range(3, 6):
        SourceReply.objects.create(source="ip-api", address=f"127.66.0.{n}", state="ok", observed_at=now, expires_at=now)
    assert of(client)["cached_answers"] == 3


def test_what_went_wrong_last_is_for_staff(server_profile):
    SourceHealth.objects.create(source="ip-api", failures=1, missed_at=timezone.now(), last_miss="failed: HTTP 503")
    for is_staff in (False, True):
        client = Client()
        client.force_login(User.objects.create_user(f"u{is_staff}", is_staff=is_staff))
        assert of(client)["last_error"] == ("failed: HTTP 503" if is_staff else None)
        assert ("HTTP 503" in client.get("/sources").content.decode()) is is_staff
    stranger = Client()
    assert stranger.get("/sources")["Location"].startswith("/login")
    assert stranger.get("/sources.json").status_code == 401


def test_a_file_says_since_when_it_is_here(client, words, intel, tmp_path):
    kind = next(kind for kind in ALL_SOURCES if issubclass(kind, LocalSource) and not any(feed.seed for feed in kind.feeds))
    intel(sources=("default",), directory=str(tmp_path))
    assert (of(client, kind.name)["is_on"], of(client, kind.name)["state"]) == (False, "missing")
    assert "manage.py feeds" in str(of(client, kind.name)["why"])
    feed = kind.feeds[0]
    (tmp_path / feed.file_name).write_text("whatever it holds")
    assert Store(str(tmp_path)).path(feed) == tmp_path / feed.file_name
    assert (of(client, kind.name)["is_on"], of(client, kind.name)["state"]) == (True, "here")
    assert f"{feed.title}: here since" in words()
    assert re.search(r"on this machine 1 file, the oldest fetched .{5,18} ago", words())


def test_lists_about_products_stand_there_as_well(client, words, intel, tmp_path):
    intel(directory=str(tmp_path))
    feed = next(feed for feed in FEEDS if not feed.seed)
    assert f"{feed.name} {feed.title} no file here manage.py feeds update {feed.name}" in words()
    (tmp_path / feed.file_name).write_bytes(b"")
    assert f"{feed.name} {feed.title} on this machine" in words()
    found = {file["name"]: file for file in client.get("/sources.json").json()["files"]}
    assert list(found) == [feed.name for feed in FEEDS]
    assert (found[feed.name]["is_here"], found[feed.name]["is_built_in"]) == (True, False)


def test_offline_is_said_first(client, words, intel):
    intel(offline=True)
    assert client.get("/sources.json").json()["is_offline"] is True
    assert "Offline: OFFLINE=1 is set, so none is asked over the network." in words()
    assert "skipped: OFFLINE=1 is set" in words()


def test_what_was_written_down_is_text(client):
    SourceHealth.objects.create(
        source="ip-api", failures=9, last_miss=HOSTILE, missed_at=timezone.now(), why_blocked=HOSTILE,
        blocked_until=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    page = client.get("/sources").content.decode()
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 2


def test_it_costs_as_many_queries_however_much_there_is(client, django_assert_num_queries, django_assert_max_num_queries):
    remote = sum(not issubclass(kind, LocalSource) for kind in ALL_SOURCES)
    clock = connection.vendor == "postgresql"  # where it takes a query
    with django_assert_num_queries(2 + remote + clock):
        source_statuses()
    now = timezone.now()
    for n in range(20):
        SourceHealth.objects.create(source=f"source-{n}")
        RateBucket.objects.create(name=f"source-{n}:1/60s", tokens=1, counted_at=now)
        SourceReply.objects.create(source="ip-api", address=f"127.66.1.{n}", state="ok", observed_at=now, expires_at=now)
    with django_assert_num_queries(2 + remote + clock):
        source_statuses()
    with django_assert_num_queries(2 + clock):
        source_statuses(counts_cached=False)
    with django_assert_max_num_queries(9 + remote):  # the frame's and the session's as well
        client.get("/sources")


def test_the_json_has_the_fields_that_the_schema_names(client, intel):
    intel(sources=("default",))
    schemas = client.get("/api/schema/?format=json").json()["components"]["schemas"]
    body = client.get("/sources.json").json()
    assert set(body) == set(schemas["Sources"]["properties"])
    for source in body["sources"]:
        assert set(source) == set(schemas["SourceStatus"]["properties"])
    files = [file for source in body["sources"] for file in source["files"]]
    assert set(files[0]) == set(schemas["SourceFile"]["properties"])
    assert set(of(client)["quotas"][0]) == set(schemas["Quota"]["properties"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "60 minutes"), (24 * 3600, "24 hours"), (7 * 86400, "7 days"), (90, "90 seconds")]
)
def test_a_lifetime_in_words(seconds, words):
    assert lasting(seconds) == words
