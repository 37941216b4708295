"""A real browser for the tests of pages: `chromium`, and `page`, which collects what the browser complains about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.browser import CHROMIUM, PATIENCE_MS, QUIET, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page
    from pytest_django.live_server_helper import LiveServer


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Playwright runs an event loop in this thread, in which Django would refuse to touch the database."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=PATIENCE_MS)
        _make_patient(browser)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def _make_patient(browser: Browser) -> None:
    """What its pages wait for may take long."""
    opened = browser.new_context

    def new_context(**options: Any) -> BrowserContext:
        context = opened(**options)
        context.set_default_timeout(PATIENCE_MS)
        return context

    browser.new_context = new_context


@pytest.fixture
def page(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    """A page of a phone's width that collects what the browser complains about, and what it asks the server."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 390, "height": 800})
    yield watched(context.new_page())
    context.close()
