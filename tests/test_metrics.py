"""GET /metrics: OpenMetrics to the letter, true numbers, few queries, and only for those who may read it."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from scans.adapters import DatabaseBudget
from scans.admin.overview import overview
from scans.api.metrics import CONTENT_TYPE, exposition
from scans.core.budgets import Limit, Quota
from scans.core.vulnerabilities import ALL_SOURCES
from scans.models import RestartReason, ScanJob, TargetState, WorkerHeartbeat
from scans.selectors.metrics import Family, Sample, metric_families
from scans.selectors.readiness import needs_reaping
from scans.selectors.workers import workers
from scans.services import doctor, heartbeats
from scans.services.aggregates import count_job, fold, rebuild
from scans.services.audit import COMMAND_LINE
from scans.services.keys import create_key
from scans.services.restarts import count_restarts
from scans.supervisor.programs import QUEUES, WEB
from tests.factories import make_job, make_report, make_result

TOKEN = "a-token-for-the-monitor-0123456789"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT = r'(?:[^\\\n"]|\\[\\n"])*'
_SAMPLE = re.compile(rf'({_NAME})(?:\{{((?:[a-zA-Z_][a-zA-Z0-9_]*="{_TEXT}",?)*)\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)')
_LABEL = re.compile(rf'([a-zA-Z_][a-zA-Z0-9_]*)="({_TEXT})"(?:,|$)')
_SUFFIX = {"gauge": "", "counter": "_total", "info": "_info"}


def parse(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The families of a text, by the rules of OpenMetrics 1.0; whatever breaks one fails the test."""
    assert text.endswith("# EOF\n")
    found, described, kind, name = {}, set(), "", ""
    for line in text.removesuffix("# EOF\n").split("\n")[:-1]:
        if line.startswith("# "):
            keyword, of, rest = (*line.removeprefix("# ").split(" ", 2), "")[:3]
            assert (keyword, of) not in described, "metadata stands once"
            described.add((keyword, of))
            if keyword == "TYPE":
                assert of not in found, "a family stands together"
                name, kind, found[of] = of, rest, {}
            assert of == name
            assert keyword in ("TYPE", "UNIT", "HELP")
            assert keyword != "UNIT" or (name.endswith(f"_{rest}") and not found[name])
            assert keyword != "HELP" or re.fullmatch(_TEXT, rest)
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == name + _SUFFIX[kind], line
        labels = tuple((label, unescaped(value)) for label, value in _LABEL.findall(match[2] or ""))
        assert len(dict(labels)) == len(labels), "a label stands once"
        assert labels not in found[name], "a sample stands once"
        found[name][labels] = float(match[3])
    return found


def set_the_hosts_clock(monkeypatch, *, hours: int) -> None:
    """Let this host's clock be wrong from now on. On SQLite there is no other host, and no other clock."""
    if connection.vendor == "postgresql":
        true_now = timezone.now
        monkeypatch.setattr(timezone, "now", lambda: true_now() + timedelta(hours=hours))


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def read(client) -> dict[str, dict[str, float]]:
    """The families of /metrics, each sample by the values of its labels."""
    reply = client.get("/metrics")
    assert (reply.status_code, reply["Content-Type"]) == (200, CONTENT_TYPE)
    families = parse(reply.content.decode())
    return {
        name.removeprefix("ipscanner_"): {",".join(value for _, value in labels): n for labels, n in samples.items()}
        for name, samples in families.items()
    }


# --- The text ----------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1e12), st.sampled_from(["gauge", "counter"]))
def test_whatever_a_label_holds_comes_back_as_it_was(text, value, kind):
    family = Family(name="x_seconds", kind=kind, help=text, samples=(Sample(value=value, labels={"a": text, "b": "2"}),))
    (labels, found), *rest = parse(exposition([family]))["x_seconds"].items()
    assert (dict(labels), rest) == ({"a": text, "b": "2"}, [])
    assert found == pytest.approx(value)


def test_without_a_single_number_it_is_complete_too():
    assert exposition([]) == "# EOF\n"


# --- The numbers -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_empty_installation_has_zeros_where_alerts_look(client):
    found = read(client)
    assert found["jobs_open"] == {"queued": 0, "running": 0}
    assert found["targets_open"] == {"pending": 0, "leased": 0, "scanned": 0}
    assert found["queue_targets"] == found["queue_age_seconds"] == {"scan": 0, "ai": 0}
    assert found["workers"] == {"supervisor": 0, "slice": 0}
    assert found["targets_per_second"] == {"": 0}
    assert found["source_blocked_seconds"] == {source.name: 0 for source in ALL_SOURCES}
    programs = (WEB, *QUEUES)
    assert found["restarts"] == {f"{name},{why}": 0 for name in programs for why in ("died", "killed", "stalled")}
    assert len(found["build"]) == 1


@pytest.mark.django_db
def test_the_numbers_are_those_of_the_rows(client):
    now = timezone.now()
    make_job("8.8.8.8", "8.8.4.4", created_at=now - timedelta(seconds=90))
    running = make_job("1.1.1.1", "1.0.0.1", state="running", created_at=now - timedelta(hours=1))
    running.targets.filter(ordinal=0).update(state=TargetState.SCANNED, scanned_at=now - timedelta(seconds=40))
    done = make_job("127.66.22.1", "127.66.22.2")
    for address in ("127.66.22.1", "127.66.22.2"):
        make_result(make_report(address), job=done)
    old = make_result(make_report("127.66.22.3"))
    type(old).objects.filter(pk=old.pk).update(finished_at=now - timedelta(minutes=2))
    ScanJob.objects.filter(pk=old.job_id).update(finished_at=now - timedelta(minutes=2))
    found = read(client)
    assert found["jobs_open"] == {"queued": 1, "running": 1}
    assert found["targets_open"] == {"pending": 3, "leased": 0, "scanned": 1}
    assert found["queue_targets"] == {"scan": 3, "ai": 1}
    assert 90 <= found["queue_age_seconds"]["scan"] < 120
    assert 40 <= found["queue_age_seconds"]["ai"] < 70
    assert sum(found["targets_finished_last_minute"].values()) == 2
    assert found["targets_per_second"] == {"": pytest.approx(2 / 60)}
    assert found["jobs_finished_last_minute"] == {"": 1}


@pytest.mark.django_db
def test_totals_grow_with_what_ends_and_a_purge_takes_nothing_away(client):
    row = make_result(make_report("127.66.22.1"))
    count_job(row.job_id, at=timezone.now())
    before = read(client)["jobs_finished"]
    fold()
    row.job.delete()
    assert read(client)["jobs_finished"] == before == {"complete": 1}


@pytest.mark.django_db
def test_restarts_add_up_over_supervisors_and_neither_a_fold_nor_counting_again_loses_them(client):
    count_restarts({})
    count_restarts({("scan", RestartReason.STALLED): 1, ("web", RestartReason.DIED): 2})
    count_restarts({("scan", RestartReason.STALLED): 1})
    before = read(client)["restarts"]
    assert {name: n for name, n in before.items() if n} == {"scan,stalled": 2, "web,died": 2}
    fold()
    make_result(make_report("127.66.22.1"))
    tomorrow = timezone.now().date() + timedelta(days=1)
    assert rebuild(until=tomorrow) == 1
    assert read(client)["restarts"] == before


@pytest.mark.django_db
def test_a_source_whose_quota_is_used_up_says_for_how_long_whatever_this_hosts_clock_says(client, monkeypatch):
    budget = DatabaseBudget()
    limits = (Limit(15, 60),)
    budget.draw("ip-api", limits)
    set_the_hosts_clock(monkeypatch, hours=1)
    budget.observe("ip-api", limits, [], Quota(remaining=0, resets_in_seconds=400))
    assert 200 < read(client)["source_blocked_seconds"]["ip-api"] <= 400
    refusal = budget.draw("ip-api", limits)
    assert refusal is not None
    assert 200 < refusal.seconds <= 400


@pytest.mark.django_db
def test_only_living_workers_count(client):
    with (
        heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SUPERVISOR),
        heartbeats.beating(silent := uuid4(), WorkerHeartbeat.Kind.SUPERVISOR),
    ):
        WorkerHeartbeat.objects.filter(pk=silent).update(seen_at=timezone.now() - timedelta(seconds=16))
        assert read(client)["workers"] == {"supervisor": 1, "slice": 0}


@pytest.mark.django_db
def test_it_takes_as_many_queries_however_much_there_is(django_assert_num_queries):
    metric_families()
    with django_assert_num_queries(9 + (connection.vendor == "postgresql")):  # which is asked for the time
        metric_families()
    for number in range(5):
        make_job("8.8.8.8", "8.8.4.4")
        make_result(make_report(f"127.66.22.{number}"))
    with django_assert_num_queries(9 + (connection.vendor == "postgresql")):  # which is asked for the time
        metric_families()


# --- Who may read ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_in_the_server_profile_strangers_and_ordinary_people_may_not(client, server_profile):
    server_profile.METRICS_TOKEN = TOKEN
    assert client.get("/metrics").status_code == 401
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN):
        assert client.get("/metrics", headers={"Authorization": wrong}).status_code == 401
    user = User.objects.create_user("ada")
    _, key = create_key(user, name="k", scopes=["read", "scan"], expires_at=None, origin=COMMAND_LINE)
    assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 403
    client.force_login(user)
    assert client.get("/metrics").status_code == 403


@pytest.mark.django_db
def test_in_the_server_profile_staff_admin_keys_and_the_token_may(client, server_profile):
    server_profile.METRICS_TOKEN = TOKEN
    assert client.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    staff = User.objects.create_user("grace", is_staff=True)
    _, key = create_key(staff, name="k", scopes=["read", "admin"], expires_at=None, origin=COMMAND_LINE)
    assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    client.force_login(staff)
    assert client.get("/metrics").status_code == 200


@pytest.mark.django_db
def test_an_empty_token_opens_nothing(client, server_profile):
    server_profile.METRICS_TOKEN = ""
    for value in ("Bearer ", "Bearer", "bearer  "):
        assert client.get("/metrics", headers={"Authorization": value}).status_code == 401


# --- /readyz -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_full_disk_and_an_old_queue_are_warnings_and_no_failures(client, settings):
    make_job("8.8.8.8", created_at=timezone.now() - timedelta(hours=2))
    with heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
        settings.MAX_QUEUE_AGE_SECONDS, settings.MIN_FREE_DISK_MB = 0, 0
        assert client.get("/readyz").json() == {"status": "ok", "reasons": []}
        settings.MAX_QUEUE_AGE_SECONDS, settings.MIN_FREE_DISK_MB = 60, 10**9
        reply = client.get("/readyz")
    assert reply.status_code == 200
    disk, queue = reply.json()["warnings"]
    assert "make room, or run manage.py purge" in disk
    assert not re.search(r"\d", disk)  # strangers learn no numbers
    assert re.search(r"the oldest has waited 7,2\d\d s for a worker: start more workers", queue)


@pytest.mark.django_db
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_host_whose_own_clock_is_wrong_sees_who_works_all_the_same(client, monkeypatch, hours):
    true_now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: true_now() + timedelta(hours=hours))
    with heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
        assert client.get("/readyz").status_code == 200
        assert [worker.is_silent for worker in workers()] == [False]
        assert read(client)["workers"]["supervisor"] == 1
        assert overview().supervisors == 1
        assert list(doctor.workers()) == []
        assert {finding.where for finding in doctor.clocks()} <= {"the database"}


@pytest.mark.django_db
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_host_whose_own_clock_is_wrong_knows_how_long_jobs_have_waited(client, settings, monkeypatch, hours):
    settings.MAX_QUEUE_AGE_SECONDS = 60
    first, old = (make_job("8.8.8.8", created_at=timezone.now() - timedelta(seconds=age)) for age in (10, 30))
    set_the_hosts_clock(monkeypatch, hours=hours)
    assert (needs_reaping(first), needs_reaping(old)) == (False, True)
    assert 30 <= read(client)["queue_age_seconds"]["scan"] < 60
    assert list(doctor.backlog()) == []
    reply = client.post("/scan", {"ip_addresses": ["8.8.4.4"]}, content_type="application/json")
    assert reply.status_code == 202, reply.content
    with heartbeats.beating(uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
        assert "warnings" not in client.get("/readyz").json()
    assert 30 <= read(client)["queue_age_seconds"]["scan"] < 60


@pytest.mark.django_db
def test_without_workers_the_reason_is_named(client):
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["reasons"] == [
        "No worker is running: start one with manage.py worker, or everything with manage.py up."
    ]
