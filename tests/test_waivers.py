"""Waivers: an accepted risk marks findings until its end and changes no verdict; each change of it is in the audit trail."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scans import selectors
from scans.core.types import Level
from scans.models import AuditEvent, ScanJob, TargetResult, Waiver
from scans.selectors.waivers import MAX_IN_FORCE
from scans.services import waivers
from scans.services.audit import COMMAND_LINE
from scans.services.deletion import delete_job
from scans.services.waivers import WaiverRefusedError, WaiverRequest, add_waiver, read_scope, withdraw_waiver
from tests.factories import make_address, make_job, make_report, make_result, make_services
from tests.web.policy import POLICY, inline_parts, policy_of
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script>"
REDIS = [service for service in make_services() if service.port in (22, 6379)]


def in_days(days: int) -> date:
    return timezone.now().date() + timedelta(days=days)


def asked(**fields) -> WaiverRequest:
    usual = {"rule_id": "EXP-009", "scope": "127.66.0.1", "port": None, "owner": "Shop team", "reason": "Behind a filter"}
    return WaiverRequest(**{**usual, "last_day": in_days(30), **fields})


def waive(**fields) -> Waiver:
    return add_waiver(asked(**fields), origin=COMMAND_LINE)


def expire(waiver: Waiver) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Waiver.objects.filter(pk=waiver.pk).update(created_at=past - timedelta(days=9), expires_at=past)


@pytest.fixture
def row() -> TargetResult:
    return make_result(make_report("127.66.0.1", make_address(services=REDIS)))


def marks(client: Client, row: TargetResult) -> dict[str, dict | None]:
    """The waivers in a job's document, by rule."""
    (result,) = client.get(f"/scan/{row.job.token}").json()["results"]
    return {finding["rule_id"]: finding["waiver"] for finding in result["findings"]}


# --- Which findings are marked ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["127.66.0.1", "127.66.0.0/24", "127.66.0.1/32"])
def test_a_waiver_marks_its_rule_at_its_place_and_no_other(client, row, scope):
    waiver = waive(scope=scope)
    found = marks(client, row)
    assert found.pop("EXP-009") == {
        "id": waiver.pk,
        "scope": "127.66.0.1" if "/24" not in scope else scope,
        "port": None,
        "owner": "Shop team",
        "reason": "Behind a filter",
        "entered_by": None,
        "created_at": waiver.created_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "expires_at": f"{in_days(30)}T23:59:59Z",
    }
    assert set(found.values()) == {None}


@pytest.mark.parametrize("scope", ["127.66.0.2", "127.66.1.0/24", "shop.invalid", "2001:db8::/32", "::1"])
def test_another_place_is_not_marked(client, row, scope):
    waive(scope=scope)
    assert set(marks(client, row).values()) == {None}


def test_nothing_of_the_verdict_changes(client, row):
    before = TargetResult.objects.values().get()
    plain = client.get(f"/scan/{row.job.token}").json()["results"][0]
    waive()
    after = client.get(f"/scan/{row.job.token}").json()["results"][0]
    assert TargetResult.objects.values().get() == before
    for result in (plain, after):
        for finding in result["findings"]:
            del finding["waiver"]
    assert after == plain
    assert after["risk_level"] == Level.CRITICAL


def test_a_name_is_a_place_of_its_own_with_all_its_addresses(client):
    two = make_address("127.66.0.1", open_ports=[6379]), make_address("127.66.0.2", open_ports=[6379])
    row = make_result(make_report("https://shop.invalid/a", *two))
    waiver = waive(scope="shop.invalid")
    assert marks(client, row)["EXP-009"]["id"] == waiver.pk
    assert read_scope("Shop.Invalid.") == "shop.invalid"


def test_a_host_must_lie_in_a_network_with_all_its_addresses(client):
    two = make_address("127.66.0.1", open_ports=[6379]), make_address("127.66.9.2")
    row = make_result(make_report("shop.invalid", *two))
    waive(scope="127.66.0.1")
    waive(scope="127.66.0.0/24")
    assert marks(client, row)["EXP-009"] is None
    whole = waive(scope="127.66.0.0/16")
    assert marks(client, row)["EXP-009"]["id"] == whole.pk


def test_a_waiver_for_a_port_holds_while_that_is_all_the_finding_names(client, row):
    waiver = waive(port=6379)
    assert marks(client, row)["EXP-009"]["id"] == waiver.pk
    more = make_result(make_report("127.66.0.1", make_address(open_ports=[6379, 9200])))
    assert marks(client, more)["EXP-009"] is None, "another store was opened, which nobody has accepted"


def test_of_several_the_one_that_ends_last_is_shown(client, row):
    waive(scope="127.66.0.0/24", last_day=in_days(5))
    longest = waive(scope="127.66.0.0/16", last_day=in_days(50))
    waive(last_day=in_days(20))
    assert marks(client, row)["EXP-009"]["id"] == longest.pk


def test_what_has_expired_or_was_withdrawn_marks_nothing(client, row):
    waiver = waive()
    expire(waiver)
    assert marks(client, row)["EXP-009"] is None
    again = waive()
    assert withdraw_waiver(again, origin=COMMAND_LINE)
    assert marks(client, row)["EXP-009"] is None
    assert not withdraw_waiver(again, origin=COMMAND_LINE), "it held no longer"


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"rule_id": "EXP-999"}, "rule_id", "There is no rule EXP-999."),
        ({"rule_id": HOSTILE}, "rule_id", "There is no rule"),
        ({"scope": ""}, "scope", "empty"),
        ({"scope": "127.66.0.1/24"}, "scope", "write 127.66.0.0/24, or 127.66.0.1 for the one address"),
        ({"scope": "127.66.0.0/99"}, "scope", "is not a network"),
        ({"scope": "0.0.0.0/0"}, "scope", "wider than a /8"),
        ({"scope": "https://shop.invalid/a"}, "scope", "shop.invalid is enough"),
        ({"scope": "127.66.0.1-9"}, "scope", "several addresses"),
        ({"scope": "203.0.113.300"}, "scope", "not an address"),
        ({"scope": "a\x00b"}, "scope", "U\\+0000"),
        ({"port": 0}, "port", "0 is not a port"),
        ({"port": 65536}, "port", "65536 is not a port"),
        ({"rule_id": "ACC-001", "port": 6379}, "port", "ACC-001 names no ports"),
        ({"owner": " \t"}, "owner", "Name who answers"),
        ({"owner": "x" * 101}, "owner", "At most 100"),
        ({"reason": "\u202e"}, "reason", "Say why"),
        ({"reason": "x" * 501}, "reason", "At most 500"),
    ],
)
def test_a_bad_waiver_is_refused_by_field(fields, field, said):
    with pytest.raises(WaiverRefusedError) as caught:
        waive(**fields)
    assert list(caught.value.problems) == [field]
    assert re.search(said, caught.value.problems[field])
    assert not Waiver.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_waiver_has_an_end_within_a_year():
    for day, said in ((in_days(-1), "over"), (in_days(waivers.MAX_DAYS + 1), "366 days")):
        with pytest.raises(WaiverRefusedError) as caught:
            waive(last_day=day)
        assert said in caught.value.problems["last_day"]
    assert waive(last_day=in_days(waivers.MAX_DAYS)).expires_at == datetime.combine(in_days(366), time.max, tzinfo=UTC)
    assert waive(last_day=in_days(0), scope="127.66.0.2").expires_at > timezone.now()


def test_the_same_twice_is_refused_until_the_first_has_ended():
    first = waive()
    with pytest.raises(WaiverRefusedError, match="accepted already"):
        waive(owner="Somebody else")
    waive(port=6379)
    withdraw_waiver(first, origin=COMMAND_LINE)
    assert waive(owner="Somebody else").owner == "Somebody else"


def test_there_is_an_end_to_how_many_hold():
    now = timezone.now()
    usual = {"rule_id": "EXP-009", "owner": "o", "reason": "r", "created_at": now, "expires_at": now + timedelta(days=1)}
    Waiver.objects.bulk_create(Waiver(scope=f"10.0.{n // 250}.{n % 250}", **usual) for n in range(MAX_IN_FORCE))
    with pytest.raises(WaiverRefusedError, match="1,000 waivers"):
        waive()


# --- Where they are shown --------------------------------------------------------------------------------------------


def test_the_hosts_page_says_until_when_by_whom_and_why(client, row):
    words = text_of(client.get(row.get_absolute_url()).content.decode())
    assert "waived" not in words.lower().replace("waivers", "")
    waiver = waive()
    words = text_of(client.get(row.get_absolute_url()).content.decode())
    assert "Cache, search or coordination store 6379 verified waived" in words
    until = f"{waiver.expires_at:%-d %b %Y}, 23:59:59"
    assert f"Waived until {until} by Shop team : Behind a filter ( waiver for 127.66.0.1 ; it changes neither" in words
    assert "Critical" in words


def test_a_finding_leads_to_the_form_filled_in_and_back(client, row):
    body = client.get(row.get_absolute_url()).content.decode()
    link = re.search(r'href="(/waivers\?rule=EXP-009[^"]*)"', body)[1].replace("&amp;", "&")
    asked_for = parse_qs(urlsplit(link).query)
    assert (asked_for["scope"], asked_for["port"]) == (["127.66.0.1"], ["6379"])
    form = client.get(link).context["form"]
    fields = {name: form[name].value() for name in ("rule_id", "scope", "port", "last_day", "next")}
    fields |= {"owner": "Shop team", "reason": "Behind a filter", "last_day": fields["last_day"].isoformat()}
    answer = client.post("/waivers", fields)
    assert (answer.status_code, answer["Location"]) == (302, f"{row.get_absolute_url()}#f-EXP-009")
    assert marks(client, row)["EXP-009"]["port"] == 6379


@pytest.mark.parametrize("next_page", ["https://evil.invalid/", "//evil.invalid", "javascript:alert(1)", "evil"])
def test_nobody_is_led_elsewhere(client, next_page):
    fields = {"rule_id": "EXP-009", "scope": "127.66.0.1", "owner": "o", "reason": "r", "last_day": in_days(9).isoformat()}
    answer = client.post("/waivers", fields | {"next": next_page})
    assert answer["Location"] == f"/waivers#w{Waiver.objects.get().pk}"
    assert client.get("/waivers", {"next": next_page}).context["form"]["next"].value() == ""


def test_the_page_lists_what_holds_and_what_has_ended(client):
    holding, expired = waive(), waive(scope="127.66.0.2")
    withdrawn = waive(scope="127.66.0.3", port=6379)
    expire(expired)
    answer = client.post(f"/waivers/{withdrawn.pk}/withdraw")
    assert (answer.status_code, answer["Location"]) == (302, "/waivers")
    response = client.get("/waivers")
    body = response.content.decode()
    assert (policy_of(response), inline_parts(body)) == (POLICY, [])
    assert response["Cache-Control"] == "private, no-store"
    holds, ended = text_of(body).split("Ended 2")
    assert "In force 1" in holds
    assert f"Withdraw EXP-009 at {holding.scope}" in body
    assert "29 days left" in holds or "30 days left" in holds
    assert re.search(r"127\.66\.0\.3 port 6379 only .*? withdrawn .* 127\.66\.0\.2 .*? expired", ended)
    assert client.post(f"/waivers/{withdrawn.pk}/withdraw").status_code == 302, "doing so again is no error"
    assert client.post("/waivers/99999/withdraw").status_code == 404
    assert client.get(f"/waivers/{holding.pk}/withdraw").status_code == 405


def test_each_wrong_field_says_so_and_nothing_typed_is_lost(client):
    fields = {
        "rule_id": "EXP-009",
        "scope": "10.0.0.1/8",
        "port": "99999",
        "owner": "me",
        "reason": "",
        "last_day": "2020-01-01",
    }
    answer = client.post("/waivers", fields)
    body = answer.content.decode()
    assert answer.status_code == 422
    assert "Nothing was accepted." in body
    assert 'value="10.0.0.1/8"' in body
    assert 'id="id_reason_error"' in body
    answer = client.post("/waivers", fields | {"reason": "because"})
    said = {name: " ".join(errors) for name, errors in answer.context["form"].errors.items()}
    assert said == {
        "scope": "10.0.0.1/8 names an address inside a network: write 10.0.0.0/8, or 10.0.0.1 for the one address.",
        "port": "99999 is not a port: they go from 1 to 65535.",
        "last_day": "This day is over.",
    }
    for bad in ({"port": "http"}, {"last_day": "tomorrow"}, {"rule_id": "EXP-999"}, {"scope": "x" * 256}, {"owner": "\x00"}):
        assert client.post("/waivers", {**fields, "reason": "r", **bad}).status_code == 422, bad
    assert not Waiver.objects.exists()


def test_what_somebody_wrote_is_escaped_everywhere(client, row):
    waive(owner=HOSTILE, reason=f'"><img src=x>{HOSTILE}')
    for path in (row.get_absolute_url(), "/waivers", f"/waivers?scope={HOSTILE}&rule={HOSTILE}&port={HOSTILE}"):
        body = client.get(path).content.decode()
        assert HOSTILE not in body
        assert "<img" not in body
        assert "&lt;script&gt;" in body


def test_a_jobs_page_counts_the_hosts_where_a_finding_is_waived(client):
    job = make_job("127.66.0.1", "127.66.0.2", "two.invalid")
    for text, addresses in (("127.66.0.1", [1]), ("127.66.0.2", [2]), ("two.invalid", [1, 9])):
        make_result(make_report(text, *(make_address(f"127.66.0.{n}", open_ports=[6379]) for n in addresses)), job=job)
    job.refresh_from_db()
    assert [group.waived for group in selectors.job_findings(job).groups] == [0, 0]
    waive(scope="127.66.0.1")
    waive(scope="127.66.0.2", port=6379)
    waived = {group.rule_id: (group.waived, group.hosts) for group in selectors.job_findings(job).groups}
    assert waived == {"EXP-009": (2, 3), "EXP-001": (0, 3)}
    assert "3 hosts 2 waived" in text_of(client.get(job.get_absolute_url()).content.decode())
    waive(scope="two.invalid")
    assert "3 hosts waived" in text_of(client.get(job.get_absolute_url()).content.decode())


def test_exports_and_pages_of_results_have_them(client, row):
    waiver = waive()
    where = f"/scan/{row.job.token}"
    (result,) = client.get(f"{where}/results").json()["results"]
    assert [f["waiver"]["id"] for f in result["findings"] if f["waiver"]] == [waiver.pk]
    whole = json.loads(b"".join(client.get(f"{where}/export.json").streaming_content))
    line = json.loads(b"".join(client.get(f"{where}/export.ndjson").streaming_content))
    assert line == whole["results"][0] == result
    table = b"".join(client.get(f"{where}/export.csv").streaming_content).decode()
    (cells,) = csv.DictReader(io.StringIO(table))
    assert cells["waived"] == "Cache, search or coordination store"


def test_who_holds_a_document_is_told_when_a_waiver_begins_and_when_it_ends(client, row):
    def asks(etag: str) -> int:
        return client.get(f"/scan/{row.job.token}", headers={"If-None-Match": etag}).status_code

    def etag() -> str:
        return client.get(f"/scan/{row.job.token}")["ETag"]

    seen = [etag()]
    first = waive()
    seen.append(etag())
    second = waive(scope="127.66.0.2")
    seen.append(etag())
    withdraw_waiver(second, origin=COMMAND_LINE)
    seen.append(etag())
    expire(first)
    seen.append(etag())
    assert len(set(seen)) == 5
    assert [asks(held) for held in seen] == [200, 200, 200, 200, 304]


def test_pages_and_documents_cost_as_many_queries_with_many_waivers_and_rows(client):
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as found:
            answer = client.get(path)
            assert answer.status_code == 200
            if answer.streaming:
                list(answer.streaming_content)
        return len(found)

    make_result(make_report("127.66.0.1", make_address(services=REDIS)))  # which both jobs are compared with
    one = make_result(make_report("127.66.0.1", make_address(services=REDIS)))
    job = make_job(*(f"127.66.0.{n}" for n in range(1, 21)))
    for n in range(1, 21):
        make_result(make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", services=REDIS)), job=job)
    paths = ("/waivers", one.get_absolute_url(), f"/scan/{one.job.token}", one.job.get_absolute_url())
    waive()
    few = [queries(path) for path in paths]
    for n in range(2, 40):
        waive(scope=f"127.66.0.{n}")
        waive(scope=f"127.{n}.0.0/16", rule_id="ACC-001")
    more = ("/waivers", one.get_absolute_url(), f"/scan/{job.token}", job.get_absolute_url())
    assert [queries(path) for path in more] == few


# --- Who may, and the audit trail ------------------------------------------------------------------------------------


def test_each_change_is_one_audit_event_with_all_of_it(client):
    fields = {"rule_id": "EXP-009", "scope": "127.66.0.1", "port": "6379", "owner": "Shop team", "reason": "Behind a filter"}
    client.post("/waivers", fields | {"last_day": in_days(9).isoformat()}, REMOTE_ADDR="192.0.2.7")
    waiver = Waiver.objects.get()
    client.post(f"/waivers/{waiver.pk}/withdraw")
    client.post(f"/waivers/{waiver.pk}/withdraw")
    withdrawn, added = AuditEvent.objects.all()
    assert (added.action, withdrawn.action) == ("waiver_added", "waiver_withdrawn")
    assert (added.via, added.address, added.actor) == ("anonymous", "192.0.2.7", "")
    assert added.detail == {
        "waiver": waiver.pk,
        "rule": "EXP-009",
        "scope": "127.66.0.1",
        "port": 6379,
        "owner": "Shop team",
        "reason": "Behind a filter",
        "expires": f"{in_days(9)}T23:59:59+00:00",
    }


def test_in_the_server_profile_staff_accept_risks_and_others_see_them(server_profile):
    alice = User.objects.create_user("alice")
    root = User.objects.create_user("root", is_staff=True)
    hers = make_result(make_report("127.66.0.1", make_address(services=REDIS)), job=make_job("127.66.0.1", owner=alice))
    fields = {"rule_id": "EXP-009", "scope": "127.66.0.1", "owner": "o", "reason": "r", "last_day": in_days(9).isoformat()}
    nobody, user, staff = Client(), Client(), Client()
    user.force_login(alice)
    staff.force_login(root)

    assert nobody.get("/waivers").status_code == nobody.post("/waivers", fields).status_code == 302
    assert user.post("/waivers", fields).status_code == 403
    assert not Waiver.objects.exists()
    assert staff.post("/waivers", fields).status_code == 302
    waiver = Waiver.objects.get()
    assert waiver.entered_by == AuditEvent.objects.filter(action="waiver_added").get().actor == "root"

    listed, page = (user.get(path).content.decode() for path in ("/waivers", hers.get_absolute_url()))
    assert "127.66.0.1" in listed
    assert "Withdraw" not in listed.replace('visually-hidden">Withdraw', "")
    assert "Accept a risk" not in listed
    assert "waived" in page
    assert "Accept this risk" not in page
    assert "Accept this risk" in staff.get(hers.get_absolute_url()).content.decode()
    assert user.post(f"/waivers/{waiver.pk}/withdraw").status_code == 403
    assert staff.post(f"/waivers/{waiver.pk}/withdraw").status_code == 302
    waiver.refresh_from_db()
    assert waiver.withdrawn_by == "root"


def test_a_foreign_form_accepts_nothing():
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/waivers", {"rule_id": "EXP-009"}).status_code == 403


def test_top_findings_are_kept_until_the_job_or_a_waiver_changes(row, django_assert_num_queries):
    first = selectors.job_findings(row.job)
    with django_assert_num_queries(1):
        assert selectors.job_findings(row.job) is first
    waive()
    assert [group.waived for group in selectors.job_findings(row.job).groups if group.rule_id == "EXP-009"] == [1]
    TargetResult.objects.filter(pk=row.pk).update(verdict={**row.verdict, "findings": []})
    assert selectors.job_findings(row.job).groups, "nobody has said that it changed"
    ScanJob.objects.filter(pk=row.job_id).update(version=F("version") + 1)
    assert not selectors.job_findings(ScanJob.objects.get(pk=row.job_id)).groups


def test_a_waiver_outlives_the_job_it_was_accepted_on(row):
    waive()
    delete_job(row.job, by=COMMAND_LINE)
    assert Waiver.objects.count() == 1
