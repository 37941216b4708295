"""The history: filters that stand in the address, pages cut by keys, and words for a list that is empty."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scans.models import JobState, JobTag, ScanJob, TargetResult, TermKind
from scans.selectors import history as selector
from scans.selectors import terms as selector_terms
from scans.web.search import SearchError, parse_search
from tests.factories import (
    SELF_SIGNED,
    make_address,
    make_failure,
    make_job,
    make_report,
    make_result,
    make_service,
    make_services,
)
from tests.web.browser import overflow
from tests.web.policy import POLICY, inline_parts, policy_of
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def page_of(client, status: int = 200, **query: str) -> str:
    response = client.get("/history", query)
    assert response.status_code == status, response.content
    return response.content.decode()


def names(page: str) -> list[str]:
    """What the listed jobs are called, in order."""
    return [unescape(name) for name in re.findall(r'class="is-first"><a href="/jobs/[0-9a-f]{32}"><bdi>(.*?)</bdi>', page)]


def link(page: str, words: str) -> str | None:
    found = re.search(rf'<a [^>]*href="([^"]*)">{words}', page)
    return unescape(found[1]) if found else None


@pytest.fixture
def jobs():
    """Three jobs that differ in everything."""
    old = make_job("127.66.0.1", "http://127.66.0.2/x", label="old office", mode="ai", created_at=NOON)
    make_result(make_report("127.66.0.1", make_address("127.66.0.1", open_ports=[6379])), job=old)
    make_result(make_report("http://127.66.0.2/x", make_address("127.66.0.2")), job=old)
    failed = make_job("Shop.invalid", label="failed", owner=User.objects.create_user("alice"))
    make_result(make_failure("Shop.invalid"), job=failed)
    make_job("127.66.0.1", label="new")
    JobTag.objects.create(job=old, name="weekly")
    return old


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["new", "failed", "old office"]),
        ({"state": "queued"}, ["new"]),
        ({"outcome": "partial"}, ["failed"]),
        ({"level": "high"}, ["old office"]),
        ({"label": "old o"}, ["old office"]),
        ({"tag": "weekly"}, ["old office"]),
        ({"owner": "alice"}, ["failed"]),
        ({"address": "127.66.0.1"}, ["old office"]),
        ({"address": " ::ffff:127.66.0.1 "}, ["old office"]),
        ({"q": "127.66."}, ["new", "old office"]),
        ({"q": "SHOP"}, ["failed"]),
        ({"q": "http://127.66.0.2"}, ["old office"]),
        ({"q": "http://127.66.0.2/x"}, ["old office"]),
        ({"q": "http://127.66.0.2/y", "level": ""}, None),
        ({"from": "2026-01-31", "to": "2026-01-31"}, ["old office"]),
        ({"from": "2026-02-01"}, ["new", "failed"]),
        ({"to": "2026-01-30"}, None),
        ({"state": "complete", "level": "high", "tag": "weekly", "from": "2026-01-01"}, ["old office"]),
        ({"state": "queued", "level": "high"}, None),
    ],
    ids=str,
)
def test_filters_narrow_the_list_and_add_up(client, jobs, query, found):
    page = page_of(client, **query)
    assert names(page) == (found or [])
    assert ("No job matches these filters" in page) == (found is None)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"level": "severe"}, "Select a valid choice. severe is not one of the available choices."),
        ({"state": "done"}, "Select a valid choice. done is not one of the available choices."),
        ({"address": "127.0.0.256"}, "127.0.0.256 is not an address."),
        ({"address": "10.0.0.0/8"}, "10.0.0.0/8 is not an address."),
        ({"from": "yesterday"}, "yesterday is no day: write it as 2026-11-24."),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "The last day is before the first."),
        ({"to": "9999-12-31"}, "No job was submitted in that year."),
        ({"q": "x" * 201}, "Ensure this value has at most 200 characters (it has 201)."),
        ({"tag": "a\x00b"}, "Null characters are not allowed."),
        ({"rsik": "high"}, "There is no filter rsik."),
        ({"before": "x"}, "No page begins there: take the links under the list."),
        ({"after": "2026-13-31T12:00:00Z,1"}, "No page begins there: take the links under the list."),
        ({"before": "2026-01-31T12:00:00Z,1", "after": "2026-01-31T12:00:00Z,1"}, "A page begins at one place only."),
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_meant_is_an_error_in_its_place_and_nothing_typed_is_lost(client, jobs, query, reason):
    page = page_of(client, 422, **query, label="old <o>")
    assert reason in text_of(page)
    assert names(page) == []
    assert "Nothing was looked up" in page
    assert 'value="old &lt;o&gt;"' in page


def test_an_empty_page_says_which_filter_stands_in_the_way_and_how_many_jobs_it_hides(client, jobs):
    page = page_of(client, level="critical", tag="weekly")
    assert "Without the level filter, 1 job matches." in text_of(page)
    assert names(client.get(link(page, "Drop the level filter")).content.decode()) == ["old office"]
    assert "Dropping one of them alone does not help." in page_of(client, level="critical", tag="none")


def test_an_empty_page_counts_no_further_than_it_says(client, monkeypatch):
    monkeypatch.setattr(selector, "COUNTED_JOBS", 2)
    for _ in range(3):
        make_job("127.66.0.1")
    assert "Without the level filter, 2 or more jobs match." in text_of(page_of(client, level="critical"))


def test_without_any_job_the_page_says_what_would_stand_here(client):
    page = page_of(client)
    assert "No job yet" in page
    assert link(page, "Scan something") == "/"


# --- Pages ---------------------------------------------------------------------------------------------------------


def test_pages_hold_every_job_once_whatever_comes_and_goes_meanwhile_and_lead_back_again(client, monkeypatch):
    monkeypatch.setattr("scans.web.history.PAGE_JOBS", 3)
    for n in range(10):
        make_job("127.66.0.1", label=f"é&{n}", created_at=NOON + timedelta(seconds=n // 3))
    page, seen = page_of(client, label="é&"), []
    assert link(page, "Newer than") is None
    while True:
        seen.append(names(page))
        make_job("127.66.0.1", label="é&late")
        older = link(page, "Older than")
        if older is None:
            break
        page = client.get(older).content.decode()
    assert seen == [["é&9", "é&8", "é&7"], ["é&6", "é&5", "é&4"], ["é&3", "é&2", "é&1"], ["é&0"]]
    ScanJob.objects.filter(label="é&5").delete()
    back = []
    while newer := link(page, "Newer than"):
        page = client.get(newer).content.decode()
        back = names(page) + back
    assert back == ["é&late"] * 4 + [f"é&{n}" for n in (9, 8, 7, 6, 4, 3, 2, 1)]
    assert link(page, "Newest") is None or names(client.get(link(page, "Newest")).content.decode())[0] == "é&late"


def test_the_pager_names_the_boundary(client, monkeypatch):
    monkeypatch.setattr("scans.web.history.PAGE_JOBS", 1)
    for n in range(2):
        make_job("127.66.0.1", created_at=NOON - timedelta(hours=6 * n))
    page = page_of(client)
    assert link(page, "Older than 31 Jan, 12:00") is not None
    page = client.get(link(page, "Older than")).content.decode()
    assert link(page, "Newer than 31 Jan, 06:00") is not None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    seconds=st.lists(st.integers(0, 3), max_size=9), limit=st.integers(1, 4), inserts=st.lists(st.integers(0, 3), max_size=4)
)
def test_no_job_is_left_out_or_shown_twice_however_they_are_spread_and_inserted(db, seconds, limit, inserts):
    ScanJob.objects.all().delete()
    first = [make_job("127.66.0.1", created_at=NOON + timedelta(seconds=n)).pk for n in seconds]
    staff = User(username="staff", is_staff=True)
    seen, position, later = [], None, iter(inserts)
    while True:
        page = selector.history_page(staff, selector.JobFilters(), before=position, limit=limit)
        seen += [row.job.pk for row in page.rows]
        position = page.older
        if position is None:
            break
        if (n := next(later, None)) is not None:
            make_job("127.66.0.1", created_at=NOON + timedelta(seconds=n))
    assert len(seen) == len(set(seen))
    assert set(first) <= set(seen)


def test_days_are_ruled_off_and_named(client):
    for hours in (0, 1, 30):
        make_job("127.66.0.1", created_at=NOON - timedelta(hours=hours))
    days = re.findall(r'scope="rowgroup" colspan="7">(.*?)<', page_of(client))
    assert days == ["Saturday, 31 January 2026", "Friday, 30 January 2026"]


# --- What was found ------------------------------------------------------------------------------------------------


@pytest.fixture
def found_jobs():
    """Two jobs in which something was found, of two hosts each, and one in which nothing was."""
    redis, ssh = make_service(6379, "Redis", access="PING answered PONG"), make_service(22, "SSH", product="OpenSSH")
    for n, version in enumerate(("1.24.0", "1.8.1")):
        job = make_job("127.66.0.1", "127.66.0.2", label=f"nginx {version}", created_at=NOON + timedelta(hours=n))
        tls = replace(SELF_SIGNED, names=(f"shop{n}.example.invalid", "*.example.invalid"))
        web = make_service(443, "HTTP", product="nginx", version=version, is_tls=True, tls=tls)
        make_result(make_report("127.66.0.1", make_address("127.66.0.1", services=[web, *[ssh, redis][n:]])), job=job)
        make_result(make_report("127.66.0.2", make_address("127.66.0.2", services=[ssh])), job=job)
    make_result(make_report("127.66.0.3", make_address("127.66.0.3")), job=make_job("127.66.0.3", label="nothing"))


BOTH, OLD, NEW = ["nginx 1.8.1", "nginx 1.24.0"], ["nginx 1.24.0"], ["nginx 1.8.1"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("service:redis", BOTH),
        ("SERVICE: Redis", BOTH),
        ("service:red", []),
        ("service:https", BOTH),
        ("service:tls", BOTH),
        ("product:nginx", BOTH),
        ("product:NGINX 1.2", OLD),
        ("product:nginx 1.8.1", NEW),
        ("product:ginx", []),
        ("product:%", []),
        ("product:ngin_", []),
        ('product:"nginx 1.8" service:https', NEW),
        ("cert:shop0.example.invalid", OLD),
        ("cert:Shop0.Example.invalid.", OLD),
        ("cert:*.example.invalid", BOTH),
        ("cert:*.invalid", BOTH),
        ("cert:example.invalid", []),
        ("cert:*.shop0.example.invalid", []),
        ("cert:*.ample.invalid", []),
        ("finding:ACC-001", BOTH),
        ("finding:access without auth", BOTH),
        ("finding:EXP-00", []),
        ("finding:EXP-008", []),
        ("service:ssh product:nginx", OLD),  # of one host, and not of any two of a job
        ("product:openssh service:redis", OLD),
        ("product:nginx cert:shop1.example.invalid service:redis finding:acc-001", NEW),
        ("127.66.0 service:redis", BOTH),
        ("127.66.9 service:redis", []),
        ("127.66.0.3", ["nothing"]),
        ("dead:beef::", []),
        ("https://127.66.0.1", []),
        ("service:redis\u202e", BOTH),
    ],
    ids=ascii,
)
def test_jobs_are_found_by_what_was_found_and_the_api_finds_the_same(client, found_jobs, monkeypatch, q, found):
    for few in (selector_terms.FEW_FOUND, 0):  # the two ways to look for them
        monkeypatch.setattr(selector_terms, "FEW_FOUND", few)
        monkeypatch.setattr(selector_terms, "FEW_TOGETHER", few)
        page = page_of(client, q=q)
        assert names(page) == found
        if found:
            reply = client.get(link(page, "as JSON"))
            assert [job["label"] for job in reply.json()["scans"]] == found


@pytest.mark.parametrize(
    ("q", "reason"),
    [
        ("servce:redis", "There is no servce: to search by. What was found is searched by service:, product:, cert: and"),
        ("x localhost:80", "There is no localhost: to search by."),
        ("service:", "service: has no value. Write it as service:redis."),
        ("service: product:x", "service: has no value."),
        ('product:""', "product: has no value. Write it as product:nginx 1.2."),
        ("product:\u202e\u200b", "product: has no value."),
        ("cert:*.", "cert: has no value."),
        ("service:redis service:ssh", "service: is there twice; one target is searched for, by one of each."),
        ("service:redis host7", "service: takes no spaces, as in service:redis. How a target begins comes first."),
        ('product:"a" b', "belongs to nothing. How a target begins comes first."),
        ("<b>:x <i>:y z" + "z" * 60 + ":x", "There is no " + "z" * 40 + ": to search by."),
    ],
    ids=ascii,
)
def test_a_search_that_cannot_be_meant_says_what_would_be_right(client, found_jobs, q, reason):
    page = page_of(client, 422, q=q)
    assert reason in text_of(page)
    assert names(page) == []


def test_a_row_leads_to_the_hosts_that_were_found_and_says_when_there_are_more(client, found_jobs):
    page = page_of(client, q="service:ssh")
    assert re.findall(r'Found at <a href="[^"]*/hosts/(\d)"><bdi>([^<]*)', page) == [
        ("2", "127.66.0.2"),
        ("1", "127.66.0.1"),
    ]
    assert "and more" not in text_of(page)
    job = make_job(*(f"127.66.1.{n}" for n in range(5)), label="many")
    for n in range(5):
        seen = make_address(f"127.66.1.{n}", services=[make_service(22, "SSH")])
        make_result(make_report(f"127.66.1.{n}", seen), job=job)
    assert "Found at 127.66.1.0 , 127.66.1.1 , 127.66.1.2 and more" in " ".join(
        text_of(page_of(client, q="service:ssh")).split()
    )
    assert "Found at" not in page_of(client, q="127.66")


def test_hostile_names_are_searched_for_and_shown_as_text(client):
    name = "<script>alert(1)</script>.\u202einvalid"
    tls = replace(SELF_SIGNED, names=(name, "x" * 10_000 + ".invalid"))
    web = make_service(443, "HTTP", product="a\x00b' OR 1=1 --", is_tls=True, tls=tls)
    make_result(make_report("127.66.0.1", make_address(services=[web])), job=make_job("127.66.0.1", label="odd"))
    for q in ("product:a b' OR", "cert:<script>alert(1)</script>.invalid", "cert:<script>alert(1)</script>. invalid"):
        page = client.get("/history", {"q": q}).content.decode()
        assert "<script>alert" not in page
    assert names(page_of(client, q="product:a b' or 1=1")) == ["odd"]
    assert names(page_of(client, q="product:a' or")) == []
    assert client.get("/history", {"q": "product:a\x00b"}).status_code == 422


def test_others_jobs_are_not_found_by_what_was_found_in_them(server_profile, client, django_user_model, found_jobs):
    client.force_login(User.objects.create_user("bob"))
    assert names(page_of(client, q="service:redis")) == []
    assert client.get("/scans?service=redis").json()["scans"] == []
    client.force_login(User.objects.create_user("carol", is_staff=True))
    assert names(page_of(client, q="service:redis")) == BOTH


def test_a_search_takes_as_many_queries_however_much_is_found(client, found_jobs):
    counts = []
    for more in (20, 0):
        for q in ("service:ssh", "product:n service:https cert:*.invalid finding:acc-001"):
            with CaptureQueriesContext(connection) as queries:
                page_of(client, q=q)
            counts.append(len(queries))
        for _ in range(more):
            services = [make_service(22, "SSH"), *make_services()[1:]]
            make_result(make_report("127.66.0.1", make_address(services=services)), job=make_job("127.66.0.1"))
    assert counts[:2] == counts[2:]


@pytest.fixture
def never_together(monkeypatch):
    """Nine jobs that all have Redis and nginx, the oldest of them at one target; of so many, each has to be asked."""
    monkeypatch.setattr(selector_terms, "FEW_FOUND", 0)
    monkeypatch.setattr(selector_terms, "FEW_TOGETHER", 0)
    redis, web = make_service(6379, "Redis"), make_service(80, "HTTP", product="nginx", version="1.24.0")
    for n in range(9):
        job = make_job("127.66.0.1", "127.66.0.2", label=str(n), created_at=NOON + timedelta(hours=n))
        for address, services in (("127.66.0.1", [redis, web] if n == 0 else [redis]), ("127.66.0.2", [web])):
            make_result(make_report(address, make_address(address, services=services)), job=job)


TOGETHER = "service:redis product:nginx"


def test_a_page_that_has_asked_many_jobs_says_how_far_it_looked_and_goes_on(client, never_together, monkeypatch):
    monkeypatch.setattr(selector, "TOGETHER_JOBS", 4)
    page = page_of(client, q=TOGETHER)
    assert "None of the 4 jobs from 31 Jan 2026, 20:00 to 31 Jan 2026, 17:00 matches." in text_of(page)
    assert link(page, "Look at newer jobs") is None
    page = client.get(link(page, "Look further back")).content.decode()
    assert "None of the 4 jobs from 31 Jan 2026, 16:00 to 31 Jan 2026, 13:00 matches." in text_of(page)
    assert link(page, "Look at newer jobs") is not None
    page = client.get(link(page, "Look further back")).content.decode()
    assert names(page) == ["0"]
    assert "looked at" not in text_of(page)  # to the end
    page = client.get(link(page, "Newer than 31 Jan, 12:00")).content.decode()
    assert "None of the 4 jobs from 31 Jan 2026, 13:00 to 31 Jan 2026, 16:00 matches." in text_of(page)
    page = client.get(link(page, "Look at newer jobs")).content.decode()
    assert "No more jobs" in text_of(page)


def test_a_page_with_jobs_says_too_how_far_it_looked(client, never_together, monkeypatch):
    monkeypatch.setattr(selector, "TOGETHER_JOBS", 5)
    for hours in (1, 2):
        make_job("127.66.0.9", label="nothing", created_at=NOON - timedelta(hours=hours))
    page = page_of(client, q=TOGETHER, before="2026-01-31T16:00:00Z,1")
    assert names(page) == ["0"]
    assert "1 job on this page, newest first, of 5 that were looked at, to 31 Jan, 11:00" in text_of(page)
    page = client.get(link(page, "Older than 31 Jan, 11:00")).content.decode()
    assert "No more jobs" in text_of(page)


def test_few_jobs_of_many_targets_are_many(client, never_together, monkeypatch):
    monkeypatch.setattr(selector, "TOGETHER_TARGETS", 5)
    assert "None of the 2 jobs from" in text_of(page_of(client, q=TOGETHER))
    monkeypatch.setattr(selector, "TOGETHER_TARGETS", 1)  # one is asked at least, or nobody would get anywhere
    assert "None of the 1 jobs from" in text_of(page_of(client, q=TOGETHER))


def test_the_api_leads_over_empty_pages_to_what_is_further_back(client, never_together, monkeypatch):
    monkeypatch.setattr(selector, "TOGETHER_JOBS", 4)
    url, seen = "/scans?service=redis&product=nginx", []
    while url:
        document = client.get(url).json()
        seen.append([job["label"] for job in document["scans"]])
        url = document["next"]
    assert seen == [[], [], ["0"]]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    jobs=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=9), limit=st.integers(1, 3), asked=st.integers(1, 4)
)
def test_jobs_are_found_once_and_in_order_however_few_a_page_asks(db, jobs, limit, asked):
    ScanJob.objects.all().delete()
    expected = []
    for seconds, is_wanted in jobs:
        job = make_job("127.66.0.1", created_at=NOON + timedelta(seconds=seconds))
        if is_wanted:
            make_result(make_report("127.66.0.1", make_address(open_ports=[6379])), job=job)  # high
            expected.append((job.created_at, job.pk))
    staff = User(username="staff", is_staff=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selector, "ASKED_JOBS", asked)
        patch.setattr(selector, "FEW_RATED", 0)
        walked = _walk(lambda **at: selector.history_page(staff, selector.JobFilters(risk="high"), limit=limit, **at))
    assert walked == [sorted(expected, reverse=True), sorted(expected)]


def _walk(page_at) -> list[list[tuple[datetime, int]]]:
    """The jobs as they come page by page from the newest on, and from the oldest on."""
    pages, back = [page_at()], [page_at(after=selector.JobPosition(created_at=NOON - timedelta(days=1), id=1))]
    while older := pages[-1].older:
        pages.append(page_at(before=older))
    while newer := back[-1].newer:
        back.append(page_at(after=newer))
    rows = [row for page in pages for row in page.rows], [row for page in back for row in reversed(page.rows)]
    return [[(row.job.created_at, row.job.pk) for row in way] for way in rows]


WORDS = st.sampled_from([*TermKind.values, "PRODUCT", "nginx 1.2", "*.", "https://x", "dead:beef::", ":", '"', " ", "\xa0"])


@given(text=st.lists(WORDS | st.text(max_size=4), max_size=12).map("".join))
def test_every_part_of_a_search_is_searched_for_or_told_of(text):
    try:
        begins, wanted = parse_search(text)
    except SearchError:
        return
    assert set(wanted) <= set(TermKind.values)
    assert _bare(text) == _bare(begins + "".join(f"{kind}:{value}" for kind, value in wanted.items()))


def _bare(text: str) -> str:
    """Without what a search may have or not."""
    return "".join(text.replace('"', "").lower().split())


# --- What a row says -----------------------------------------------------------------------------------------------


def test_a_row_tells_state_targets_levels_owner_and_time(client):
    job = make_job("127.66.0.1", "127.66.0.2", "x.invalid", owner=User.objects.create_user("alice"), label="Office")
    make_result(make_report("127.66.0.1", make_address("127.66.0.1", open_ports=[6379])), job=job)
    ScanJob.objects.update(state=JobState.RUNNING)
    assert "Office 127.66.0.1 , 127.66.0.2 and more 1 of 3 3 1 high alice" in text_of(page_of(client))
    job.targets.filter(finished_at=None).update(state="cancelled", finished_at=timezone.now(), evidence={})
    ScanJob.objects.update(state="cancelled", outcome="cancelled", started_at=NOON, finished_at=NOON + timedelta(seconds=27))
    assert "Cancelled 3 1 high alice 27 s" in text_of(page_of(client))


def test_what_people_and_targets_wrote_is_escaped(client):
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    target = f"https://shop.invalid/{hostile.replace(' ', '/')}"
    job = make_job(target, label=hostile[:100], submitted=[hostile] * 3)
    JobTag.objects.create(job=job, name="<b>tag</b>")
    for page in (page_of(client), page_of(client, q=hostile, label=hostile[:100], tag="<b>")):
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "<b>tag" not in page
    page = page_of(client)
    assert inline_parts(page) == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_name_written_from_right_to_left_moves_nothing_beside_it(client):
    hebrew = "\u05e9\u05dc\u05d5\u05dd"
    job = make_job("127.66.0.1", label=f"{hebrew} 1", submitted=[f"{hebrew}.invalid", "127.66.0.2"])
    JobTag.objects.create(job=job, name=hebrew)
    page = page_of(client)
    for text in (f"{hebrew} 1", f"{hebrew}.invalid", hebrew):
        assert f"<bdi>{text}</bdi>" in page


def test_the_same_list_is_offered_as_json(client, jobs):
    page = page_of(client, level="high", q="127.66.", to="2026-01-31")
    reply = client.get(link(page, "as JSON"))
    assert [job["label"] for job in reply.json()["scans"]] == ["old office"]


# --- Who sees what -------------------------------------------------------------------------------------------------


def test_everybody_sees_their_own_jobs_and_staff_see_all(server_profile, client):
    alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
    staff = User.objects.create_user("carol", is_staff=True)
    for owner in (alice, bob, None):
        job = make_job("127.66.0.1", label=str(owner), owner=owner)
        JobTag.objects.create(job=job, name="x")
        make_result(make_report("127.66.0.1", make_address(open_ports=[6379])), job=job)
    narrowed = ({}, {"level": "high"}, {"q": "127.66"}, {"address": "127.66.0.1"}, {"tag": "x"}, {"outcome": "complete"})
    client.force_login(alice)
    for query in narrowed:
        assert names(page_of(client, **query)) == ["alice"]
    assert "There is no filter owner." in page_of(client, 422, owner="bob")
    assert "Dropping one of them alone does not help." in page_of(client, level="critical", label="bob")
    client.force_login(staff)
    assert names(page_of(client)) == ["None", "bob", "alice"]
    assert names(page_of(client, owner="bob")) == ["bob"]
    client.logout()
    assert client.get("/history").status_code == 302


# --- What it costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [{}, {"level": "high", "q": "127.66.", "tag": "x", "address": "127.66.0.1"}], ids=str)
def test_a_full_page_costs_as_many_queries_as_one_job(client, query):
    counts = []
    for n in (1, 40):
        for k in range(n):
            job = make_job("127.66.0.1", label=str(k), owner=User.objects.get_or_create(username=f"user{k}")[0])
            JobTag.objects.create(job=job, name="x")
            make_result(make_report("127.66.0.1", make_address(open_ports=[6379])), job=job)
        with CaptureQueriesContext(connection) as queries:
            assert len(names(page_of(client, **query))) == min(25, ScanJob.objects.count())
        counts.append(len(queries) - 1)
    assert counts[0] == counts[1] <= 8


@pytest.mark.parametrize("few", [0, 10**6])
def test_a_filter_on_targets_finds_the_same_by_either_way(client, jobs, few, monkeypatch):
    monkeypatch.setattr(selector, "FEW_RATED", few)
    monkeypatch.setattr(selector, "FEW_NAMED", few)
    assert names(page_of(client, q="127.66.")) == ["new", "old office"]
    assert names(page_of(client, level="high")) == ["old office"]


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("shop", {"Shop.invalid", "https://shop.invalid:8443/a?b#c"}),
        ("SHOP.invalid", {"Shop.invalid", "https://shop.invalid:8443/a?b#c"}),
        ("shop.invalid:8", set()),
        ("https://shop", {"https://shop.invalid:8443/a?b#c"}),
        ("https://shop.invalid:8443/a", {"https://shop.invalid:8443/a?b#c"}),
        ("https://shop.invalid:8443/b", set()),
        ("https://", {"https://shop.invalid:8443/a?b#c", "https://[2001:db8::1]/"}),
        ("2001:db8", {"2001:DB8::1", "https://[2001:db8::1]/"}),
        ("2001:DB8::1", {"2001:DB8::1", "https://[2001:db8::1]/"}),
        ("[2001:db8", {"2001:DB8::1", "https://[2001:db8::1]/"}),
        ("https://[2001:db8::1]/", {"https://[2001:db8::1]/"}),
        ("hop", set()),
        ("%", set()),
        ("_hop", set()),
        ("\U0010ffff", set()),
    ],
)
def test_a_target_is_found_by_how_its_text_or_its_host_begins(text, targets):
    make_job("Shop.invalid", "https://shop.invalid:8443/a?b#c", "2001:DB8::1", "https://[2001:db8::1]/")
    assert set(selector.targets_beginning(text).values_list("target", flat=True)) == targets


def test_the_beginning_of_a_host_is_read_from_its_index():
    make_job("127.66.0.1")
    plan = TargetResult.objects.filter(pk__in=selector.targets_beginning("127.66").values("pk")).explain()
    if connection.vendor == "sqlite":  # Postgres plans by size, and the table has one row
        assert "target_host" in plan


# --- In the browser ------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_page_holds_in_a_real_browser_at_every_width_and_in_the_dark(chromium, page):
    long = "w" * 100
    job = make_job(f"https://shop.invalid/{long * 3}", label=long, submitted=[long * 3, long * 3])
    JobTag.objects.create(job=job, name="w" * 40)
    make_result(make_report(f"https://shop.invalid/{long * 3}", make_address(open_ports=[6379])), job=job)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            for path in ("/history", "/history?level=critical", "/history?level=high&q=shop"):
                page.goto(path)
                assert overflow(page) <= 0, (path, width)
    page.goto("/history")
    page.fill("[name=q]", "shop")
    page.select_option("[name=level]", "high")
    page.click("button:text-is('Filter')")
    page.wait_for_url("**/history?*q=shop*")
    assert page.input_value("[name=q]") == "shop"
    assert page.is_visible("text=1 job on this page")
    assert page.complaints == []


def test_the_page_has_the_policy_and_is_not_stored(client):
    response = client.get("/history")
    assert policy_of(response) == POLICY
    assert response["Cache-Control"] == "private, no-store"
