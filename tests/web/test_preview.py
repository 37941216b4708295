"""What the form says of its input before anything is sent: the same numbers as the job, and nothing stored for it."""

from __future__ import annotations

import re
from html import unescape
from ipaddress import ip_network

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from scans.core.options import Options, ProbeOptions, ScopeOptions
from scans.models import OPEN_STATES, RateBucket, ScanJob
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
FORM = {"profile": "default", "ports": ""}
HTMX = {"HX-Request": "true"}


def preview(client: Client, targets: str, **fields: str) -> str:
    """The fragment that htmx gets while somebody types."""
    response = client.post("/preview", {**FORM, "targets": targets, **fields}, headers=HTMX)
    assert response.status_code == 200
    return unescape(response.content.decode())


def sum_of(page: str) -> str:
    """The sum as somebody reads it."""
    shown = re.search(r'<p class="expansion__sum">(.*?)</p>', page, re.DOTALL)
    return text_of(shown[1]) if shown else ""


def text_of(markup: str) -> str:
    """What is read aloud: cells stand apart, words in one cell as they are."""
    return " ".join(re.sub(r"<[^>]*>", "", re.sub(r"</(?:td|th|tr|p)>|<span class=\"sub\">", " ", markup)).split())


def rows(page: str) -> dict[int, str]:
    """The table of lines as somebody reads it, what is said below a line included."""
    found = re.split(r'<tr id="l(\d+)"', page)
    return {
        int(number): text_of("<tr" + row.split("</table>")[0]) for number, row in zip(found[1::2], found[2::2], strict=True)
    }


def test_the_sum_adds_up_and_says_how_long_it_takes(client):
    page = preview(
        client, "127.0.0.0/28\n127.0.1.1\nvpn.shop.invalid\nhttps://shop.invalid:9443/\n::1\n127.0.2.1-8\n127.0.0.3"
    )
    assert sum_of(page).startswith("28 targets from 7 lines × 24 ports + 1 = 673 probes about 1 s")
    assert "1 repeated target is counted once." in page
    assert "2 names count as one address each" in page
    assert "Scan 28 targets" in page


def test_each_line_says_what_it_was_read_as(client):
    found = rows(
        preview(client, "127.0.0.0/30\n127.0.0.9\n# x\n127.0.0.5-6, a.invalid\n::ffff:127.0.0.1\nhttp://u:p@a.invalid")
    )
    assert "IPv4 network 4 in scope" in found[1]
    assert "IPv4 address 1 in scope" in found[2]
    assert "a comment" in found[3]
    assert "IPv4 range, name, resolved when scanned 3 judged once resolved" in found[4]
    assert "IPv4-mapped address read as 127.0.0.1" in found[5]
    assert "URL, port 80 userinfo removed" in found[6]


def test_a_bad_line_stands_with_its_number_its_text_and_the_reason_and_the_rest_is_counted(client):
    page = preview(client, "127.0.0.1\n127.1\n127.0.0.2")
    assert sum_of(page).startswith("2 targets from 2 lines, 1 line not counted × 24 ports = 48 probes")
    assert rows(page)[2] == ("2 127.1 127.1 is not an address: it has 2 parts, an address has four.")
    assert "Scan corrected list" in page
    assert "Scan only the 2 good lines" in page


def test_a_line_of_a_control_character_alone_is_bad_and_not_blank(client):
    found = rows(preview(client, "127.0.0.1\n\x1f\n \n127.0.0.2"))
    assert "holds the character U+001F" in found[2]
    assert 3 not in found


def test_a_refused_address_stands_with_its_rule_and_remedy_and_is_not_probed(client):
    page = preview(client, "10.0.0.0/30\n127.0.0.1\n169.254.169.254")
    assert sum_of(page).startswith("( 6 targets from 3 lines − 5 refused ) × 24 ports = 24 probes")
    found = rows(page)
    assert "4 of 4 refused" in found[1]
    assert "private (4): 10.0.0.0 is a private address. Set SCAN_ALLOW_NETWORKS=10.0.0.0" in found[1]
    assert "metadata: 169.254.169.254 is a cloud metadata service. It can never be allowed" in found[3]


def test_bad_ports_are_told_and_the_lines_are_still_read(client):
    page = preview(client, "127.0.0.1\n127.1", profile="own", ports="22,banana")
    assert "'banana' is neither a port" in page
    assert "it has 2 parts" in rows(page)[2]
    assert sum_of(page) == ""


@pytest.mark.parametrize(
    ("targets", "fields", "said"),
    [
        ("", {}, "What your targets come to stands here"),
        ("127.0.0.1\n" * 10_001, {}, "more than 10,000 lines"),
        ("127.0.0.0/8", {}, "the limit is 1,024 targets"),
        ("127.0.0.0/24", {"profile": "all"}, "the limit is 10,000,000"),
        ("127.1", {}, "1 line cannot be scanned, and no other is left"),
        ("127.1\n" * 1002, {}, "The other 2 items were not read after 1,000 errors."),
        ("127.0.0.1\0", {}, "Null characters are not allowed"),
        ("127.0.0.1", {"profile": "nope"}, "Select a valid choice"),
    ],
)
def test_what_has_no_sum_says_why(client, targets, fields, said):
    assert said in preview(client, targets, **fields)


def test_a_preview_asks_no_name_and_touches_no_row(client, django_assert_num_queries):
    # The guard of the tests fails on any look-up.
    with django_assert_num_queries(0):
        preview(client, "www.shop.invalid\n127.0.0.1\n10.0.0.1\n127.1")


def test_the_button_check_shows_the_same_on_the_page_and_loses_nothing(client):
    typed = "127.0.0.1\n127.1\n<b>x</b>"
    response = client.post("/preview", {**FORM, "targets": typed, "label": "mine"})
    page = unescape(response.content.decode())
    assert response.status_code == 200
    assert sum_of(page) == sum_of(preview(client, typed))
    assert f">\n{typed}</textarea>" in page
    assert 'value="mine"' in page
    assert "Nothing was submitted" not in page
    assert policy_of(response) == POLICY
    assert inline_parts(response.content.decode()) == []
    assert client.get("/preview")["Location"] == "/"


def test_a_preview_from_another_site_is_refused():
    assert Client(enforce_csrf_checks=True).post("/preview", FORM, headers=HTMX).status_code == 403


def test_previews_have_a_quota_of_their_own_and_leave_the_submissions_theirs(client, settings):
    settings.QUOTAS = {**settings.QUOTAS, "preview": (2, 60), "submit": (1, 60)}
    for _ in range(2):
        assert "Scan 1 target" in preview(client, "127.0.0.1")
    refused = client.post("/preview", {**FORM, "targets": "127.0.0.1"}, headers=HTMX)
    assert "You have checked much: the sum comes again in" in refused.content.decode()
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert client.post("/preview", {**FORM, "targets": "127.0.0.1"}).status_code == 429
    assert client.get("/?targets=127.0.0.1").status_code == 429
    assert client.get("/").status_code == 200
    assert client.post("/", {**FORM, "targets": "127.0.0.1"}).status_code == 302
    assert {bucket.name.split(":")[1] for bucket in RateBucket.objects.all()} == {"preview", "submit"}


def test_a_stranger_is_led_to_the_login_by_htmx(client, server_profile):
    response = client.post("/preview", {**FORM, "targets": "127.0.0.1"}, headers=HTMX)
    assert response["HX-Redirect"].startswith("/login")


def test_a_long_list_shows_what_is_wrong_and_says_how_much_it_hides(client):
    page = preview(client, "\n".join([*(f"127.0.1.{n}" for n in range(150)), "127.1", "10.0.0.1"]))
    assert set(rows(page)) == {151, 152}
    assert "Of 152 lines only the 2 that something is wrong with are listed here." in page
    page = preview(client, "\n".join(f"127.0.1.{n}" for n in range(150)))
    assert "Of 150 lines none is listed here: nothing is wrong with them." in page


def test_many_refused_lines_are_not_all_repeated(client):
    page = preview(client, "\n".join(f"10.0.{n // 250}.{n % 250}" for n in range(500)))
    assert len(rows(page)) == 100
    assert "Of 500 lines the first 100 of 500 that something is wrong with are listed here." in page


def test_while_somebody_types_not_all_bad_lines_are_sent_again_and_the_page_has_them_all(client):
    typed = "127.1\n" * 1000
    page = preview(client, typed)
    assert len(rows(page)) == 200
    assert "the first 200 of 1,000 that something is wrong with" in page
    assert len(rows(client.post("/", {**FORM, "targets": typed}).content.decode())) == 1000


def test_the_time_follows_the_pace_and_what_silence_costs(client, settings):
    settings.SCANNER = Options(probe=ProbeOptions(rate_per_second=10))
    page = preview(client, "a.invalid", profile="top100")  # a name counts as public, and only public ones are paced
    assert "about 10 s; 20 s if nothing answers" in page
    page = preview(client, "a.invalid", profile="own", ports="22")
    assert "about 1 s; 3 s if nothing answers" in page
    one_network = "\n".join(f"127.66.0.{n}" for n in range(250))
    scope = ScopeOptions(treat_as_global=(ip_network("127.66.0.0/16"),))
    settings.SCANNER = Options(scope=scope, probe=ProbeOptions(rate_per_second=2000, network_per_second=500))
    assert "about 50 s; 2 min" in preview(client, one_network, profile="top100")
    settings.SCANNER = Options(probe=ProbeOptions(rate_per_second=0, network_per_second=0, max_inflight=0, per_host=0))
    assert "about 1 s; 3 s if nothing answers" in preview(client, "a.invalid", profile="all")
    assert "about" not in sum_of(preview(client, "10.0.0.1")), "what is refused takes no time"


items = st.one_of(
    st.sampled_from([
        "127.0.0.1", "127.0.0.0/29", "127.0.0.4-9", "::1", "::ffff:127.0.0.1", "a.invalid", "A.invalid.", "127.1", "",
        "https://a.invalid:9443/x?y=1,2", "http://127.0.0.1/", "10.0.0.1", "192.168.1.0/30", "127.0.0.0/23", "300.1.1.1",
        "http://127.0.0.1:8080", "# note", "127.0.0.1 # note", "a b", "224.0.0.1", "[::1]",
    ]),
    st.integers(0, 40).map("127.0.0.{}".format),
    st.text(max_size=12).filter(lambda text: "\0" not in text),
    st.sampled_from(["\x1f", " \x1c", "\x85"]),
)  # fmt: skip
inputs = st.lists(st.tuples(items, st.sampled_from([",", "\n", "\r\n", "\r", ", "])), min_size=1, max_size=30)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(parts=inputs, profile=st.sampled_from(["default", "top100", "own"]))
def test_the_numbers_are_those_of_the_job_that_the_same_input_makes(client, parts, profile):
    text = "".join(item + end for item, end in parts)
    fields = {"targets": text, "profile": profile, "ports": "80,8080,9443"}
    response = client.post("/preview", fields, headers=HTMX)
    shown = response.context["expansion"].preview
    ScanJob.objects.all().delete()
    submitted = client.post("/", {**fields, "on_invalid": "skip"})
    assert submitted.status_code == (302 if shown else 422)
    if not shown:
        return
    job = ScanJob.objects.get()
    rows = list(job.targets.all())
    assert shown.targets == job.total_targets == len(rows)
    assert shown.refused == len(rows) - job.targets.filter(state__in=OPEN_STATES).count()
    assert shown.in_scope * shown.ports + shown.own_ports == shown.probes
    expansion = response.context["expansion"]
    assert sum(len(item.targets) for item in shown.items) == shown.targets + shown.folded
    assert len(job.rejected) == sum(len(line.reasons) for line in expansion.bad)
    assert (client.post("/", fields).status_code == 302) == (not expansion.bad)
