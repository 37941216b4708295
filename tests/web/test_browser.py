"""A real browser on every page, from the form to the admin: it works, and the policy blocks nothing."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from scans.core.types import Facts
from scans.models import JobState, ScanJob, TargetState
from tests.factories import make_address, make_failure, make_report, make_result, make_source
from tests.web.browser import overflow, wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.ignore_template_errors,  # the stock admin relies on missing variables
]


def test_from_the_form_to_the_admin_without_one_complaint(page, live_server):
    page.goto("/")
    page.fill("#id_targets", "127.66.0.1\nhttps://127.66.0.1:9443/a/long/path/" + "x" * 200)
    assert not page.is_visible("#id_ports"), "the own list shows only when it is chosen"
    page.check("[name=profile][value=own]")
    page.fill("#id_ports", "22,80,443")
    page.click("text=Scan these targets")
    job = ScanJob.objects.get()
    page.wait_for_url(f"**/jobs/{job.token}")  # so the form passed the CSRF check under this referrer policy
    assert page.is_visible("text=waiting for a worker")
    assert overflow(page) <= 0

    job.state = JobState.RUNNING
    job.save()
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 6379])), job=job)
    page.wait_for_selector("text=1 of 2 finished")  # by htmx alone
    page.click("text='127.66.0.1'")
    page.wait_for_url("**/hosts/1")
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.is_visible("text=conn-refused")
    assert overflow(page) <= 0
    page.go_back()

    row = job.targets.get(state=TargetState.PENDING)
    make_result(make_report(row.target, make_address(open_ports=[443])), job=job)
    page.wait_for_selector("text=Scope and provenance")
    asked = len(page.requested)
    page.wait_for_timeout(2500)
    assert len(page.requested) == asked, "a finished job is not asked about again"
    assert overflow(page) <= 0

    User.objects.create_superuser("root", password="a-long-password-1")
    page.click("nav >> text=Admin")
    page.fill("[name=username]", "root")
    page.fill("[name=password]", "a-long-password-1")
    page.click("[type=submit]")
    for path in ("scanjob/", "targetresult/", f"targetresult/{row.pk}/change/", f"scanjob/{job.pk}/delete/"):
        page.goto(f"/admin/scans/{path}")
    assert page.is_visible("text=Are you sure")
    assert page.complaints == []
    assert all(url.startswith(live_server.url) for url in page.requested)


def test_nothing_that_was_said_makes_a_page_wider_than_the_window(page):
    long = "w" * 250
    seen = make_address(open_ports=[6379], sources=[make_source(facts=Facts(organisation=long, country=long, as_name=long))])
    wide = make_result(make_report(f"https://shop.invalid/{long}", seen))
    failed = make_result(make_failure("shop.invalid", "resolve_failed", f"Failed to resolve: {long}"))
    for row in (wide, failed):
        for url in (row.job.get_absolute_url(), row.get_absolute_url()):
            page.goto(url)
            assert overflow(page) <= 0, url


def test_bad_lines_are_marked_where_they_stand(page):
    page.goto("/")
    page.fill("#id_targets", "127.66.0.1\n127.1\n" + "y" * 300)
    page.click("text=Scan these targets")
    page.click("text=Line 2")
    assert page.url.endswith("#l2")
    assert page.is_visible("#l2 >> text=it has 2 parts")
    assert page.input_value("#id_targets").startswith("127.66.0.1\n127.1\n")
    assert overflow(page) <= 0
    assert [text for text in page.complaints if "422" not in text] == []


def test_without_javascript_everything_is_there(chromium, live_server):
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.fill("#id_targets", "127.66.0.1")
    page.click("text=Scan these targets")
    make_result(make_report("127.66.0.1", make_address(open_ports=[22])), job=ScanJob.objects.get())
    page.click("a:text-is('refresh')")
    page.click("text='127.66.0.1'")
    page.wait_for_selector("text=SSH reachable")
    context.close()


def test_error_pages_look_like_the_others(page):
    page.goto("/no/such/page")
    assert page.is_visible("text=There is nothing at this address")
    assert overflow(page) <= 0
    assert [text for text in page.complaints if "404" not in text] == []


def test_a_violation_would_be_noticed(page):
    page.goto("/")
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    wait_for(page, lambda: any("CSP style-src" in text for text in page.complaints))
