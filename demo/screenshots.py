"""`make screenshots`: the pages that matter, of a demo of its own, in docs/screenshots, light and dark.

What the demo shows is always the same, but its times and durations are not: pictures are taken anew only when the
pages have changed. A picture that grows beyond MAX_BYTES or a page that is not there fails the run, after the others.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from demo.program import ROOT, STOP_SECONDS
from demo.scenery import SITE, UNRESOLVED, WEB

Scheme = Literal["light", "dark"]
DIRECTORY = ROOT / "docs" / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
QUIET = (  # otherwise the browser looks up its maker's hosts at every start
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
PICTURES = {"submit": "Form", "job": "Report", "host": "Host", "dashboard": "Dashboard"}  # file: what the demo calls it
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SIZE: ViewportSize = {"width": 1280, "height": 960}
MAX_BYTES = 250_000
PAGE_MS = 15_000
TYPED = f"{SITE}.10-13\nhttps://{WEB}:8443/\n{UNRESOLVED}"
PREVIEW_MS = 1500  # what the targets come to is shown a moment after they were typed


def main() -> int:
    """Take them all; returns how many could not be taken."""
    if not CHROMIUM.exists():
        print(f"{CHROMIUM} is missing: apt install chromium", file=sys.stderr)
        return 1
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with _demo() as pages, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        problems = [
            problem
            for file, page in PICTURES.items()
            for scheme in SCHEMES
            if (problem := _take(browser, pages[page], DIRECTORY / f"{file}-{scheme}.png", scheme))
        ]
        browser.close()
    for problem in problems:
        print(problem, file=sys.stderr)
    return len(problems)


def _take(browser: Browser, url: str, file: Path, scheme: Scheme) -> str:
    """One picture; returns what is wrong with it, if anything."""
    context = browser.new_context(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce", device_scale_factor=1)
    try:
        page = context.new_page()
        page.set_default_timeout(PAGE_MS)
        reply = page.goto(url, wait_until="load")
        if reply is None or reply.status != 200:
            return f"{file.name}: {url} answered {reply.status if reply else 'nothing'}"
        if page.locator("#id_targets").count():  # an empty form shows little; nothing is submitted
            page.fill("#id_targets", TYPED)
            page.wait_for_timeout(PREVIEW_MS)
        page.evaluate("document.activeElement && document.activeElement.blur()")
        page.screenshot(path=file, animations="disabled", caret="hide")
    finally:
        context.close()
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size // 1000} KB", flush=True)
    return f"{file.name} has {size} bytes: at most {MAX_BYTES}" if size > MAX_BYTES else ""


@contextmanager
def _demo() -> Iterator[dict[str, str]]:
    """A demo on a free port; yields its pages by the names that it prints."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port)}
    demo = subprocess.Popen([sys.executable, "-m", "demo"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        yield _pages(demo)
    finally:
        demo.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            demo.communicate(timeout=2 * STOP_SECONDS)


def _pages(demo: subprocess.Popen[str]) -> dict[str, str]:
    """What it prints until it is ready. The demo itself limits how long that takes."""
    pages: dict[str, str] = {}
    for line in demo.stdout or ():
        if found := re.fullmatch(r"\s+(.+?)\s+(http://\S+)\n", line):
            pages[found[1]] = found[2]
        if "Ctrl-C" in line:
            return pages
    raise SystemExit("The demo did not start.")


if __name__ == "__main__":
    sys.exit(main())
