"""Following a job: ETag and 304, and the long poll that never takes all threads."""

from __future__ import annotations

import threading
import time

import pytest
import requests
from django.db import connection

from ipscanner import gunicorn_conf
from scans.api import viewsets, waiting
from scans.models import ScanJob
from scans.services.audit import SYSTEM
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from tests.factories import make_job, make_report, make_result
from tests.fakes import wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE

FAR = 15  # seconds, as the API takes them; in `long_waits` they last for ages


@pytest.mark.django_db
class TestConditional:
    def test_the_same_version_is_a_304_without_a_body(self, client):
        job = make_job("127.66.0.1")
        etag = client.get(f"/scan/{job.token}")["ETag"]
        assert etag.startswith('W/"')
        for held in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
            reply = client.get(f"/scan/{job.token}", headers={"If-None-Match": held})
            assert (reply.status_code, reply.content) == (304, b"")
            assert (reply["ETag"], reply["Cache-Control"]) == (etag, "private, no-cache")
            assert reply["Retry-After"] == "2"

    def test_another_version_is_a_200(self, client):
        job = make_job("127.66.0.1")
        etag = client.get(f"/scan/{job.token}")["ETag"]
        cancel_job(job, by=SYSTEM)
        reply = client.get(f"/scan/{job.token}", headers={"If-None-Match": etag})
        assert reply.status_code == 200
        assert reply["ETag"] != etag
        assert "Retry-After" not in reply

    @pytest.mark.parametrize("held", ["", "nonsense", '"', "W/x", '""', ","])
    def test_an_etag_that_is_none_is_no_error(self, client, held):
        job = make_job("127.66.0.1")
        assert client.get(f"/scan/{job.token}", headers={"If-None-Match": held}).status_code == 200

    def test_a_304_needs_two_queries_however_many_results(self, client, django_assert_num_queries):
        job = make_job("127.66.0.1", "127.66.0.2")
        etag = client.get(f"/scan/{job.token}")["ETag"]
        ScanJob.objects.update(state="complete", outcome="complete", finished_at="2026-01-01T00:00:00Z")
        with django_assert_num_queries(2):  # the job, and whether a waiver has begun or ended
            assert client.get(f"/scan/{job.token}", headers={"If-None-Match": etag}).status_code == 304

    @pytest.mark.parametrize("wait", ["-1", "61", "long", "1.5", "", "1&wait=1"])
    def test_a_wait_that_cannot_be_meant_is_a_422(self, client, wait):
        reply = client.get(f"/scan/{make_job('127.0.0.1').token}?wait={wait}")
        assert reply.status_code == 422
        assert [error["pointer"] for error in reply.json()["errors"]] == ["/wait"]

    @pytest.mark.usefixtures("long_waits")
    def test_what_has_ended_or_changed_already_is_answered_at_once(self, client):
        job = make_job("127.66.0.1")
        began = time.monotonic()
        reply = client.get(f"/scan/{job.token}?wait={FAR}", headers={"If-None-Match": 'W/"1.0"'})
        assert reply.status_code == 200
        make_result(make_report("127.66.0.1"), job=job)
        assert client.get(f"/scan/{job.token}?wait={FAR}").json()["status"] == "complete"
        assert time.monotonic() - began < AT_ONCE


def test_at_most_half_of_the_servers_threads_wait():
    assert gunicorn_conf.threads >= waiting.MAX_WAITERS * 2


class Waiter:
    """A client that waits in a thread of its own."""

    def __init__(self, url: str, **headers: str) -> None:
        self.reply: requests.Response | None = None
        self._thread = threading.Thread(target=self._ask, args=(url, headers))
        self._thread.start()

    def _ask(self, url: str, headers: dict[str, str]) -> None:
        began = time.monotonic()
        self.reply = requests.get(url, headers=headers, timeout=AGES)
        self.seconds = time.monotonic() - began

    def answered(self) -> requests.Response:
        self._thread.join(AGES)
        assert self.reply is not None
        return self.reply

    def is_waiting(self) -> bool:
        return self._thread.is_alive()


def waits(count: int) -> None:
    """Until so many places are taken."""
    assert wait_until(lambda: waiting.MAX_WAITERS - waiting._places._value == count)


@pytest.fixture
def long_waits(monkeypatch):
    """Who waits for nothing waits for long."""
    real = waiting.wait_for_change
    monkeypatch.setattr(viewsets, "wait_for_change", lambda job, seconds: real(job, seconds=seconds * 100))


@pytest.mark.django_db(transaction=True)
class TestLongPoll:
    @pytest.mark.usefixtures("long_waits")
    def test_a_change_ends_the_wait(self, live_server):
        job = make_job("127.66.0.1")
        url = f"{live_server.url}/scan/{job.token}"
        etag = requests.get(url, timeout=PATIENCE).headers["ETag"]
        waiters = [Waiter(f"{url}?wait={FAR}"), Waiter(f"{url}?wait={FAR}", **{"If-None-Match": etag})]
        waits(2)
        changed = time.monotonic()
        cancel_job(job, by=SYSTEM)
        for waiter in waiters:
            assert waiter.answered().json()["state"] == "cancelled"
        assert time.monotonic() - changed < AT_ONCE
        waits(0)

    def test_without_a_change_the_time_ends_it(self, live_server):
        url = f"{live_server.url}/scan/{make_job('127.66.0.1').token}"
        etag = requests.get(url, timeout=PATIENCE).headers["ETag"]
        held, free = Waiter(f"{url}?wait=1", **{"If-None-Match": etag}), Waiter(f"{url}?wait=1")
        assert held.answered().status_code == 304
        assert free.answered().json()["status"] == "queued"
        assert min(held.seconds, free.seconds) >= 1
        assert held.reply.headers["Retry-After"] == "2"

    @pytest.mark.usefixtures("long_waits")
    def test_a_deleted_job_ends_it(self, live_server):
        job = make_job("127.66.0.1")
        waiter = Waiter(f"{live_server.url}/scan/{job.token}?wait={FAR}")
        waits(1)
        delete_job(job, by=SYSTEM)
        assert waiter.answered().status_code == 410

    @pytest.mark.usefixtures("long_waits")
    def test_when_all_places_are_taken_the_next_is_answered_at_once_and_told_when_to_ask_again(self, live_server):
        job = make_job("127.66.0.1")
        url = f"{live_server.url}/scan/{job.token}?wait={FAR}"
        waiters = [Waiter(url) for _ in range(waiting.MAX_WAITERS)]
        waits(waiting.MAX_WAITERS)
        began = time.monotonic()
        reply = requests.get(url, timeout=AGES)
        assert time.monotonic() - began < AT_ONCE
        assert (reply.status_code, reply.headers["Retry-After"]) == (200, "2")
        assert all(waiter.is_waiting() for waiter in waiters)
        cancel_job(job, by=SYSTEM)
        assert {waiter.answered().json()["status"] for waiter in waiters} == {"failed"}

    @pytest.mark.usefixtures("long_waits")
    def test_a_server_that_stops_is_not_held_up(self, live_server, monkeypatch):
        url = f"{live_server.url}/scan/{make_job('127.66.0.1').token}?wait={FAR}"
        waiter = Waiter(url)
        waits(1)
        monkeypatch.setattr(waiting, "may_wait", lambda: False)
        assert waiter.answered().status_code == 200
        assert waiter.seconds < AT_ONCE

    def test_a_waiter_asks_for_one_number_and_holds_no_transaction(self, django_assert_num_queries, monkeypatch):
        job, turns = make_job("127.66.0.1"), iter([True, True, False])
        monkeypatch.setattr(waiting, "may_wait", lambda: next(turns))
        with django_assert_num_queries(2) as asked:
            waiting.wait_for_change(job, seconds=AGES)
        assert all('"version"' in query["sql"] and "evidence" not in query["sql"] for query in asked)
        assert not connection.in_atomic_block
