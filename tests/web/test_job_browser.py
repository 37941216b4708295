"""A job's page in a real browser: it fills in by itself and disturbs nobody who reads it; by keyboard, on paper."""

from __future__ import annotations

import pytest
from django.utils import timezone

from scans.core.risk import default_pack
from scans.core.types import Told
from scans.models import JobState, ScanJob, TargetState
from scans.services.audit import Origin
from scans.services.deletion import delete_job
from scans.services.egress import record_told
from tests.factories import make_address, make_failure, make_job, make_report, make_result, spread
from tests.web.browser import overflow, wait_for

pytestmark = pytest.mark.django_db(transaction=True)
TOP = "document.getElementById('t30').getBoundingClientRect().top"


def watched_job(*texts: str) -> ScanJob:
    return make_job(*texts, state=JobState.RUNNING, started_at=timezone.now())


def tab_to(page, selector: str) -> None:
    """Press Tab until the focus is there, as somebody without a mouse has to."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"the keyboard does not lead to {selector}")


def test_a_job_fills_in_and_leaves_the_reader_where_they_are(page):
    job = watched_job(*(f"127.66.0.{n}" for n in range(1, 41)))
    page.goto(job.get_absolute_url())
    page.click("#confirm-cancel summary")
    page.fill("[name=q]", "half-typed")
    page.focus("#t30")
    page.evaluate("document.getElementById('t30').parentElement.parentElement.dataset.mark = 'untouched'")
    top = page.evaluate(TOP)
    assert page.evaluate("window.scrollY") > 0

    make_result(make_report("127.66.0.2", make_address("127.66.0.2", open_ports=[22, 6379])), job=job)
    ScanJob.objects.filter(pk=job.pk).update(version=2)
    page.wait_for_selector("#r2 >> text=done")
    page.wait_for_selector("text=1 of 40 finished")
    assert page.text_content("#said") == "0 % finished"
    assert page.evaluate("document.activeElement.id") == "t30"
    assert page.evaluate("document.getElementById('r30').dataset.mark") == "untouched", "its row was not replaced"
    assert page.get_attribute("#confirm-cancel", "open") is not None
    assert page.input_value("[name=q]") == "half-typed"
    assert page.evaluate(TOP) == pytest.approx(top, abs=2), "what is read stays where it is, though rows above have grown"

    make_result(make_report("127.66.0.30", make_address("127.66.0.30", open_ports=[443])), job=job)
    page.wait_for_selector("#r30 >> text=done")
    assert page.evaluate("document.activeElement.id") == "t30", "the focus comes back into the row that was replaced"
    assert page.complaints == []


def test_the_end_is_shown_once_and_asked_about_no_more(page):
    job = watched_job("127.66.0.1", "127.66.0.2")
    page.goto(job.get_absolute_url())
    for text in ("127.66.0.1", "127.66.0.2"):
        make_result(make_report(text, make_address(text, open_ports=[22])), job=job)
    page.wait_for_selector("text=Scope and provenance")
    asked = len(page.requested)
    page.wait_for_timeout(2500)
    assert len(page.requested) == asked
    assert overflow(page) <= 0
    assert page.complaints == []


def test_a_job_in_which_nothing_happens_costs_empty_answers(page):
    job = make_job("127.66.0.1", "127.66.0.2")
    statuses = []
    page.on("response", lambda answer: statuses.append(answer.status) if "shown=" in answer.url else None)
    page.goto(job.get_absolute_url())
    wait_for(page, lambda: len(statuses) >= 2)
    assert set(statuses) == {204}


def test_an_open_page_of_a_deleted_job_says_so_and_stops_asking(page):
    job = watched_job("127.66.0.1")
    page.goto(job.get_absolute_url())
    delete_job(job, by=Origin(actor=None, via="test", address=None))
    page.wait_for_selector("main > .notice >> text=This job was deleted.")
    asked = len(page.requested)
    page.wait_for_timeout(2500)
    assert len(page.requested) == asked
    assert page.is_visible("text=0 of 1 finished"), "what was read stays"
    assert page.locator("text=This job was deleted.").count() == 1
    assert page.complaints == []


def test_a_job_is_cancelled_by_keyboard_alone(page):
    job = watched_job("127.66.0.1", "127.66.0.2")
    page.goto(job.get_absolute_url())
    tab_to(page, "#confirm-cancel > summary")
    page.keyboard.press("Enter")
    assert overflow(page) <= 0
    tab_to(page, "#confirm-cancel button")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Cancelled")
    assert ScanJob.objects.get().state == JobState.CANCELLED
    assert page.complaints == []


def test_results_are_filtered_paged_and_opened_by_keyboard_alone(page):
    job = watched_job(*(f"127.66.0.{n}" for n in range(1, 121)))
    seen = make_result(make_report("127.66.0.1", make_address(open_ports=[22])), job=job)
    spread(seen, job.targets.exclude(pk=seen.pk))
    make_result(make_report("127.66.0.77", make_address("127.66.0.77", open_ports=[6379])), job=job)
    page.goto(job.get_absolute_url())
    tab_to(page, "#level-high")
    page.keyboard.press("Enter")
    page.wait_for_url("**level=high#targets")
    assert page.text_content("tbody >> text=127.66.0.77")
    assert len(page.query_selector_all(".results tbody tr")) == 1
    page.go_back()
    tab_to(page, "[name=port]")
    page.keyboard.type("22")
    page.keyboard.press("Enter")
    page.wait_for_url("**port=22**")
    assert page.is_visible("text=119 of 120 match")
    page.focus("#t100")
    tab_to(page, "#page-next")
    page.keyboard.press("Enter")
    page.wait_for_url("**from=101**")
    assert page.is_visible("text=Rows 101 to 119 of 119"), "the filter stays on the second page"
    assert page.input_value("[name=port]") == "22"
    assert page.complaints == []


def test_the_failed_targets_are_scanned_again_and_the_old_job_deleted(page):
    job = watched_job("127.66.0.1", "shop.invalid")
    make_result(make_report("127.66.0.1"), job=job)
    make_result(make_failure("shop.invalid"), job=job)
    page.goto(job.get_absolute_url())
    page.click("text=Rerun the 1 without a full result")
    page.wait_for_selector("text=0 of 1 finished")
    assert ScanJob.objects.order_by("-id")[0].targets.get().target == "shop.invalid"
    page.goto(job.get_absolute_url())
    page.click("#confirm-delete summary")
    page.click("text=Delete now")
    page.wait_for_url(lambda url: job.token not in url)
    assert not ScanJob.objects.filter(pk=job.pk).exists()
    assert page.complaints == []


def test_without_javascript_everything_works_by_reloading(chromium, live_server):
    job = watched_job("127.66.0.1", "127.66.0.2")
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(job.get_absolute_url())
    make_result(make_report("127.66.0.1", make_address(open_ports=[22])), job=job)
    page.click("a:text-is('refresh')")
    page.wait_for_selector("text=1 of 2 finished")
    page.select_option("[name=state]", "open")
    page.click("text=Filter")
    page.wait_for_selector("text=1 of 2 match")
    page.click("#confirm-cancel summary")
    page.click("text=Cancel now")
    page.wait_for_selector("text=Scope and provenance")
    assert job.targets.get(target="127.66.0.2").state == TargetState.CANCELLED
    context.close()


def test_on_paper_nothing_is_to_be_pressed_and_every_fold_is_open(page):
    job = watched_job("127.66.0.1", "shop.invalid")
    make_result(make_report("127.66.0.1", make_address(open_ports=[22, 6379])), job=job)
    make_result(make_failure("shop.invalid"), job=job)
    page.goto(job.get_absolute_url())
    assert not page.is_visible("#typed pre, .print-only")
    page.emulate_media(media="print")
    assert not any(
        button.is_visible() for button in page.query_selector_all("button, .button, input, select, summary.button")
    )
    assert page.evaluate("document.querySelector('#typed pre').getBoundingClientRect().height") > 0
    head = page.inner_text(".print-only")
    assert all(part in head for part in (f"job {job.token}", f"rules {default_pack().version}", " · printed ")), head
    assert len(page.pdf(format="A4")) > 10_000


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_and_foreign_scripts_stay_inside(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    long = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.invalid"
    job = make_job(
        long, "https://shop.invalid/\u05d0\u05d1\u05d2/" + "x" * 900, label="\u202b" + "\u05d0" * 90, state=JobState.RUNNING
    )
    make_result(make_failure(long, "resolve_failed", f"Failed to resolve {'w' * 900}"), job=job)
    page.goto(job.get_absolute_url())
    assert overflow(page) <= 0
    job.targets.filter(state=TargetState.PENDING).delete()
    assert page.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_who_was_told_opens_in_a_table_that_stays_inside(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    job = make_job("127.66.0.1")
    make_result(make_report("127.66.0.1", make_address()), job=job)
    told = [Told("ip-api", "ip-api.com:80", 3), Told("rdap", f"{'r' * 60}.{'s' * 60}.invalid:443", 1)]
    record_told([(job.pk, told)], at=timezone.now())
    page.goto(job.get_absolute_url())
    page.click("text=Told about these targets")
    assert page.is_visible("text=ip-api.com:80")
    assert overflow(page) <= 0
    assert page.complaints == []
