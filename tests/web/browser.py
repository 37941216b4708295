"""How the tests drive the browser, and what they ask of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE

PATIENCE_MS = PATIENCE * 1000
CHROMIUM = Path("/usr/bin/chromium")
QUIET = [  # otherwise the browser looks up its maker's hosts at every start
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", e => console.error("CSP " + e.violatedDirective + " " + e.blockedURI));
"""


@contextmanager
def started_chromium() -> Iterator[Any]:
    """The browser, whose pages wait long for what they wait for; where there is none, the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET, timeout=PATIENCE_MS)
        _make_patient(browser)
        yield browser
        browser.close()


def _make_patient(browser: Any) -> None:
    opened = browser.new_context

    def new_context(**options: Any) -> Any:
        context = opened(**options)
        context.set_default_timeout(PATIENCE_MS)
        return context

    browser.new_context = new_context


def watched(page: Any) -> Any:
    """The page, keeping what the browser complains about in `complaints` and what it asks for in `requested`."""
    page.complaints = []
    page.requested = []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda sent: page.requested.append(sent.url))
    page.add_init_script(REPORT_VIOLATIONS)
    return page


def wait_for(page: Any, holds: Callable[[], object]) -> None:
    """Until something is so that the page itself does not show. The browser goes on meanwhile."""
    for _ in range(int(PATIENCE * 10)):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come to pass")


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))
