"""A real browser for the tests of pages: `chromium`, and `page`, which collects what the browser complains about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.web.browser import started_chromium, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django.live_server_helper import LiveServer


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Playwright runs an event loop in this thread, in which Django would refuse to touch the database."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with started_chromium() as browser:
        yield browser
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    """A page of a phone's width that collects what the browser complains about, and what it asks the server."""
    context = chromium.new_context(base_url=live_server.url, viewport={"width": 390, "height": 800})
    yield watched(context.new_page())
    context.close()
