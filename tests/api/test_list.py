"""GET /scans: one's jobs, newest first, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from scans.models import JobTag, ScanJob
from tests.factories import make_address, make_failure, make_job, make_report, make_result

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def listed(client, **query) -> list[str]:
    """The labels of the jobs that come."""
    reply = client.get("/scans", query)
    assert reply.status_code == 200, reply.content
    return [job["label"] for job in reply.json()["scans"]]


def pages(client, **query):
    """The labels on each page, following `next`."""
    reply = client.get("/scans", query)
    while True:
        document = reply.json()
        yield [job["label"] for job in document["scans"]]
        assert (document["next"] is None) == ("Link" not in reply)
        if document["next"] is None:
            return
        assert reply["Link"] == f'<{document["next"]}>; rel="next"'
        reply = client.get(document["next"])


def test_a_listed_job_tells_what_its_document_tells(client):
    job = make_job("127.66.0.1", "127.66.0.2", label="Office")
    JobTag.objects.create(job=job, name="weekly")
    make_result(make_report("127.66.0.1", make_address("127.66.0.1", open_ports=[6379])), job=job)
    (entry,) = client.get("/scans").json()["scans"]
    document = client.get(f"/scan/{job.token}").json()
    assert entry["levels"] == {"high": 1}
    assert {name: value for name, value in entry.items() if document.get(name) != value} == {"levels": {"high": 1}}
    assert (entry["label"], entry["tags"], entry["completed_targets"]) == ("Office", ["weekly"], 1)


def test_pages_hold_every_job_once_also_those_of_the_same_moment_and_whatever_comes_meanwhile(client):
    for n in range(7):
        make_job("127.0.0.1", label=str(n), created_at=NOON + timedelta(seconds=n // 3))
    walk = pages(client, limit=2)
    seen = next(walk)
    make_job("127.0.0.1", label="late")
    ScanJob.objects.filter(label="6").delete()
    seen += [label for page in walk for label in page]
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


def test_the_next_link_keeps_the_filters(client):
    for n in range(3):
        make_job("127.0.0.1", label=f"é&{n}", mode="ai")
        make_job("127.0.0.1", label=f"other {n}")
    assert list(pages(client, limit=2, label="é&", mode="ai")) == [["é&2", "é&1"], ["é&0"]]


@pytest.fixture
def jobs():
    """Three jobs that differ in everything."""
    old = make_job("127.66.0.1", "http://127.66.0.2/x", label="old office", mode="ai", created_at=NOON)
    make_result(make_report("127.66.0.1", make_address("127.66.0.1", open_ports=[6379])), job=old)
    make_result(make_report("http://127.66.0.2/x", make_address("::ffff:7f42:2")), job=old)
    failed = make_job("x.invalid", label="failed")
    make_result(make_failure("x.invalid"), job=failed)
    new = make_job("127.66.0.1", label="new")
    JobTag.objects.create(job=old, name="weekly")
    JobTag.objects.create(job=new, name="weekly west")
    return old, failed, new


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ({}, ["new", "failed", "old office"]),
        ({"state": "queued"}, ["new"]),
        ({"state": "complete"}, ["failed", "old office"]),
        ({"outcome": "partial"}, ["failed"]),
        ({"mode": "ai"}, ["old office"]),
        ({"risk": "high"}, ["old office"]),
        ({"risk": "critical"}, []),
        ({"label": "old o"}, ["old office"]),
        ({"label": "office"}, []),
        ({"label": "%"}, []),
        ({"tag": "weekly"}, ["old office"]),
        ({"address": "127.66.0.1"}, ["old office"]),
        ({"address": "::ffff:127.66.0.1"}, ["old office"]),
        ({"address": "127.66.0.9"}, []),
        ({"q": "127.66."}, ["new", "old office"]),
        ({"q": "http://127.66.0.2"}, ["old office"]),
        ({"q": "66"}, []),
        ({"created_after": "2026-01-31T12:00:00Z", "created_before": "2026-01-31T12:00:01Z"}, ["old office"]),
        ({"created_before": "2026-01-31T12:00:00Z"}, []),
        ({"created_after": "2026-01-31T13:00:00.000001+00:30"}, ["new", "failed"]),
        ({"finding": "EXP-009"}, ["old office"]),
        ({"finding": "cache", "service": "redis"}, []),
        ({"state": "complete", "risk": "high", "tag": "weekly"}, ["old office"]),
        ({"state": "queued", "risk": "high"}, []),
    ],
    ids=str,
)
def test_filters_narrow_the_list_and_add_up(client, jobs, query, labels):
    assert listed(client, **query) == labels


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/limit"]),
        ("limit=201", ["/limit"]),
        ("limit=many", ["/limit"]),
        ("risk=severe&state=done", ["/state", "/risk"]),
        ("state=", ["/state"]),
        ("mode=ai&mode=ai", ["/mode"]),
        ("address=127.0.0.256", ["/address"]),
        ("address=fe80::1%25eth0", ["/address"]),
        ("address=10.0.0.0/8", ["/address"]),
        ("created_after=yesterday", ["/created_after"]),
        ("created_before=0001-01-01T00:00:00%2B14:00", ["/created_before"]),
        ("cursor=x", ["/cursor"]),
        ("cursor=1", ["/cursor"]),
        ("cursor=1-99999999999999999999", ["/cursor"]),
        ("cursor=%F0%9D%9F%8F-1", ["/cursor"]),
        ("label=" + "x" * 101, ["/label"]),
        ("tag=%00", ["/tag"]),
        ("q=a%00b", ["/q"]),
        ("label=%00", ["/label"]),
        ("owner=%00", ["/owner"]),
        ("service=&product=%E2%80%AE", ["/service", "/product"]),
        ("cert=*.", ["/cert"]),
        ("finding=a%00b", ["/finding"]),
        ("product=" + "x" * 201, ["/product"]),
        ("rsik=high", ["/rsik"]),
        ("a~/b=1", ["/a~0~1b"]),
        ("message=1&code=2", ["/code", "/message"]),
        ("%00=1&%ED%A0%80=1", ["/", "/���"]),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_a_422_that_points_to_it(client, query, pointers):
    reply = client.get(f"/scans?{query}")
    assert reply.status_code == 422
    assert reply["Content-Type"] == "application/problem+json"
    pointed_to = [error["pointer"] for error in reply.json()["errors"]]
    assert list(dict.fromkeys(pointed_to)) == pointers  # a lone NUL is wrong in two ways


@pytest.mark.parametrize("cursor", ["0-0", "9999999999999999-999999999999999999"])
def test_a_cursor_from_the_end_of_time_is_no_error(client, cursor):
    make_job("127.0.0.1")
    assert len(client.get(f"/scans?cursor={cursor}").json()["scans"]) == (cursor[0] == "9")


def test_the_number_of_queries_does_not_depend_on_the_number_of_jobs(client, django_assert_num_queries):
    for n in range(12):
        job = make_job("127.66.0.1", label=str(n))
        JobTag.objects.create(job=job, name="x")
        make_result(make_report("127.66.0.1"), job=job)
    for limit in (1, 12):
        with django_assert_num_queries(4):
            assert len(listed(client, limit=limit)) == limit


def test_everybody_sees_their_own_jobs_and_staff_see_all(server_profile, client, django_user_model):
    alice, bob = (User.objects.create_user(name) for name in ("alice", "bob"))
    staff = User.objects.create_user("carol", is_staff=True)
    for owner in (alice, bob, None):
        make_job("127.0.0.1", label=str(owner), owner=owner)
    client.force_login(alice)
    assert listed(client) == ["alice"]
    assert client.get("/scans?owner=bob").status_code == 403
    client.force_login(staff)
    assert listed(client) == ["None", "bob", "alice"]
    assert listed(client, owner="bob") == ["bob"]
    assert client.get("/scans?owner=bob").json()["scans"][0]["owner"] == "bob"
    client.logout()
    assert client.get("/scans").status_code == 401


def test_a_list_is_not_kept_by_any_cache(client):
    assert client.get("/scans")["Cache-Control"] == "private, no-store"
    assert timezone.now() > NOON
