"""The words by which a result is found again: what they are of, that they stand or fall with the report, and old results."""

from __future__ import annotations

import io
from dataclasses import replace
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from scans.core import wire
from scans.core.pipeline import Interrupted
from scans.models import MAX_TERM_CHARS, ResultTerm, ScanJob, TargetResult, TermKind, term_value
from scans.services import terms
from scans.services.jobs import submit_scan
from scans.services.results import Claimed, Finished, hand_back, save_report, save_reports
from scans.services.terms import MAX_CERT_NAMES, MAX_TERMS, reindex, result_terms
from tests.factories import SELF_SIGNED, make_address, make_job, make_report, make_result, make_service, make_services
from tests.services.test_claims import claim
from tests.services.test_jobs import request


def terms_of(*services, **seen) -> list[tuple[str, str]]:
    report = make_report("127.66.0.1", make_address(services=services, **seen))
    return result_terms(wire.evidence_dict(report), wire.verdict_dict(report.verdict))


def of_kind(kind: str, found: list[tuple[str, str]]) -> list[str]:
    return [value for known, value in found if known == kind]


def stored(job: ScanJob) -> set[tuple[int, str, str]]:
    return set(ResultTerm.objects.filter(job=job).values_list("result__ordinal", "kind", "value"))


def test_every_kind_of_word_that_a_result_is_found_by():
    found = terms_of(*make_services())
    assert of_kind("service", found) == ["ssh", "http", "tls", "https", "redis"]
    assert of_kind("product", found) == ["openssh 9.2p1", "nginx 1.24.0"]
    assert of_kind("cert", found) == ["invalid.old-shop", "invalid.old-shop.www"]
    assert {"exp-001", "exp-002", "acc-001", "tls-001"} <= set(of_kind("finding", found))
    assert len(found) == len(set(found))


def test_a_certificate_without_names_is_found_by_its_subject():
    tls = replace(SELF_SIGNED, names=(), names_count=0, subject="O=Example\\, Inc.,CN=Router.invalid,C=DE")
    assert of_kind("cert", terms_of(make_service(443, "HTTP", is_tls=True, tls=tls))) == ["invalid.router"]
    nobody = replace(tls, subject="(empty)")
    assert of_kind("cert", terms_of(make_service(443, "HTTP", is_tls=True, tls=nobody))) == []


def test_a_result_of_an_earlier_version_without_services_has_its_findings():
    report = make_report("127.66.0.1", make_address(open_ports=[22]))
    evidence = wire.evidence_dict(report)
    for address in evidence["addresses"]:
        del address["services"]
    assert result_terms(evidence, wire.verdict_dict(report.verdict)) == [("finding", "exp-002"), ("finding", "exp-001")]


def test_however_much_a_host_says_its_terms_are_few_and_short():
    names = tuple(f"n{n}.{'x' * 240}.invalid" for n in range(100))
    loud = [
        make_service(
            port, "HTTP", product=f"{port}" + "y" * 10_000, is_tls=True,
            tls=replace(SELF_SIGNED, names=tuple(f"{port}-{name}" for name in names)),
        )
        for port in range(1, 33)
    ]  # fmt: skip
    addresses = [make_address(f"127.66.0.{n}", services=loud) for n in range(1, 9)]
    for n, address in enumerate(addresses):
        addresses[n] = replace(
            address, services=tuple(replace(said, product=f"{n}{said.product}") for said in address.services)
        )
    report = make_report("127.66.0.1", *addresses)
    found = result_terms(wire.evidence_dict(report), wire.verdict_dict(report.verdict))
    assert len(found) == MAX_TERMS
    assert of_kind("finding", found)
    assert max(len(value) for _, value in found) <= MAX_TERM_CHARS
    few = terms_of(loud[0])
    assert len(of_kind("cert", few)) == MAX_CERT_NAMES


@pytest.mark.django_db
@pytest.mark.parametrize(
    "said",
    [
        "a\x00b",
        "a\ud800",
        "\u202eevil\u202c",
        "100%_sure",
        "x" * 10_000,
        "İSTANBUL" * 300,
        "'; DROP TABLE--",
        "\ufb03\u0301",
    ],
)
def test_whatever_a_service_says_can_be_stored(said):
    tls = replace(SELF_SIGNED, names=(said, f"{said}.invalid", "."))
    job = make_job("127.66.0.1")
    report = make_report(
        "127.66.0.1", make_address(services=[make_service(443, "HTTP", product=said, is_tls=True, tls=tls)])
    )
    make_result(report, job=job)
    values = {kind: value for _, kind, value in stored(job)}
    assert set(values) == set(TermKind.values)
    assert all(value and len(value) <= MAX_TERM_CHARS for value in values.values())
    assert not {"\x00", "a\ud800", "\u202e"} & set("".join(values.values()))


def test_what_is_stored_is_what_is_looked_for():
    assert term_value("service", " SSH ") == term_value("service", "ssh") == "ssh"
    assert term_value("cert", "WWW.Example.invalid.") == "invalid.example.www"
    long = "x" * 300 + ".invalid"
    assert term_value("cert", long).startswith("invalid.xxx")
    assert term_value("product", "İ" * 300) == term_value("product", term_value("product", "İ" * 300))


# --- With the report, or not at all ----------------------------------------------------------------------------------


def seen_at(claimed: Claimed, *ports: int):
    target = TargetResult.objects.get(pk=claimed.pk).target
    return make_report(target, make_address(target, open_ports=ports))


@pytest.mark.django_db
def test_terms_are_written_with_the_report_once_and_nothing_is_left_of_what_was_only_known_in_part():
    job = submit_scan(request("127.0.0.1", "127.0.0.2", ports=(22, 6379)))
    first, second = claim()
    part = seen_at(first, 6379)
    known = {address.address: address.probes for address in part.addresses}
    assert hand_back(first, Interrupted(known=known, has_progress=True, probing_seconds=1.0))
    assert stored(job) == set()
    assert save_report(second, seen_at(second, 22), awaits_summary=True)
    (again,) = claim(uuid4())
    assert not save_report(first, part, awaits_summary=False)  # by a worker presumed dead
    assert save_report(again, seen_at(again, 22), awaits_summary=False)
    assert stored(job) == {(n, "finding", rule) for n in (0, 1) for rule in ("exp-001", "exp-002")}


@pytest.mark.django_db(transaction=True)
def test_a_report_that_fails_to_be_stored_leaves_no_terms(monkeypatch):
    job = submit_scan(request("127.0.0.1", "127.0.0.2", ports=(22,)))
    finished = [Finished(claimed=each, report=seen_at(each, 22)) for each in claim()]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the last write of the transaction")

    monkeypatch.setattr("scans.services.results._touch_and_finish", fail)
    with pytest.raises(RuntimeError):
        save_reports(finished)
    assert stored(job) == set()
    monkeypatch.undo()
    assert len(save_reports(finished)) == 2
    assert len(stored(job)) == 4


@pytest.mark.django_db
def test_terms_go_with_their_result():
    kept, gone = (make_result(make_report("127.66.0.1", make_address(open_ports=[22]))) for _ in range(2))
    gone.job.delete()
    assert set(ResultTerm.objects.values_list("result", flat=True)) == {kept.pk}
    kept.delete()
    assert not ResultTerm.objects.exists()


# --- Results of earlier versions -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_results_of_earlier_versions_become_findable_and_doing_so_again_changes_nothing(monkeypatch):
    monkeypatch.setattr(terms, "REINDEX_ROWS", 2)
    monkeypatch.setattr(terms, "PAUSE_SECONDS", 0)
    job = make_job(*(f"127.66.0.{n}" for n in range(1, 6)), "127.66.0.9")
    for n in range(1, 6):
        make_result(make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", services=make_services())), job=job)
    before = stored(job)
    ResultTerm.objects.exclude(result__ordinal=3).delete()
    ResultTerm.objects.filter(kind="cert").delete()
    out = io.StringIO()
    call_command("reindex", stdout=out)
    assert out.getvalue() == "Looked at 6 results.\n"
    assert stored(job) == before
    keys = set(ResultTerm.objects.values_list("pk", flat=True))
    assert list(reindex()) == [2, 2, 2]
    assert set(ResultTerm.objects.values_list("pk", flat=True)) == keys


@pytest.mark.django_db
def test_a_result_that_is_purged_meanwhile_gets_no_terms(monkeypatch):
    gone, kept = (make_result(make_report("127.66.0.1", make_address(open_ports=[22]))) for _ in range(2))
    ResultTerm.objects.all().delete()
    rows_of = terms.term_rows

    def purge_one(result_id, *rest):
        TargetResult.objects.filter(pk=gone.pk).delete()
        return rows_of(result_id, *rest)

    monkeypatch.setattr(terms, "term_rows", purge_one)
    assert list(reindex()) == [2]
    connection.check_constraints()
    assert set(ResultTerm.objects.values_list("result", flat=True)) == {kept.pk}
