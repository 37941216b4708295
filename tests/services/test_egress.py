"""The ledger of a job names whom sockets were really opened to, no more and no less, and is as durable as the results."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from scans.core.pipeline import Interrupted
from scans.core.types import Told
from scans.models import EgressEntry, SourceReply
from scans.selectors import job_egress
from scans.services import claims, slices
from scans.services.audit import COMMAND_LINE
from scans.services.cancel import cancel_job
from scans.services.egress import record_told, record_told_in_vain
from scans.services.results import Claimed, Finished, hand_back, save_report, save_reports
from scans.services.slices import run_slice
from scans.services.summaries import run_summaries
from tests import stand_ins
from tests.factories import make_job, make_report
from tests.fakes import Answer, service
from tests.guard import watched
from tests.patience import PATIENCE
from tests.servers import public
from tests.stand_ins import every_source

pytestmark = pytest.mark.django_db(transaction=True)


def rows(job) -> dict[tuple[str, str], int]:
    return {(entry.source, entry.host): entry.n for entry in EgressEntry.objects.filter(job=job)}


def patient(settings, intel, **more):
    """Options under which every answer is waited for."""
    settings.SCANNER = replace(settings.SCANNER, intel=replace(intel, grace_seconds=PATIENCE), **more)


@pytest.mark.parametrize("kind", stand_ins.REMOTE, ids=lambda kind: kind.name)
def test_the_ledger_names_exactly_whom_a_source_opened_sockets_to(settings, kind):
    job = make_job(public(1), public(2), ports="9")
    with every_source() as world, watched() as seen:
        patient(settings, replace(world.options(settings.SCANNER.intel), sources=(kind.name,)))
        run_slice()
    targets = {f"{public(n)}:9" for n in (1, 2)}
    opened = {where for _, where in seen} - targets - world.answered
    assert {host for _, host in rows(job)} == opened != set()
    assert {source for source, _ in rows(job)} == {kind.name}
    assert all(1 <= n <= 2 for n in rows(job).values())


def test_all_sources_at_once_leave_a_line_each_and_what_comes_from_the_cache_leaves_none(settings):
    first = make_job(public(1), ports="9")
    with every_source() as world:
        patient(settings, world.options(settings.SCANNER.intel))
        run_slice()
        kept = set(SourceReply.objects.values_list("source", flat=True))
        second = make_job(public(1), ports="9")
        run_slice()
    remote = {kind.name for kind in stand_ins.REMOTE}
    assert {source for source, _ in rows(first)} == remote
    assert {"ip-api"} <= kept
    assert not {source for source, _ in rows(second)} & kept
    (place,) = second.targets.get().evidence["addresses"]
    assert {source["source"] for source in place["sources"] if source["is_cached"]} == kept
    assert [source for source in place["sources"] if source["is_cached"] and source.get("contacted")] == []


def test_offline_opens_no_socket_but_to_targets_and_the_ledger_is_empty(settings):
    job = make_job(public(1), ports="9", ai="asked")
    with every_source() as world, watched() as seen:
        ai = replace(settings.SCANNER.ai, api_key="a-key-of-some-length", base_url=world.http.base_url)
        patient(settings, replace(world.options(settings.SCANNER.intel), offline=True), ai=ai)
        run_slice()
        run_summaries()
    assert {where for _, where in seen} == {f"{public(1)}:9"}
    assert job.targets.get().state == "done"
    assert rows(job) == {}


def test_a_name_is_told_to_the_systems_resolver_whether_or_not_it_has_an_address(settings):
    job = make_job("localhost", "nowhere.invalid", "127.0.0.1", ports="9")
    run_slice()
    assert rows(job) == {("names", "the system's resolver"): 2}


def test_the_model_is_named_when_it_was_asked(settings):
    job = make_job(public(1), ports="9", ai="asked")
    with service(lambda _: Answer(status=400)) as fake:
        ai = replace(settings.SCANNER.ai, api_key="a-key-of-some-length", base_url=fake.base_url)
        settings.SCANNER = replace(settings.SCANNER, ai=ai)
        run_slice()
        assert ("model", fake.base_url.removeprefix("http://")) not in rows(job)
        run_summaries()
        assert fake.requests
    assert rows(job)["model", fake.base_url.removeprefix("http://")] == 1


def test_an_answer_that_came_too_late_was_asked_for_nevertheless(settings):
    job = make_job(public(1), ports="9")
    with service(lambda _: Answer(delay_seconds=10 * PATIENCE)) as fake:
        settings.SCANNER = replace(
            settings.SCANNER,
            intel=replace(settings.SCANNER.intel, urls={"ip-api": fake.base_url}, grace_seconds=1, read_timeout_seconds=60),
        )
        run_slice()
    assert job.targets.get().evidence["addresses"][0]["sources"][0]["reason"] == "no answer in time"
    assert rows(job) == {("ip-api", fake.base_url.removeprefix("http://")): 1}


def test_a_report_that_is_discarded_leaves_its_line_and_one_of_a_deleted_job_does_no_harm():
    job, gone = make_job(public(1)), make_job(public(2))
    report = replace(make_report(public(1)), told=(Told("ip-api", "ip-api.invalid:80", 1),))
    finished = [
        Finished(claimed=Claimed(pk=row.pk, job_id=row.job_id, lease=uuid4()), report=report)
        for row in (job.targets.get(), gone.targets.get())
    ]
    cancel_job(job, by=COMMAND_LINE)
    gone.delete()
    assert slices._save(finished) == 0
    assert rows(job) == {("ip-api", "ip-api.invalid:80"): 1}


def test_a_target_that_is_handed_back_leaves_its_line_at_once():
    job = make_job(public(1))
    (row,) = claims.claim_targets(lease := uuid4())
    cut = Interrupted(known={}, has_progress=False, told=(Told("ip-api", "ip-api.invalid:80", 1),))
    assert hand_back(Claimed(pk=row.pk, job_id=job.pk, lease=lease), cut)
    assert not hand_back(Claimed(pk=row.pk, job_id=job.pk, lease=lease), cut)
    assert rows(job) == {("ip-api", "ip-api.invalid:80"): 1}


def test_a_target_that_is_cancelled_while_it_is_asked_about_leaves_its_line(settings):
    job = make_job(public(1), ports="9")

    def cancelled(_):
        closing_old_connections(cancel_job, job, by=COMMAND_LINE)
        return Answer(delay_seconds=PATIENCE)

    with service(cancelled) as fake:
        patient(settings, replace(settings.SCANNER.intel, urls={"ip-api": fake.base_url}, read_timeout_seconds=PATIENCE))
        run_slice()
    assert job.targets.get().state == "cancelled"
    assert rows(job) == {("ip-api", fake.base_url.removeprefix("http://")): 1}


def closing_old_connections(work, *given, **named) -> None:
    """In a thread of the stand-in, whose connection nobody else would close."""
    try:
        work(*given, **named)
    finally:
        connection.close()


def test_counts_add_up_and_only_the_last_moment_moves():
    job = make_job(public(1))
    early, late = timezone.now(), timezone.now() + timedelta(seconds=5)
    record_told([(job.pk, [Told("rdap", "a.invalid:443", 1), Told("rdap", "a.invalid:443", 2)])], at=early)
    record_told_in_vain([(job.pk, [Told("rdap", "a.invalid:443", 4)]), (0, [Told("rdap", "a.invalid:443", 1)])], at=late)
    entry = EgressEntry.objects.get()
    assert (entry.n, entry.first_at, entry.last_at) == (7, early, late)


def test_the_ledger_is_written_with_the_result_or_not_at_all(monkeypatch):
    job = make_job(public(1))
    (row,) = claims.claim_targets(lease := uuid4())
    claimed = Claimed(pk=row.pk, job_id=job.pk, lease=lease)
    report = replace(make_report(public(1)), told=(Told("ip-api", "ip-api.invalid:80", 1),))

    def broken(*_args, **_kwargs):
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr("scans.services.results._touch_and_finish", broken)
        with pytest.raises(RuntimeError):
            save_report(claimed, report, awaits_summary=False)
    assert rows(job) == {}
    assert save_reports([Finished(claimed=claimed, report=report)]) == {row.pk}
    assert rows(job) == {("ip-api", "ip-api.invalid:80"): 1}


def test_the_nvd_is_told_no_address_and_the_ledger_says_so():
    job = make_job(public(1))
    record_told([(job.pk, [Told("nvd", "nvd.invalid:443", 1), Told("gone", "gone.invalid:443", 1)])], at=timezone.now())
    gone, nvd = job_egress(job)
    assert gone.tells == "the address"
    assert nvd.tells.endswith("no address")


def test_the_api_and_the_page_say_who_was_told(client):
    job = make_job(public(1))
    record_told(
        [(job.pk, [Told("ip-api", "ip-api.invalid:80", 3), Told("names", "the system's resolver", 1)])], at=timezone.now()
    )
    document = client.get(f"/scan/{job.token}/egress").json()
    assert (document["token"], document["status"]) == (job.token, "queued")
    assert [(line["host"], line["source"], line["count"]) for line in document["egress"]] == [
        ("ip-api.invalid:80", "ip-api", 3),
        ("the system's resolver", "names", 1),
    ]
    assert "plain HTTP" in document["egress"][0]["tells"]
    cancel_job(job, by=COMMAND_LINE)
    page = client.get(f"/jobs/{job.token}").content.decode()
    assert "2 hosts beside the targets themselves" in page
    assert "ip-api.invalid:80" in page


def test_nothing_told_in_vain_keeps_nobody_waiting(django_assert_num_queries):
    with django_assert_num_queries(0):
        record_told_in_vain([(1, [])], at=timezone.now())
