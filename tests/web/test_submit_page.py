"""The form: what it takes, what it says about bad lines, and that nothing typed is lost."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client
from django.utils.html import escape
from django_q.models import OrmQ

from scans.core.options import AiOptions, Options
from scans.core.ports import PROFILES
from scans.models import AiChoice, ScanJob
from tests.factories import make_job, make_report, make_result
from tests.web.policy import POLICY, inline_parts, policy_of

pytestmark = pytest.mark.django_db
FORM = {"targets": "127.0.0.1", "profile": "default", "ports": ""}
GOOD_AND_BAD = "127.0.0.1\n127.1\n127.0.0.2, 127.0.0.3\n300.1.1.1\n# nothing\n"


def submit(client: Client, **fields: str) -> str:
    """Send the form and return the page that refuses it."""
    response = client.post("/", {**FORM, **fields})
    assert response.status_code == 422
    assert not ScanJob.objects.exists()
    return response.content.decode()


def bad_lines(page: str) -> dict[int, str]:
    """The reasons in the table of lines, by line."""
    rows = re.findall(r'<tr id="l(\d+)" class="lines__bad">(.*?)</tr>', page, re.DOTALL)
    return {int(number): unescape(re.sub(r"<[^>]*>|\s+", " ", row)) for number, row in rows}


def test_a_submission_leads_to_the_page_of_its_job(client):
    response = client.post("/", {**FORM, "targets": "127.0.0.1\r\n127.0.0.2, 127.0.0.3  # the lab\r\n\r\n# nothing\r\n"})
    job = ScanJob.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/jobs/{job.token}")
    assert [row.target for row in job.targets.all()] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert client.get(response["Location"]).status_code == 200
    assert OrmQ.objects.exists()


def test_the_default_is_the_standard_profile_and_no_model(client):
    client.post("/", FORM)
    job = ScanJob.objects.get()
    assert job.ai == AiChoice.OFF
    assert job.ports.startswith("21-22,25,53,80")


def test_the_model_is_asked_only_by_those_who_switch_it_on(client):
    client.post("/", {**FORM, "ai": "on"})
    assert ScanJob.objects.get().ai == AiChoice.ASKED


def test_all_ports_and_an_own_list_reach_the_job(client):
    client.post("/", {**FORM, "profile": "all"})
    client.post("/", {**FORM, "profile": "own", "ports": "443, 8000-8002"})
    assert {job.ports for job in ScanJob.objects.all()} == {"1-65535", "443,8000-8002"}


def test_every_bad_line_is_marked_in_its_place_with_its_reason(client):
    typed = "127.0.0.1\n127.1\n# fine\n127.0.0.2, nope..invalid, 10.0.0.1/20\nhttps://x.invalid/a,b\n300.1.1.1"
    page = submit(client, targets=typed)
    marked = bad_lines(page)
    assert set(marked) == {2, 4, 6}
    assert "it has 2 parts" in marked[2]
    assert "a label is empty" in marked[4]
    assert "names an address inside a network" in marked[4], "two bad items of one line both say why"
    assert "above 255" in marked[6]
    assert '<a href="#l6">Line 6</a>' in page
    assert 'aria-invalid="true"' in page


def test_nothing_typed_is_lost_when_a_line_is_bad(client):
    typed = "127.1\n<b>x</b> & co\n https://u:p@x.invalid/ "
    page = submit(client, targets=typed, profile="own", ports="22,8000-8100", ai="on")
    assert f">\n{escape(typed)}</textarea>" in page
    assert 'value="22,8000-8100"' in page
    assert re.search(r'value="own" checked', page)
    assert re.search(r'name="ai" checked', page)


def test_a_password_in_a_bad_line_is_not_repeated_in_its_reason(client):
    page = submit(client, targets="https://user:hunter2@x.invalid/a b")
    reasons = re.findall(r'class="error">.*?</span>', page, re.DOTALL) + re.findall(
        r'<ul class="errors">.*?</ul>', page, re.DOTALL
    )
    assert reasons
    assert not any("hunter2" in reason for reason in reasons)


def test_the_good_lines_can_be_scanned_beside_the_bad_ones(client):
    page = unescape(submit(client, targets=GOOD_AND_BAD))
    assert "2 of 5 lines cannot be scanned" in page
    assert re.search(r'name="on_invalid" value="skip">Scan only the 2 good lines<', page)
    assert client.post("/", {**FORM, "targets": GOOD_AND_BAD, "on_invalid": "skip"}).status_code == 302
    job = ScanJob.objects.get()
    assert [row.target for row in job.targets.all()] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert [(left["pointer"], left["text"]) for left in job.rejected] == [("/lines/2", "127.1"), ("/lines/4", "300.1.1.1")]
    assert all(left["reason"] for left in job.rejected)


def test_a_line_that_is_partly_bad_does_not_count_as_good(client):
    page = unescape(submit(client, targets="127.0.0.1, 127.1"))
    assert "Scan only what is good of 1 line<" in page
    assert "The rest of the line can be scanned: 1 target." in page


@pytest.mark.parametrize("targets", ["127.1", "127.1\n" * 1001 + "127.0.0.1"])
def test_without_a_good_line_or_unread_to_the_end_there_is_nothing_to_skip_to(client, targets):
    assert "on_invalid" not in submit(client, targets=targets)
    assert "on_invalid" not in submit(client, targets=targets, on_invalid="skip")


def test_label_and_tags_reach_the_job_and_the_list_of_recent_ones(client):
    client.post("/", {**FORM, "label": " Perimeter\tweekly ", "tags": "dmz, weekly,dmz,, "})
    job = ScanJob.objects.get()
    assert (job.label, sorted(tag.name for tag in job.tags.all())) == ("Perimeter weekly", ["dmz", "weekly"])
    assert "<bdi>Perimeter weekly</bdi></a>" in client.get("/").content.decode()


def test_a_label_that_looks_like_markup_stays_text(client):
    client.post("/", {**FORM, "label": "<b>x</b>"})
    assert "<bdi>&lt;b&gt;x&lt;/b&gt;</bdi></a>" in client.get("/").content.decode()


def test_a_bad_label_or_tag_is_told_in_the_summary_and_its_field_is_open(client):
    page = unescape(submit(client, label="x" * 101, tags=",".join(f"t{n}" for n in range(21))))
    assert '<a href="#id_label">Label</a> Ensure this value has at most 100 characters' in page
    assert '<a href="#id_tags">Tags</a> 21 tags; 20 are the most.' in page
    assert '<details class="fold" open>' in page
    assert "is longer than 40 characters" in submit(client, tags="y" * 41)


def test_a_submission_at_a_bad_time_keeps_what_was_typed_and_says_when_to_come_back(client, settings):
    settings.MAX_OPEN_JOBS = 1
    make_job("127.0.0.1")
    response = client.post("/", {**FORM, "targets": "127.0.0.7"})
    page = unescape(response.content.decode())
    assert (response.status_code, response["Retry-After"]) == (503, "60")
    assert "1 job is open, as many as this service takes in" in page
    assert ">\n127.0.0.7</textarea>" in page


def test_a_submission_too_soon_keeps_what_was_typed_and_says_when_to_come_back(client, settings):
    settings.QUOTAS = {**settings.QUOTAS, "submit": (1, 60)}
    client.post("/", FORM)
    response = client.post("/", {**FORM, "targets": "127.0.0.7"})
    page = unescape(response.content.decode())
    assert response.status_code == 429
    assert f"try again in {response['Retry-After']} s." in page
    assert ">\n127.0.0.7</textarea>" in page


def test_the_counts_of_the_profiles_are_the_catalogues(client):
    page = client.get("/").content.decode()
    for value, ports in PROFILES.items():
        assert re.search(rf'value="{value}"[^>]*><span class="choice__name">\w+, {len(ports):,} ports<', page), value


def test_a_link_fills_the_form_and_shows_what_it_comes_to(client):
    query = {"targets": "127.0.0.0/30\n127.1", "profile": "own", "ports": "22,80", "label": "again", "tags": "a, b"}
    response = client.get("/", query)
    page = unescape(response.content.decode())
    assert response.status_code == 200
    assert ">\n127.0.0.0/30\n127.1</textarea>" in page
    assert re.search(r'value="own" checked', page)
    assert 'value="22,80"' in page
    assert 'value="again"' in page
    assert "it has 2 parts" in bad_lines(page)[2]
    assert "Nothing was submitted" not in page
    assert not ScanJob.objects.exists()


def test_a_link_to_what_is_no_profile_says_so_and_markup_in_it_stays_text(client):
    page = client.get("/", {"targets": "<script>alert(1)</script>", "profile": "nope"}).content.decode()
    assert "nope is not one of the available choices" in page
    assert "<script>alert" not in page
    assert inline_parts(page) == []


def test_a_link_asks_the_model_only_where_the_empty_form_would(client, settings):
    assert not re.search(r'name="ai" checked', client.get("/?targets=127.0.0.1").content.decode())
    settings.SCANNER = Options(ai=AiOptions(api_key="k"))
    assert re.search(r'name="ai" checked', client.get("/?targets=127.0.0.1").content.decode())
    assert not re.search(r'name="ai" checked', client.get("/?targets=127.0.0.1&ai=false").content.decode())


def test_of_a_long_list_only_the_bad_lines_are_repeated(client):
    page = submit(client, targets="\n".join(["127.0.0.1"] * 150 + ["127.1"]))
    assert set(bad_lines(page)) == {151}
    assert page.count('<tr id="l') == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"targets": ""}, "Name at least one address, range, host name or URL."),
        ({"targets": "# only a comment"}, "Name at least one address, range, host name or URL."),
        ({"targets": " \n\n"}, "Name at least one address, range, host name or URL."),
        ({"targets": "127.0.0.1\n" * 10_001}, "more than 10,000 lines"),
        ({"targets": "127.0.0.0/20"}, "the limit is 1,024 targets"),
        ({"profile": "own", "ports": ""}, "Write the ports"),
        ({"profile": "own", "ports": "22,banana"}, "is neither a port"),
        ({"profile": "own", "ports": "0"}, "ports run from 1 to 65535"),
        ({"profile": "top"}, "Select a valid choice"),
        ({"targets": "127.0.0.1\0"}, "Null characters are not allowed"),
    ],
)
def test_a_form_that_cannot_be_meant_is_refused_with_the_reason(client, fields, reason):
    assert reason in unescape(submit(client, **fields))


def test_an_address_out_of_scope_is_a_job_whose_result_is_the_refusal(client):
    response = client.post("/", {**FORM, "targets": "10.0.0.1"}, follow=True)
    page = response.content.decode()
    assert "Complete in part" in page
    assert "SCAN_ALLOW_NETWORKS=10.0.0.1" in page


def test_the_scope_notice_names_what_is_allowed_and_the_remedy(client):
    page = client.get("/").content.decode()
    assert "<code>127.0.0.0/8</code>" in page
    assert "SCAN_ALLOW_NETWORKS" in page


def test_the_banner_says_that_a_loopback_range_counts_as_public(client, settings):
    assert "127.66.0.0/16</code> counts as public" in client.get("/").content.decode()
    settings.SCANNER = Options()
    assert "counts as public" not in client.get("/").content.decode()


def test_recent_jobs_show_state_and_levels_and_never_more_than_ten(client):
    make_result(make_report("127.66.0.1"))
    for _ in range(11):
        make_job("127.0.0.1")
    page = client.get("/").content.decode()
    assert page.count('class="recent__when"') == 10
    assert page.count("Waiting") == 10
    ScanJob.objects.filter(state="queued").delete()
    page = client.get("/").content.decode()
    assert re.search(r"1 <span class=\"level level--low level--plain\">", page)


def test_recent_jobs_cost_the_same_number_of_queries_however_many_they_are(client, django_assert_num_queries):
    make_result(make_report("127.66.0.1"))
    with django_assert_num_queries(3):  # the jobs, their levels, the workers
        client.get("/")
    for _ in range(5):
        make_result(make_report("127.66.0.1"))
    with django_assert_num_queries(3):
        client.get("/")


def test_a_form_from_another_site_is_refused():
    response = Client(enforce_csrf_checks=True).post("/", FORM)
    assert response.status_code == 403
    assert "This form can no longer be sent" in response.content.decode()
    assert policy_of(response) == POLICY
    assert not ScanJob.objects.exists()


def test_a_form_with_its_token_is_taken():
    client = Client(enforce_csrf_checks=True)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/").content.decode())
    assert client.post("/", {**FORM, "csrfmiddlewaretoken": token[1]}).status_code == 302


def test_a_form_that_is_too_large_says_so(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = client.post("/", {**FORM, "targets": "127.0.0.1\n" * 50}, content_type="application/x-www-form-urlencoded")
    assert response.status_code == 413
    assert "The form is too large" in response.content.decode()


def test_the_page_has_the_policy_and_is_not_stored(client):
    response = client.get("/")
    assert policy_of(response) == POLICY
    assert response["Cache-Control"] == "private, no-store"
