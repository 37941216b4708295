"""Every page of every_page.py, in a real browser, light and dark, on a phone and on a desk: it keeps what all pages promise.

No violation of the policy, no error in the console, nothing that axe finds, no request elsewhere, no sideways scrolling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from tests.web.browser import overflow, watched
from tests.web.every_page import PAGES, Page, World, is_no_page, make_world
from tests.web.extreme_pages import EXTREME_PAGES, make_extremes, try_out, unfold
from tests.web.hands import Keyboard

axe_core = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.web.failing_urls"),
    pytest.mark.ignore_template_errors,  # the stock admin relies on missing variables
]
# Without preload, by which axe would ask for every style sheet a second time, and for imported ones at wrong addresses.
AXE = {"resultTypes": ["violations"], "preload": False}
AXE_SCRIPT = Path(axe_core.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
PHONE, DESK = {"width": 390, "height": 900}, {"width": 1280, "height": 900}
# What is on a page depends on the width; the scheme adds nothing but colours. So each width has all rules once.
COLOURS_ONLY = {"runOnly": ["color-contrast", "link-in-text-block"]}
Look = tuple[str, dict[str, int], dict[str, Any]]
LOOKS: Sequence[Look] = [
    ("light", PHONE, {}),
    ("dark", PHONE, COLOURS_ONLY),
    ("dark", DESK, {}),
    ("light", DESK, COLOURS_ONLY),
]
UNFOLDED = [LOOKS[0], LOOKS[2]]  # what is in a closed fold is not there for axe
NO_COLOURS = {"rules": {"color-contrast": {"enabled": False}}}
LARGE: Sequence[Look] = [("light", PHONE, NO_COLOURS), ("dark", DESK, NO_COLOURS)]
AMOUNT = re.compile(r"\d+(?:\.\d+)?(?: (?:ms|s|min|h|targets/s|targets/min)\b)?")  # what changes from one look to the next
MADE_BY_SCRIPT = {"Copy"}  # a button that nothing could answer without one
EMPTY = ("/", "/history", "/dashboard")
MAIN = ("submit", "job, running", "job, complete", "host, done", "history", "dashboard", "sources", "keys", "waivers")
MAIN_PAGES = [page for page in PAGES if page.name in MAIN]
WALKED = (*MAIN, "login", "API docs", "admin", "admin, scans/scanjob", "admin, a job", "admin, delete a job")
WALKED_PAGES = [replace(page, act=try_out) if page.name == "API docs" else page for page in PAGES if page.name in WALKED]


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def session(world: World) -> list[dict[str, str]]:
    return cookies_of(world.staff)


def cookies_of(user: User) -> list[dict[str, str]]:
    """What makes a browser theirs."""
    client = Client()
    client.force_login(user)
    return [{"name": "sessionid", "value": client.cookies["sessionid"].value}]


@pytest.mark.timeout(3600)  # some fifty pages, each looked at four times, maybe on a very slow machine
@pytest.mark.parametrize("is_admin", [False, True], ids=["site", "admin"])
def test_every_page_keeps_what_all_pages_promise(chromium, live_server, world, session, is_admin):
    context = chromium.new_context(base_url=live_server.url, reduced_motion="reduce")
    context.add_cookies([{**cookie, "url": live_server.url} for cookie in session])
    browser_page = watched(context.new_page())
    found = [
        f"{page.name}: {fault}"
        for page in PAGES
        if page.name.startswith("admin") == is_admin
        for fault in faults(browser_page, page, page.path(world), origin=live_server.url)
    ]
    context.close()
    assert not found, "\n".join(found)


def faults(browser: Any, page: Page, path: str, *, origin: str, looks: Sequence[Look] = LOOKS) -> Iterator[str]:
    """What is wrong with one page. Opened once, as on a phone, it is looked at in every look, then unfolded."""
    browser.complaints.clear()
    browser.requested.clear()
    browser.set_viewport_size(PHONE)
    response = browser.goto(path)
    if page.act is not None:
        page.act(browser)
    elif response.status != page.status:
        yield f"status {response.status}"
    browser.evaluate(AXE_SCRIPT)
    yield from _in_looks(browser, looks)
    if browser.query_selector("details:not([open])"):
        unfold(browser)
        yield from (f"unfolded, {fault}" for fault in _in_looks(browser, UNFOLDED))
    about_itself = f"Failed to load resource: the server responded with a status of {page.status} "
    yield from (text for text in browser.complaints if page.status == 200 or not text.startswith(about_itself))
    yield from (url for url in browser.requested if not url.startswith(f"{origin}/"))


def _in_looks(browser: Any, looks: Sequence[Look]) -> Iterator[str]:
    for scheme, size, rules in looks:
        browser.emulate_media(color_scheme=scheme)
        browser.set_viewport_size(size)
        browser.evaluate(SETTLED)
        for fault in (*_too_wide(browser), *_found_by_axe(browser, rules)):
            yield f"{scheme}, {size['width']} px: {fault}"


def _too_wide(browser: Any) -> Iterator[str]:
    if overflow(browser) > 0:
        yield f"{overflow(browser)} px wider than the window"


def _found_by_axe(browser: Any, rules: dict[str, Any]) -> Iterator[str]:
    for violation in browser.evaluate("options => axe.run(options)", {**AXE, **rules})["violations"]:
        nodes = "; ".join(node["html"][:150] for node in violation["nodes"][:3])
        yield f"{violation['id']} ({len(violation['nodes'])}): {nodes}"


@pytest.mark.timeout(1800)
def test_pages_with_nothing_to_show_keep_it_too(chromium, live_server):
    """No job, and no worker."""
    context = chromium.new_context(base_url=live_server.url, reduced_motion="reduce")
    browser_page = watched(context.new_page())
    found = []
    for path in EMPTY:
        page = Page(name=path, path=str)
        found += [f"{path}: {fault}" for fault in faults(browser_page, page, path, origin=live_server.url)]
        found += [] if browser_page.is_visible('.banner:has-text("No worker is running")') else [f"{path}: no banner"]
    context.close()
    assert not found, "\n".join(found)


@pytest.mark.timeout(1800)
def test_pages_at_their_worst_keep_it_too(chromium, live_server):
    """Every port, a thousand targets, and text that nobody would believe; all folds are open from the start."""
    extremes = make_extremes()
    context = chromium.new_context(base_url=live_server.url, reduced_motion="reduce")
    context.add_cookies([{**cookie, "url": live_server.url} for cookie in cookies_of(extremes.staff)])
    browser_page = watched(context.new_page())
    found = []
    for extreme in EXTREME_PAGES:
        page = Page(name=extreme.name, path=str, act=extreme.act)
        looks = LARGE if extreme.is_large else UNFOLDED
        seen = faults(browser_page, page, extreme.path(extremes), origin=live_server.url, looks=looks)
        found += [f"{page.name}: {fault}" for fault in seen]
    context.close()
    assert not found, "\n".join(found)


@pytest.mark.timeout(1800)
def test_the_keyboard_leads_through_every_main_page_to_its_end_and_the_focus_is_seen_at_each_stop(
    chromium, live_server, world, session
):
    context = chromium.new_context(base_url=live_server.url, viewport=PHONE, reduced_motion="reduce")
    context.add_cookies([{**cookie, "url": live_server.url} for cookie in session])
    browser_page, found = context.new_page(), []
    for page in WALKED_PAGES:
        browser_page.goto(page.path(world))
        if page.act is not None:
            page.act(browser_page)
            browser_page.evaluate("document.activeElement.blur()")
        found += [f"{page.name}: {fault}" for fault in Keyboard(browser_page).walk()]
    context.close()
    assert not found, "\n".join(found)
    assert len(WALKED_PAGES) == len(WALKED)


def test_every_route_is_a_page_of_the_table_or_a_known_exception(world):
    looked_at = {resolve(page.path(world).partition("?")[0]).route for page in PAGES if page.status not in (404,)}
    unknown = [route for route in routes(get_resolver("ipscanner.urls")) if route not in looked_at and not is_no_page(route)]
    assert unknown == []


def routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    """Every route below a resolver, as `resolve()` names it."""
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from routes(pattern, route)


def test_the_main_pages_say_no_less_without_javascript(chromium, live_server, world, session):
    said: dict[bool, dict[str, str]] = {}
    for has_script in (True, False):
        context = chromium.new_context(base_url=live_server.url, java_script_enabled=has_script)
        context.add_cookies([{**cookie, "url": live_server.url} for cookie in session])
        browser_page = context.new_page()
        said[has_script] = {}
        for page in MAIN_PAGES:
            browser_page.goto(page.path(world))
            said[has_script][page.name] = AMOUNT.sub("0", browser_page.inner_text("main"))
        context.close()
    for name, with_script in said[True].items():
        without = said[False][name].splitlines()
        lines = [line for line in with_script.splitlines() if line not in MADE_BY_SCRIPT]
        # A line may go on without a script, by what to do in its place.
        assert [line for line in lines if not any(other.startswith(line) for other in without)] == [], name
    assert len(MAIN_PAGES) == len(MAIN)
    assert all(said[True].values())
