"""The whole way with the real queue: submit over HTTP, django-q2 workers scan for real, read back over HTTP."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import replace

import pytest

from scans.core.ports import compact
from scans.models import ScanJob, TargetResult
from scans.services import slices
from scans.services.reaper import reap
from tests.cluster import cluster, descendants, workers
from tests.fakes import ip_api, service
from tests.servers import listening, refusing, silent
from tests.stack import becomes

pytestmark = pytest.mark.django_db(transaction=True)


def submit(client, **body) -> str:
    reply = client.post("/scan", body, content_type="application/json")
    assert reply.status_code == 202, reply.content
    return reply.json()["token"]


def document(client, token: str):
    """The finished document."""
    assert becomes(lambda: client.get(f"/scan/{token}").json()["status"] == "complete")
    return client.get(f"/scan/{token}").json()


def test_a_listener_is_scanned_through_the_queue_and_read_back(client):
    with listening("127.66.0.1") as port, service(ip_api) as fake, cluster(IP_API_BASE_URL=fake.base_url):
        token = submit(client, ip_addresses=["127.66.0.1"], endpoints=[f"http://127.66.0.1:{port}/"], ports=[port])
        found = document(client, token)
    assert [result["target"] for result in found["results"]] == ["127.66.0.1", f"http://127.66.0.1:{port}/"]
    for result in found["results"]:
        assert result["open_ports"] == [port]
        assert result["publicly_exposed"] is True
        assert result["country"] == result["metadata"]["country"] == "Germany"
    assert len(fake.requests) == 1


def test_a_worker_killed_in_mid_scan_costs_no_target_and_doubles_none(client):
    """Under the supervisor: a worker that is killed just as it asks for its next task stalls a cluster that has none."""
    with silent() as dark, workers(PROBE_ATTEMPTS="5") as process:
        token = submit(client, ip_addresses=["127.0.0.0/27"], ports=[dark.port])
        assert becomes(lambda: TargetResult.objects.filter(state="leased").exists())
        killed = [pid for pid in descendants(process.pid) if is_holding_a_lease(pid)]
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        found = document(client, token)
    assert [result["target"] for result in found["results"]] == [f"127.0.0.{n}" for n in range(32)]
    assert {result["outcome"] for result in found["results"]} == {"done"}


def is_holding_a_lease(pid: int) -> bool:
    from scans.models import WorkerHeartbeat

    return WorkerHeartbeat.objects.filter(kind="slice", pid=pid).exists()


def test_everything_killed_at_once_is_taken_up_by_the_next_cluster(client):
    with silent() as dark:
        with cluster(PROBE_ATTEMPTS="5"):
            token = submit(client, ip_addresses=["127.0.0.0/28"], ports=[dark.port])
            assert becomes(lambda: TargetResult.objects.filter(state="leased").exists())
        assert not ScanJob.objects.get(token=token).is_finished
        with cluster():
            assert becomes(lambda: reap().dead_slices >= 1)
            found = document(client, token)
    assert found["completed_targets"] == found["total_targets"] == 16


def test_a_scan_too_long_for_one_slice_goes_on_in_the_next(client, monkeypatch, settings):
    monkeypatch.setattr(slices, "LAST_SECOND", 2)
    settings.SCANNER = replace(settings.SCANNER, probe=replace(settings.SCANNER.probe, per_host=2))
    with ExitStack() as stack:
        dark = [stack.enter_context(silent()).port for _ in range(20)]
        refused = stack.enter_context(refusing())
        token = submit(client, ip_addresses=["127.0.0.1"], ports=[*dark, refused])
        row = ScanJob.objects.get(token=token).targets.get()
        states = []
        while row.state != "done" and len(states) < 20:
            slices.run_slice()
            row.refresh_from_db()
            states.append((row.state, row.attempts))
    assert ("pending", 0) in states  # cut short with progress, which resets its attempts
    found = document(client, token)["results"][0]["port_states"]
    assert {found["filtered"], found["closed"]} == {compact(dark), str(refused)}


def test_every_name_the_queue_carries_can_be_found():
    from pydoc import locate

    from scans.services.wakeups import TASKS

    assert all(callable(locate(name)) for name in TASKS.values())
