"""Earlier scans on a host's page: the right ones, newest first, compared with care, and always as many queries."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scans import selectors
from scans.core.types import Facts, SourceState
from scans.models import TargetResult
from scans.selectors import host_page
from tests.factories import (
    SELF_SIGNED,
    make_address,
    make_failure,
    make_job,
    make_report,
    make_result,
    make_service,
    make_source,
)

pytestmark = pytest.mark.django_db
NOBODY = AnonymousUser()


def scanned(report, *, days_ago: float, **columns) -> TargetResult:
    """A scan that ended so long ago."""
    row = make_result(report, job=make_job(report.target.text, **columns))
    row.scanned_at -= timedelta(days=days_ago)
    row.save()
    row.addresses.update(observed_at=row.scanned_at)
    return row


def history(row: TargetResult, user=NOBODY) -> selectors.HostHistory:
    return selectors.host_history(TargetResult.objects.get(pk=row.pk), user)


def urls(found: selectors.HostHistory) -> list[str]:
    return [scan.url for scan in found.scans]


def told(scan: selectors.HostScan) -> list[tuple[str, str]]:
    return [(change.kind, change.ports or change.what) for change in scan.changes]


def test_the_timeline_holds_this_scan_and_the_earlier_ones_newest_first():
    old = scanned(make_report("127.66.0.1"), days_ago=9)
    middle = scanned(make_report("127.66.0.1"), days_ago=5)
    other = scanned(make_report("127.66.0.2"), days_ago=4)
    row = scanned(make_report("127.66.0.1"), days_ago=2)
    newer = scanned(make_report("127.66.0.1"), days_ago=1)
    found = history(row)
    assert urls(found) == [each.get_absolute_url() for each in (row, middle, old)]
    assert found.newer.url == newer.get_absolute_url()
    assert other.get_absolute_url() not in urls(found)
    assert history(newer).newer is None


def test_a_scan_by_another_name_of_the_same_address_counts_and_so_does_the_same_name_elsewhere():
    by_name = scanned(make_report("shop.invalid", make_address("127.66.0.1")), days_ago=3)
    unresolved = scanned(make_failure("shop.invalid"), days_ago=2)
    elsewhere = scanned(make_report("shop.invalid", make_address("127.66.0.9")), days_ago=1)
    numbered = scanned(make_report("127.66.0.1"), days_ago=0.5)
    assert urls(history(numbered))[1:] == [by_name.get_absolute_url()]
    named = history(scanned(make_report("https://shop.invalid/x", make_address("127.66.0.1")), days_ago=0))
    assert urls(named)[1:] == [each.get_absolute_url() for each in (numbered, elsewhere, unresolved, by_name)]


def test_only_jobs_that_the_reader_may_see_are_listed(server_profile):
    anna, ben, staff = (User.objects.create_user(name, is_staff=name == "staff") for name in ("anna", "ben", "staff"))
    hers = scanned(make_report("127.66.0.1", make_address(open_ports=[22])), days_ago=2, owner=anna)
    his = scanned(make_report("127.66.0.1"), days_ago=1, owner=ben)
    assert urls(history(his, ben)) == [his.get_absolute_url()]
    assert history(hers, anna).newer is None
    assert urls(history(his, staff)) == [his.get_absolute_url(), hers.get_absolute_url()]
    assert urls(history(his, NOBODY)) == [his.get_absolute_url()]


def test_each_scan_says_what_is_different_from_the_one_before_it():
    scanned(make_report("127.66.0.1", make_address(open_ports=[21, 22], ports=(25, 6379))), days_ago=3)
    scanned(make_report("127.66.0.1", make_address(open_ports=[22], ports=(21, 25, 6379))), days_ago=2)
    row = scanned(
        make_report("127.66.0.1", make_address(open_ports=[22, 6379, 8080], filtered=[25], ports=(21,))), days_ago=1
    )
    newest, middle, first = history(row).scans
    assert told(newest) == [("changed", "Level"), ("appeared", "6379"), ("inconclusive", "25"), ("covered", "8080")]
    assert told(middle) == [("disappeared", "21")]
    assert told(first) == []
    assert first.compared_with is None


def test_a_scan_without_a_result_is_listed_and_compared_with_nothing():
    scanned(make_report("127.66.0.1"), days_ago=3)
    failed = scanned(make_failure("127.66.0.1", "gave_up", "Gave up."), days_ago=2)
    newest, middle, oldest = history(scanned(make_report("127.66.0.1", make_address(open_ports=[22])), days_ago=1)).scans
    assert middle.url == failed.get_absolute_url()
    assert middle.compared_with is None
    assert newest.compared_with.url == oldest.url


def test_facts_and_addresses_are_compared_as_carefully_as_ports():
    german, french = (make_source(facts=Facts(country=name, isp="Carrier")) for name in ("Germany", "France"))
    silent = make_source(SourceState.FAILED, reason="HTTP 503")
    scanned(make_report("shop.invalid", make_address("127.66.0.1", sources=[german])), days_ago=3)
    two = (make_address("127.66.0.1", sources=[french]), make_address("127.66.0.2", sources=[french]))
    scanned(make_report("shop.invalid", *two), days_ago=2)
    row = scanned(make_report("shop.invalid", make_address("127.66.0.1", sources=[silent])), days_ago=1)
    newest, middle, _ = history(row).scans
    assert told(newest) == [("changed", "Addresses")], "a source that failed says nothing about a change"
    assert told(middle) == [("changed", "Country"), ("changed", "Addresses")]
    assert middle.changes[1].now == "127.66.0.1, 127.66.0.2"


def served(*services, days_ago: float) -> TargetResult:
    return scanned(make_report("127.66.0.1", make_address(services=services)), days_ago=days_ago)


def test_a_product_a_version_and_a_certificate_that_changed_are_told():
    other = replace(SELF_SIGNED, fingerprint="ab" * 32)
    ssh, web = make_service(22, "SSH", product="OpenSSH", version="9.1"), make_service(443, "TLS", tls=SELF_SIGNED)
    served(ssh, web, make_service(80, "HTTP", product="nginx", version="1.18.0"), days_ago=2)
    apache = make_service(80, "HTTP", product="Apache", version="2.4.1")
    row = served(replace(ssh, version="9.2"), replace(web, tls=other), apache, days_ago=1)
    newest, _ = history(row).scans
    assert told(newest) == [
        ("changed", "Version of OpenSSH on 22"), ("changed", "Product on 80"), ("changed", "Certificate on 443"),
    ]  # fmt: skip
    assert (newest.changes[0].then, newest.changes[0].now) == ("9.1", "9.2")
    assert newest.changes[2].now == "CN=old-shop.invalid until 5 Jan 2046 (SHA-256 abababababababab…)"


def test_of_a_service_that_one_of_two_scans_did_not_understand_no_change_is_asserted(client):
    ssh = make_service(22, "SSH", product="OpenSSH", version="9.1")
    old = served(ssh, days_ago=5)
    del old.evidence["addresses"][0]["services"]  # of before services were asked
    old.save()
    served(replace(ssh, product="Dropbear"), days_ago=4)
    served(make_service(22), days_ago=3)
    served(replace(ssh, version=None), days_ago=2)
    row = served(ssh, days_ago=1)
    assert [[each for each in told(scan) if each[0] == "changed"] for scan in history(row).scans] == [[]] * 5
    assert client.get(row.get_absolute_url()).status_code == 200


def test_a_host_that_changes_everything_has_not_the_whole_page():
    ports = range(1, 31)
    served(*(make_service(port, "SSH", product="OpenSSH", version="1") for port in ports), days_ago=2)
    row = served(*(make_service(port, "SSH", product="OpenSSH", version="2") for port in ports), days_ago=1)
    assert len(history(row).scans[0].changes) == 30


def test_at_most_twenty_earlier_scans_are_listed():
    for days in range(1, 24):
        scanned(make_report("127.66.0.1"), days_ago=days)
    found = history(scanned(make_report("127.66.0.1"), days_ago=0))
    assert len(found.scans) == 21
    assert found.has_more
    assert all(scan.compared_with for scan in found.scans), "the last one too, with one that is not listed"


def test_a_page_does_not_compare_more_ports_than_it_can_afford(monkeypatch, client):
    monkeypatch.setattr(host_page, "MAX_COMPARED_PORTS", 100)
    scanned(make_report("127.66.0.1", make_address(ports=range(1, 80))), days_ago=1)
    row = scanned(make_report("127.66.0.1", make_address(filtered=range(1, 80))), days_ago=0)
    assert history(row).scans[0].is_too_large
    assert "too many ports differ" in client.get(row.get_absolute_url()).content.decode()


def test_an_unknown_host_is_shown_as_it_was_last_seen(client):
    scanned(make_report("127.66.0.1", make_address(open_ports=[25, 143])), days_ago=2)
    dark = make_address(filtered=[25, 143], ports=(), sources=[])
    body = client.get(scanned(make_report("127.66.0.1", dark), days_ago=0).get_absolute_url()).content.decode()
    words = " ".join(re.sub(r"<[^>]*>", " ", body).split())
    assert re.search(r"Last observed: on .* it was Low with 25, 143 open\. Whether that still holds is not known\.", words)
    assert "inconclusive 25, 143 filtered, was open" in words


def test_a_target_without_a_result_shows_how_its_host_was(client):
    old = scanned(make_report("127.66.0.1", make_address(open_ports=[22])), days_ago=2)
    body = client.get(make_job("127.66.0.1").targets.get().get_absolute_url()).content.decode()
    assert old.get_absolute_url() in body
    assert "hist-h" not in client.get(make_job("127.66.0.8").targets.get().get_absolute_url()).content.decode()


def test_the_page_costs_as_many_queries_for_many_addresses_and_scans_as_for_one(client):
    def queries(row: TargetResult) -> int:
        client.get(row.get_absolute_url())  # the first request of a process fills caches
        with CaptureQueriesContext(connection) as seen:
            client.get(row.get_absolute_url())
        return len(seen)

    scanned(make_report("127.66.0.9"), days_ago=1)
    one = queries(scanned(make_report("127.66.0.9"), days_ago=0))
    eight = [make_address(f"127.66.0.{n}") for n in range(1, 9)]
    for days in range(1, 23):
        scanned(make_report("many.invalid", *eight), days_ago=days)
    assert queries(scanned(make_report("many.invalid", *eight), days_ago=0)) == one
