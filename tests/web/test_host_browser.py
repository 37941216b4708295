"""A host's page in a real browser: by keyboard alone, copied, printed, unfolded, and filled in by a refresh."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scans.core.types import Facts, Summary, SummaryState, Technology
from scans.models import TargetState
from tests.factories import (
    CAREFUL_PAGE,
    lease,
    make_address,
    make_job,
    make_report,
    make_result,
    make_service,
    make_services,
    make_source,
)
from tests.web.browser import overflow, watched

pytestmark = pytest.mark.django_db(transaction=True)
SAID = Summary(
    state=SummaryState.WRITTEN,
    text="Redis can be reached from anywhere.",
    recommendation="Close 6379.",
    deterministic_text="High: Redis on 6379.",
    model="gemini-3.5-flash",
    citations=("EXP-009",),
)


@pytest.fixture
def row():
    """A host with something of everything."""
    make_result(make_report("127.66.0.1", make_address(open_ports=[22])))
    services = [service for service in make_services() if service.port in (22, 443, 6379)]
    return make_result(make_report("127.66.0.1", make_address(services=services, filtered=[25]), words=SAID))


def tab_to(page: Any, matching: str, *, within: int = 80) -> None:
    """Press Tab until the focus is on an element that matches."""
    for _ in range(within):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", matching):
            return
    raise AssertionError(f"{matching} cannot be reached by Tab")


def test_the_page_is_read_by_keyboard_alone(page, row):
    page.goto(row.get_absolute_url())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the skip link
    tab_to(page, ".verdict summary")
    page.keyboard.press("Enter")
    assert page.is_visible(".score >> text=EXP-009")
    tab_to(page, "a[href='#svc-1-6379']")
    page.keyboard.press("Enter")
    assert page.url.endswith("#svc-1-6379")
    for fold in page.query_selector_all("details:not([open]) > summary"):
        fold.focus()
        page.keyboard.press("Enter")
    assert page.is_visible(".every >> text=conn-refused")
    assert page.is_visible(".services >> text=max-age=31536000")
    tab_to(page, "pre.evidence")  # a region that scrolls can be scrolled by the arrow keys
    assert page.complaints == []


def test_a_citation_leads_to_the_fact_that_the_model_saw(page, row):
    page.goto(row.get_absolute_url())
    assert not page.is_visible("#fact-F1")
    page.click(".model a.ref")
    assert page.is_visible("#fact-F1"), "its fold opens"
    page.click(".model a[href='#f-EXP-009']")
    assert page.url.endswith("#f-EXP-009")


def test_a_command_is_copied_as_it_stands(chromium, live_server, row):
    context = chromium.new_context(base_url=live_server.url, permissions=["clipboard-read", "clipboard-write"])
    page = watched(context.new_page())
    page.goto(row.get_absolute_url())
    page.click("[aria-label='Copy the nmap command']")
    page.wait_for_selector("button:has-text('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == "nmap -sT -Pn -sV -p 22,443,6379 127.66.0.1"
    assert page.inner_text("[data-copy-status]") == "Copied"
    assert page.complaints == []
    context.close()


def test_where_nothing_may_be_copied_the_command_is_selected(page, row):
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(row.get_absolute_url())
    page.click("[aria-label='Copy the curl command']")
    page.wait_for_selector("button:has-text('Press Ctrl+C')")
    assert page.evaluate("String(getSelection())") == "curl -sSikg https://127.66.0.1/"


def test_without_javascript_the_commands_are_there_and_no_dead_button_is(chromium, live_server, row):
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(row.get_absolute_url())
    assert page.is_visible("text=nmap -sT")
    page.click("text=TLS 1.3, certificate self-signed")
    assert page.is_visible(".services >> text=signed by itself")
    assert not page.is_visible("text='Copy'")
    page.click("text=One by one")
    assert page.is_visible(".every >> text=conn-refused")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_every_fold_is_open_and_there_is_nothing_to_press(chromium, live_server, row, scheme):
    context = chromium.new_context(base_url=live_server.url, color_scheme=scheme, viewport={"width": 718, "height": 1000})
    page = watched(context.new_page())
    page.goto(row.get_absolute_url())
    assert not page.is_visible(".print-only")
    page.emulate_media(media="print")
    head = page.inner_text(".print-only")
    assert all(part in head for part in (row.job.token, f"rules {row.verdict['ruleset']}", "evidence SHA-256"))
    for fold in (
        "How the score adds up",
        "TLS 1.3, certificate",
        "its CPE name",
        "One by one",
        "stored evidence",
        "facts it saw",
    ):
        body = page.locator("details", has_text=fold).locator(".fold__body")
        assert body.bounding_box()["height"] > 40, fold
    assert page.is_visible(".every >> text=conn-refused")
    for pressed in ("button", ".button", ".topbar", "#copy-h"):
        assert not any(part.is_visible() for part in page.query_selector_all(pressed)), pressed
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert overflow(page) <= 0
    assert page.pdf(format="A4").startswith(b"%PDF-")
    assert page.complaints == []
    context.close()


def test_a_waiting_page_fills_in_by_itself_and_then_asks_no_more(page):
    job = make_job("127.66.0.1")
    page.goto(job.targets.get().get_absolute_url())
    assert page.is_visible("text=waits for a worker")
    lease(job.targets.all())
    page.wait_for_selector("text=A worker has this target in work")
    row = make_result(make_report("127.66.0.1", make_address(open_ports=[22])), job=job, state=TargetState.SCANNED)
    page.wait_for_selector("text=SSH reachable")
    assert page.is_visible("[aria-label='Copy the nmap command']"), "the buttons of a report that came by a refresh work too"
    page.click("text=One by one")
    words = {**row.summary, "state": "written", "text": "SSH is open.", "model": "gemini-3.5-flash"}
    job.targets.update(state=TargetState.DONE, finished_at=row.scanned_at, summary=words)
    page.wait_for_selector("text=Written by a model")
    assert page.is_visible(".every >> text=conn-refused"), "what was unfolded stays so"
    asked = len(page.requested)
    page.wait_for_timeout(2500)
    assert len(page.requested) == asked
    assert page.complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_whatever_was_said_the_page_is_no_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    long, hostile = "w" * 250, "<svg/onload=alert(1)>שלום"
    facts = Facts(organisation=long, isp=hostile, city=hostile, as_name=long)
    made = (Technology(name=long, version=long, sign="page"), Technology(name="PHP", version=None, sign="cookie PHPSESSID"))
    said = replace(CAREFUL_PAGE, title=long, server=long, path=f"/{long}", technologies=made, favicon_hash=-(2**31))
    web = make_service(443, "HTTP", product=long, version=hostile, http=said)
    ssh = make_service(22, "SSH", cpe=long, banner=long, evidence=long, access=long)
    sources = [make_source(facts=facts)]
    seen = [make_address(f"127.66.0.{n}", services=[web, ssh], sources=sources) for n in (1, 2)]
    for _ in range(2):
        row = make_result(make_report(f"https://shop.invalid/{long}/'$(id)'{hostile}", *seen))
    all_ports = make_result(make_report("127.66.0.3", make_address("127.66.0.3", open_ports=range(1, 65_536, 2), ports=())))
    for each in (row, all_ports):
        page.goto(each.get_absolute_url())
        for fold in page.query_selector_all("summary"):
            fold.click()
        assert overflow(page) <= 0
    assert page.complaints == []


def test_what_if_is_told_in_place_at_each_choice(page, row):
    page.goto(row.get_absolute_url())
    page.click("text=How the score adds up")
    page.check("[name=closed][value='6379']")
    page.wait_for_selector("#what-if-then >> text=with 6379 closed")
    page.check("[name=closed][value='22']")
    page.wait_for_selector("#what-if-then >> text=with 22, 6379 closed")
    assert page.is_visible(".score >> text=EXP-009"), "the fold above stays open: nothing else was replaced"
    assert page.evaluate("document.activeElement.value") == "22"
    kept = page.evaluate("Object.values(localStorage).concat(Object.values(sessionStorage)).join()")
    assert "6379" not in kept, "no copy of the page"
    page.uncheck("[name=closed][value='22']")
    page.uncheck("[name=closed][value='6379']")
    page.wait_for_selector("#what-if-then >> text=Choose one or more ports")
    assert page.complaints == []


def test_what_if_works_by_its_button_without_a_script(chromium, live_server, row):
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    plain = context.new_page()
    plain.goto(row.get_absolute_url())
    plain.check("[name=closed][value='6379']")
    plain.click(".what-if button")
    assert plain.url.endswith("?closed=6379#what-if")
    assert "with 6379 closed" in plain.inner_text("#what-if-then")
    context.close()
