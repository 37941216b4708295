"""What if ports were closed, on a host's page: compared, and nothing written; odd choices are left out and named."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scans.core.risk import gather, rate, rate_closed
from scans.models import TargetResult
from tests.factories import make_address, make_report, make_result, make_services
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
PART = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "what-if-then"}
SEEN = make_address(services=[service for service in make_services() if service.port in (22, 80, 443, 6379)])


@pytest.fixture
def row():
    return make_result(make_report("127.66.0.1", SEEN))


@pytest.fixture
def section(client):
    """The words of the part of a host's page, asked for with a query."""

    def read(row: TargetResult, query: str = "") -> str:
        response = client.get(row.get_absolute_url() + query)
        assert response.status_code == 200
        body = response.content.decode()
        return text_of(body.split('id="what-if"')[1].split("</section>")[0]) if 'id="what-if"' in body else ""

    return read


def test_the_one_port_that_does_most_is_named(section, row):
    assert "Closing 6379 alone takes the level from Critical to High ." in section(row)


def test_where_no_port_lowers_the_level_the_points_are_told(section):
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[3306, 5432])))
    now, then = rate(gather([make_address(open_ports=[3306, 5432])])), rate(gather([make_address(open_ports=[5432])]))
    fewer, points = now.score - then.score, now.score
    expected = f"No single port lowers the level. Closing 3306 alone does most: it takes {fewer} of {points} points."
    assert expected in section(row)


def test_chosen_ports_are_compared_now_and_then_finding_by_finding(section, row, client):
    now, then = rate(gather([SEEN])), rate_closed([SEEN], {22, 6379})
    said = section(row, "?closed=22&closed=6379")
    assert f"Now Critical {now.score} → , then High {then.score} of 100, with 22, 6379 closed" in said
    added = [sum(finding.points for finding in verdict.findings) for verdict in (now, then)]
    assert f"closed; the findings add up to {added[0]} now and {added[1]} then" in said, "more than the scale shows"
    kept = {finding.rule_id for finding in then.findings}
    for finding in now.findings:
        fate = "goes away" if finding.rule_id not in kept else "(?:stays|weighs less)"
        assert re.search(rf"{finding.rule_id} {fate} {finding.points}", said), finding.rule_id
    body = client.get(row.get_absolute_url() + "?closed=22&closed=6379").content.decode()
    assert re.findall(r'name="closed" value="(\d+)" checked', body) == ["22", "6379"]


def test_it_works_by_a_plain_form_that_changes_nothing(client, row):
    body = client.get(row.get_absolute_url()).content.decode()
    form = body.split('<form class="what-if')[1].split("</form>")[0]
    assert f'method="get" action="{row.get_absolute_url()}#what-if"' in form
    assert re.findall(r'name="closed" value="(\d+)">', form) == ["22", "80", "443", "6379"]
    before = TargetResult.objects.values().get()
    client.get(row.get_absolute_url() + "?closed=6379")
    assert TargetResult.objects.values().get() == before


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?closed=81", "81"),
        ("?closed=abc", "abc"),
        ("?closed=", "nothing"),
        ("?closed=-1&closed=6.5", "-1 , 6.5"),
        ("?closed=99999999999", "99999999999"),
        ("?closed=%D9%A2%D9%A2", "٢٢"),
        ("?closed=%00%1b[31m", "[31m"),
    ],
)
def test_what_is_no_open_port_is_left_out_and_named(section, row, query, named):
    said = section(row, query)
    assert f"Left out: {named} : no open port of this host." in said
    assert "Now Critical" not in said


def test_open_ports_beside_odd_ones_are_still_compared(section, row):
    said = section(row, "?closed=6379&closed=81&" + "&".join(f"closed=x{n}" for n in range(9)))
    assert "Left out: 81 , x0 , x1 , x2 , x3 and 5 more: no open port" in said
    assert "with 6379 closed" in said


def test_hostile_choices_are_escaped_and_cut(client, row):
    body = client.get(row.get_absolute_url(), {"closed": "<script>alert(1)</script>" + "x" * 5000}).content.decode()
    assert "<script>alert" not in body
    assert "<code>&lt;script&gt;alert(1)&lt;/s…</code>" in body or "<code>&lt;script&gt;alert(1)&lt;/…</code>" in body


def test_too_many_choices_are_refused_as_any_such_address(client, row):
    assert client.get(row.get_absolute_url() + "?" + "&".join(f"closed={n}" for n in range(1, 1200))).status_code == 400


def test_a_script_is_sent_only_the_comparison(client, row):
    reply = client.get(row.get_absolute_url() + "?closed=6379", **PART)
    body = reply.content.decode()
    assert reply.status_code == 200
    assert "<section" not in body
    assert 'id="what-if-then"' in body
    assert "with 6379 closed" in text_of(body)
    assert "Choose one or more ports" in text_of(client.get(row.get_absolute_url(), **PART).content.decode())


def test_evidence_that_cannot_be_read_says_so_and_leaves_the_page(section, row):
    row.evidence["addresses"][0]["services"][0]["tls"] = {"version": "TLSv1.3", "cipher": "x", "not_before": "yesterday"}
    row.save()
    assert "Cannot be told: the stored evidence of this scan is in a form" in section(row, "?closed=6379")


def test_rules_that_have_changed_since_are_told(section, row):
    row.verdict["level"], row.risk_level = "high", "high"
    row.save()
    assert "Rated again: the rules have changed since this scan" in section(row)
    assert "now” is Critical" in section(row)


def test_where_nothing_is_open_there_is_nothing_to_close(section):
    assert section(make_result(make_report("127.66.0.2", make_address("127.66.0.2")))) == ""


def test_of_many_ports_the_weightiest_are_offered_and_any_can_be_asked_for(section):
    row = make_result(make_report("127.66.0.3", make_address("127.66.0.3", open_ports=range(1, 1001), ports=())))
    said = section(row, "?closed=999")
    assert "And 959 more open ports" in said
    assert "with 999 closed" in said


def test_a_host_where_nearly_everything_is_open_is_not_rated_again(section):
    row = make_result(make_report("127.66.0.3", make_address("127.66.0.3", open_ports=range(1, 1002), ports=())))
    assert "More than 1,000 ports are open." in section(row, "?closed=999")


def test_it_asks_the_database_nothing(client, row):
    def queries(query: str, **headers: str) -> int:
        with CaptureQueriesContext(connection) as found:
            assert client.get(row.get_absolute_url() + query, **headers).status_code == 200
        return len(found)

    plain = queries("")
    assert queries("?closed=22&closed=80&closed=443&closed=6379") == plain
    assert queries("?closed=22", **PART) == queries("?closed=22&closed=6379", **PART) < plain
