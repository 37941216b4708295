"""The dashboard: every number is drawn, stands in a table as well, and is one that the reader may see."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scans.core.types import Facts, Outcome, SourceState
from scans.models import DailyCount, JobState, RateBucket, ScanJob, SourceHealth, TargetResult, TargetState, WorkerHeartbeat
from scans.models.counts import EVERYBODY
from scans.selectors.countries import countries
from scans.services import aggregates
from scans.templatetags import charts
from tests.factories import lease, make_address, make_failure, make_job, make_report, make_result, make_source
from tests.web.browser import overflow
from tests.web.policy import POLICY, inline_parts, policy_of
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
FOREVER = date(2100, 1, 1)


def page_of(client, status: int = 200, **query: str) -> str:
    response = client.get("/dashboard", query)
    assert response.status_code == status, response.content
    return response.content.decode()


def table(page: str, caption: str) -> list[str]:
    """The rows of a table, each as one line of text."""
    found = re.search(rf"<table[^>]*><caption[^>]*>{caption}.*?</table>", page, re.DOTALL)
    return [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)[1:]] if found else []


def scanned(*reports, owner=None, days_ago: int = 0, counted: bool = True) -> ScanJob:
    """A finished job with these results, counted as if its workers had done it."""
    at = timezone.now() - timedelta(days=days_ago)
    job = make_job(*(report.target.text for report in reports), owner=owner, created_at=at)
    for report in reports:
        make_result(report, job=job)
    ScanJob.objects.filter(pk=job.pk).update(started_at=at + timedelta(seconds=3), finished_at=at + timedelta(seconds=9))
    TargetResult.objects.filter(job=job).update(scanned_at=at + timedelta(seconds=8))
    if counted:
        aggregates.rebuild(until=FOREVER)
    return job


def seen(address: str, *open_ports: int, source=None, **facts):
    source = source or make_source(facts=Facts(**facts))
    return make_report(address, make_address(address, open_ports=open_ports, sources=[source]))


def heartbeat(kind: str = "supervisor", *, silent_seconds: float = 0, **columns) -> WorkerHeartbeat:
    now = timezone.now()
    times = {"started_at": now - timedelta(hours=1), "seen_at": now - timedelta(seconds=silent_seconds)}
    return WorkerHeartbeat.objects.create(kind=kind, host="worker-a 4026 ab", pid=77, **times, **columns)


# --- The numbers ---------------------------------------------------------------------------------------------------


def test_every_chart_has_its_numbers_in_a_table(client):
    slow = replace(make_source(facts=Facts(country_code="NL")), elapsed_ms=1500)
    scanned(seen("127.66.0.1", 22, 6379, source=slow), seen("127.66.0.2", 22, country_code="DE"), make_failure("x.invalid"))
    down = replace(make_source(SourceState.FAILED, reason="no"), elapsed_ms=500)
    scanned(seen("127.66.0.3", source=down), days_ago=3)
    page = page_of(client)
    jobs = table(page, "Jobs per day")
    assert len(jobs) == 30
    assert (jobs[-1][-5:], jobs[-4][-5:], jobs[0][-5:]) == ("0 1 0", "1 0 0", "0 0 0")
    assert table(page, "Results by risk") == [
        "Critical 0 0.0 %", "High 1 25.0 %", "Medium 0 0.0 %", "Low 2 50.0 %", "Unknown 1 25.0 %",
    ]  # fmt: skip
    assert table(page, "Most exposed ports") == ["22 SSH 2", "6379 Redis high 1"]
    assert table(page, "Countries") == ["? not known 1", "DE Germany 1", "NL Netherlands 1"]
    assert table(page, "Sources") == ["ip-api ok 2 1.0 s", "ip-api failed 1"]
    assert table(page, "Waiting time of a new job")[2] == "2 to 5 s 2"
    assert "3 done + 1 without a result" in text_of(page)
    for figure in re.findall(r"<figure.*?</figure>", page, re.DOTALL):
        assert "<figcaption>" in figure
        assert "<svg" in figure
        assert ("<table" in figure) != ("Where they are" in figure), "the map's numbers are those of the countries"


@pytest.mark.parametrize(("days", "jobs"), [("7", 1), ("30", 2), ("90", 3)])
def test_the_period_stands_in_the_address(client, days, jobs):
    for days_ago in (6, 29, 89, 90):
        scanned(seen("127.66.0.1"), days_ago=days_ago)
    page = page_of(client, days=days)
    assert len(table(page, "Jobs per day")) == int(days)
    assert f"complete, {jobs}" in text_of(page)
    assert re.search(rf'href="\?days={days}" aria-current="true"', page)


@pytest.mark.parametrize("days", ["", "0", "31", "-7", "seven", "7\x00", "<b>", "9" * 400, "٧"])
def test_another_period_is_refused_in_words(client, days):
    page = page_of(client, 422, days=days)
    assert "is no period of this page: shown are 30 days." in text_of(page)
    assert "<b>&lt;" not in page
    assert inline_parts(page) == []


def test_an_empty_installation_says_what_would_stand_here(client):
    page = page_of(client)
    assert "Nothing ended in these 30 days" in page
    assert "<figure" not in page
    scanned(seen("127.66.0.1"), days_ago=40)
    assert "Nothing ended in these 30 days" in page_of(client)
    assert "<figure" in page_of(client, days="90")


def test_jobs_without_anything_to_rate_are_no_error(client):
    scanned(make_failure("10.0.0.1", "refused_scope", "out of scope", outcome=Outcome.REFUSED))
    ScanJob.objects.update(started_at=None)
    aggregates.rebuild(until=FOREVER)
    text = text_of(page_of(client))
    for words in (
        "No result was rated",
        "No port was found open",
        "No target was looked at",
        "No source",
        "No job was begun",
    ):
        assert words in text


def test_what_is_deleted_stays_counted_and_the_page_says_so(client):
    scanned(seen("127.66.0.1", 6379)).delete()
    page = page_of(client)
    assert table(page, "Most exposed ports") == ["6379 Redis high 1"]
    assert "Counts stay when a job is deleted or purged" in text_of(page)


# --- Needs a look --------------------------------------------------------------------------------------------------


def attention(page: str) -> list[str]:
    found = re.search(r'<section class="attention".*?</section>', page, re.DOTALL)
    return [text_of(item) for item in re.findall(r"<li>(.*?)</li>", found[0], re.DOTALL)]


def test_the_worst_hosts_come_first_each_once_by_its_latest_result(client):
    heartbeat()
    scanned(seen("127.66.0.1", 6379, 3389, 5432, 23), days_ago=3)
    scanned(seen("127.66.0.1", 6379, 3389, 5432, 23), seen("127.66.0.2", 6379), seen("127.66.0.3", 80), days_ago=2)
    scanned(seen("127.66.0.4", 6379, 3389, 5432, 23), days_ago=2)
    newest = scanned(seen("127.66.0.4"), days_ago=1)  # it has been mended
    scanned(make_failure("127.66.0.1"), days_ago=0)  # which says nothing about it
    silent = make_address("127.66.0.2", ports=[6379], filtered=[6379], sources=[])
    scanned(make_report("127.66.0.2", silent), days_ago=0)  # nor does silence
    items = attention(page_of(client))
    assert [re.sub(r",? \d+ \w+ \d{4}.*", "", item) for item in items] == [
        "Critical 127.66.0.1 : Remote desktop or screen control", "High 127.66.0.2 : Cache, search or coordination store",
    ]  # fmt: skip
    newest.delete()
    assert [item.split()[1] for item in attention(page_of(client))] == ["127.66.0.4", "127.66.0.1", "127.66.0.2"]


def test_no_worker_a_silent_worker_and_a_failing_source_need_a_look(client):
    limited = make_source(SourceState.RATE_LIMITED, reason="too many requests")
    scanned(*(seen(f"127.66.0.{n}", source=limited) for n in range(1, 4)))
    heartbeat(silent_seconds=60)
    items = attention(page_of(client))
    assert [item.split()[0] for item in items] == ["No", "Silent", "Failing"]
    assert items[1].endswith("supervisor 77 on worker-a has said nothing for 60 s")
    heartbeat()
    assert [item.split()[0] for item in attention(page_of(client))] == ["Silent", "Failing"]


def test_a_source_that_failed_last_week_or_once_needs_none(client):
    heartbeat()
    down = make_source(SourceState.FAILED, reason="no")
    scanned(*(seen(f"127.66.0.{n}", source=down) for n in range(1, 6)), days_ago=4)
    scanned(seen("127.66.0.6", source=down))
    assert attention(page_of(client)) == ["Nothing No critical or high host among the newest jobs."]


def test_sources_that_fail_come_first_and_then_the_slowest(client):
    scanned(make_report("127.66.0.1", make_address(sources=[])))
    today = timezone.now().date()
    for name, state, mean_ms in (
        ("cymru", "ok", 80), ("abuseipdb", "ok", 3000), ("ip-api", "failed", 5), ("otx", "ok", 500), ("tor_exits", "ok", 0),
    ):  # fmt: skip
        counts = {"day": today, "owner": EVERYBODY, "n": 4}
        DailyCount.objects.create(kind="source", value=f"{name}:{state}", **counts)
        if mean_ms:
            DailyCount.objects.create(kind="timed", value=name, milliseconds=4 * mean_ms, **counts)
    figure = page_of(client).split('id="sources"')[1].split("</figure>")[0]
    shown = re.findall(r'<span class="bars__name">(.*?)</span>', figure)
    assert shown == ["ip-api", "abuseipdb", "otx", "cymru", "tor_exits"]


def test_workers_tell_how_they_are_and_what_they_hold(client):
    heartbeat()
    busy, stopping = heartbeat("slice"), heartbeat("slice", is_stopping=True)
    job = make_job("127.66.0.1", "127.66.0.2", state=JobState.RUNNING)
    lease(job.targets.all(), busy.pk)
    rows = [re.sub(r" \d+ \w+ 2\d{3}, [\d:]+ ", " ", row) for row in table(page_of(client), "Worker health")]
    assert sorted(rows) == [
        "worker-a slice 77 busy 0 s ago 2", "worker-a slice 77 stopping 0 s ago 0", "worker-a supervisor 77 alive 0 s ago 0",
    ]  # fmt: skip
    assert stopping.is_stopping


# --- Who sees what -------------------------------------------------------------------------------------------------


def test_two_owners_never_see_each_others_numbers_and_only_staff_see_workers(server_profile, client):
    alice, bob, eve = (User.objects.create_user(name) for name in ("alice", "bob", "eve"))
    staff = User.objects.create_user("carol", is_staff=True)
    heartbeat()
    scanned(seen("127.66.0.1", 6379, country_code="NL"), owner=alice, days_ago=1)
    scanned(seen("127.66.0.2", 3389, country_code="BR"), owner=bob, days_ago=1)
    scanned(seen("127.66.0.3", 5432, country_code="JP"))
    for who, ports, hosts in (
        (alice, {"6379"}, {"127.66.0.1"}), (bob, {"3389"}, {"127.66.0.2"}), (eve, set(), set()),
        (staff, {"6379", "3389", "5432"}, {"127.66.0.1", "127.66.0.2", "127.66.0.3"}),
    ):  # fmt: skip
        client.force_login(who)
        page = page_of(client)
        assert {row.split()[0] for row in table(page, "Most exposed ports")} == ports
        assert len(table(page, "Countries")) == len(ports)
        assert set(re.findall(r"127\.66\.0\.[123]", page)) == hosts
        assert ("worker-a" in page) == (who == staff)
    client.logout()
    assert client.get("/dashboard").status_code == 302


def test_what_is_not_folded_yet_is_seen_by_its_owner_alone(server_profile, client):
    alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
    job = make_job("10.0.0.1", owner=alice)
    aggregates.count_unscanned(job, TargetState.REFUSED, 7, at=timezone.now())
    for who, words in ((alice, "7 refused"), (bob, "Nothing ended")):
        client.force_login(who)
        assert words in text_of(page_of(client))


# --- What it costs -------------------------------------------------------------------------------------------------


def test_two_hundred_jobs_cost_as_many_queries_as_one(client):
    counts = []
    scanned(seen("127.66.0.1", 6379), seen("127.66.0.2", 22, country_code="NL"))
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            page_of(client, days="90")
        counts.append(len(queries))
        for n in range(200):
            scanned(seen(f"127.66.1.{n + 1}", 6379, 22, n + 1), days_ago=n % 60, counted=False)
        aggregates.rebuild(until=FOREVER)
    assert counts[0] == counts[1] <= 12  # on Postgres the clock is asked as well


# --- Drawing -------------------------------------------------------------------------------------------------------


def test_what_is_not_zero_is_never_too_small_to_be_seen():
    assert charts.bar_width(1, 10**6) == "1.5%"
    assert charts.bar_width(0, 10**6) == "0%"
    assert charts.bar_width(0, 0) == "0%"
    assert charts.bar_width(5, 5) == "100.0%"


@pytest.mark.parametrize("highest", [0, 1, 2, 3, 4, 9, 10, 31, 100, 999, 123_456_789])
def test_the_grid_has_few_lines_and_reaches_the_highest_column(highest):
    step = charts._step(highest)
    top = step * max(1, -(-highest // step))
    assert highest <= top
    assert top // step <= charts.MAX_LINES


def test_every_country_has_a_place_on_the_map():
    assert len(countries()) == 249
    for code, country in countries().items():
        assert re.fullmatch("[A-Z]{2}", code)
        assert -90 <= country.latitude <= 90
        assert -180 <= country.longitude <= 180
        assert -charts.MAP_NORTH <= charts._y(country.latitude) <= -charts.MAP_SOUTH


@pytest.mark.parametrize(
    ("code", "latitudes", "longitudes"),
    [
        ("DE", (47, 55), (6, 15)), ("NZ", (-47, -34), (166, 179)), ("BR", (-34, 5), (-74, -35)),
        ("US", (25, 49), (-125, -67)),
        ("JP", (31, 46), (129, 146)), ("ZA", (-35, -22), (16, 33)), ("IS", (63, 67), (-25, -13)), ("IN", (8, 35), (68, 97)),
    ],
)  # fmt: skip
def test_a_country_lies_where_it_is(code, latitudes, longitudes):
    country = countries()[code]
    assert latitudes[0] <= country.latitude <= latitudes[1]
    assert longitudes[0] <= country.longitude <= longitudes[1]


def test_the_map_sizes_its_dots_by_their_area_and_says_what_they_are(client):
    scanned(*(seen(f"127.66.0.{n}", country_code="NL" if n > 1 else "JP") for n in range(1, 6)))
    page = page_of(client)
    dots = dict(re.findall(r'cx="(-?\d+)" cy="-?\d+" r="[\d.]+"><title>([^<]*)', page))
    assert dots == {"5": "Netherlands: 4", "138": "Japan: 1"}
    radii = [float(radius) for radius in re.findall(r'class="map__dot"[^>]* r="([\d.]+)"', page)]
    assert radii[0] == pytest.approx(2 * radii[1], rel=0.05)


def test_what_targets_sources_and_workers_said_is_escaped(client):
    hostile = "<script>alert(1)</script>"
    report = make_report(f"https://shop.invalid/{hostile}", make_address(open_ports=[6379], sources=[make_source()]))
    scanned(report)
    WorkerHeartbeat.objects.update(host=hostile)
    heartbeat()
    WorkerHeartbeat.objects.update(host=hostile)
    page = page_of(client)
    assert hostile not in page
    assert page.count("&lt;script&gt;") >= 2
    assert inline_parts(page) == []


# --- In the browser ------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_page_holds_in_a_real_browser_at_every_width_and_in_the_dark(chromium, page):
    page.goto("/dashboard")
    assert overflow(page) <= 0
    heartbeat(silent_seconds=100)
    long = f"https://shop.invalid/{'w' * 400}"
    down = make_source(SourceState.FAILED, reason="no")
    scanned(
        make_report(long, make_address(open_ports=[6379, 3389])),
        *(seen(f"127.66.0.{n}", n, source=down) for n in range(1, 9)),
    )
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            for path in ("/dashboard?days=7", "/dashboard?days=90"):
                page.goto(path)
                for summary in page.query_selector_all("summary"):
                    summary.click()
                assert overflow(page) <= 0, (path, width)
    page.click("text='30 days'")
    page.wait_for_url("**/dashboard?days=30")
    page.click("text=High >> nth=0")
    assert page.complaints == []


def test_the_page_has_the_policy_and_is_not_stored(client):
    response = client.get("/dashboard")
    assert policy_of(response) == POLICY
    assert response["Cache-Control"] == "private, no-store"


def test_what_is_left_of_quotas_is_drawn_and_stands_in_a_table(client):
    scanned(seen("127.66.0.1", 22))
    assert table(page_of(client), "Quotas of sources") == ["ip-api 12 in a minute 3 not asked yet"]
    now = timezone.now()
    RateBucket.objects.create(name="ip-api:12/60s", tokens=3, counted_at=now)
    SourceHealth.objects.create(source="ip-api", blocked_until=now + timedelta(hours=1), why_blocked="its quota is used up")
    page = page_of(client)
    assert re.fullmatch(r"ip-api 12 in a minute 3 on hold until \d\d:\d\d:\d\d", table(page, "Quotas of sources")[0])
    drawn = page.split('id="quotas"')[1].split("</figure>")[0]
    assert drawn.count('fill="url(#hatch)" width="100.0%"') == 1
