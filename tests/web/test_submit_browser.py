"""The submit page in a real browser: the preview while typing, a file, the keyboard alone, and no script at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scans.models import ScanJob
from tests.web.browser import overflow, wait_for, watched

pytestmark = pytest.mark.django_db(transaction=True)
GOOD_AND_BAD = "127.66.0.1\n127.1\n127.66.0.2\n"
# What a screen reader is told: every text that the live region held, in order.
KEEP_ANNOUNCED = """
window.announced = [];
document.addEventListener("DOMContentLoaded", () => {
  const region = document.querySelector("[aria-live]");
  new MutationObserver(() => window.announced.push(region.innerText)).observe(region, {childList: true, subtree: true});
});
"""


@pytest.fixture
def scriptless(chromium: Any, live_server: Any) -> Iterator[Any]:
    """A page without JavaScript."""
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    yield watched(context.new_page())
    context.close()


def press_until(page: Any, selector: str, *, key: str = "Tab", most: int = 30) -> int:
    """Press a key until the selector has the focus; how often it took."""
    for pressed in range(1, most + 1):
        page.keyboard.press(key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return pressed
    raise AssertionError(f"{selector} is not reached by {most} times {key}")


def test_typing_shows_the_sum_marks_the_bad_line_and_the_good_ones_can_be_scanned(page, live_server):
    page.goto("/")
    page.locator("#id_targets").press_sequentially(GOOD_AND_BAD)
    page.wait_for_selector("#l2.lines__bad >> text=it has 2 parts")
    assert "from 2 lines, 1 line not counted" in page.inner_text("#expansion-sum")
    assert page.inner_text("#go") == "Scan corrected list"
    assert page.evaluate("document.activeElement.id") == "id_targets", "typing goes on where it was"
    assert not ScanJob.objects.exists()
    page.click("text=Scan only the 2 good lines")
    page.wait_for_url("**/jobs/*")
    job = ScanJob.objects.get()
    assert (job.total_targets, [left["text"] for left in job.rejected]) == (2, ["127.1"])
    assert page.complaints == []
    assert all(url.startswith(live_server.url) for url in page.requested)


def test_the_sum_follows_the_ports(page):
    page.goto("/")
    page.fill("#id_targets", "127.66.0.0/30")
    page.wait_for_selector("#expansion-sum >> text=96")
    page.check("[name=profile][value=all]")
    page.wait_for_selector("#expansion-sum >> text=262,140")
    page.check("[name=profile][value=own]")
    page.wait_for_selector("#expansion-sum >> text=Write the ports")
    page.fill("#id_ports", "22,80")
    page.wait_for_selector("#expansion-sum >> text=8 probes")
    assert page.inner_text("#go") == "Scan 4 targets"
    assert page.complaints == []


def test_a_pause_in_typing_asks_once_and_an_older_question_is_given_up(page):
    page.goto("/")
    page.locator("#id_targets").press_sequentially("127.66.0.1", delay=10)
    page.wait_for_selector("#go >> text=Scan 1 target")
    assert len([url for url in page.requested if url.endswith("/preview")]) == 1
    aborted = []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    held = []
    page.route("**/preview", lambda route: route.continue_() if held else held.append(route))  # the first never gets through
    page.fill("#id_targets", "127.66.0.0/30")
    wait_for(page, lambda: held)
    page.fill("#id_targets", "127.66.0.0/31")
    page.wait_for_selector("#go >> text=Scan 2 targets")
    assert [url.rsplit("/", 1)[1] for url in aborted] == ["preview"]


def test_only_the_sum_is_announced(page):
    page.add_init_script(KEEP_ANNOUNCED)
    page.goto("/")
    assert page.locator("[aria-live]").count() == 1
    page.fill("#id_targets", GOOD_AND_BAD)
    page.wait_for_selector("#l2")
    announced = " ".join(page.evaluate("window.announced")[-1].split())
    assert announced.startswith("2 targets from 2 lines, 1 line not counted × 24 ports = 48 probes")
    assert "127.1" not in announced


def test_the_text_of_a_chosen_file_lands_in_the_text_area(page, tmp_path):
    listed = tmp_path / "hosts.txt"
    listed.write_text("127.66.0.2\n127.66.0.3\n")
    page.goto("/")
    page.fill("#id_targets", "127.66.0.1")
    page.set_input_files("#id_upload", listed)
    page.wait_for_selector("#go >> text=Scan 3 targets")
    assert page.input_value("#id_targets") == "127.66.0.1\n127.66.0.2\n127.66.0.3\n"
    assert page.input_value("#id_upload") == "", "or the next pause in typing would add it again"
    page.focus("#id_targets")
    page.keyboard.press("Control+End")
    page.keyboard.type("127.66.0.4")
    page.wait_for_selector("#go >> text=Scan 4 targets")
    page.click("#go")
    page.wait_for_url("**/jobs/*")
    assert ScanJob.objects.get().total_targets == 4
    assert page.complaints == []


def test_a_file_that_is_no_text_says_so_at_once_and_what_was_typed_stays(page, tmp_path):
    image = tmp_path / "photo.txt"
    image.write_bytes(b"\x89PNG\r\n\0\0")
    page.goto("/")
    page.fill("#id_targets", "127.66.0.1")
    page.set_input_files("#id_upload", image)
    page.wait_for_selector("#expansion-sum >> text=photo.txt is not a text file: line 2")
    assert page.input_value("#id_targets") == "127.66.0.1"


def test_the_keyboard_alone_is_enough(page):
    page.goto("/")
    press_until(page, "#id_targets")
    page.keyboard.type("127.66.0.1\n127.1")
    press_until(page, "#id_upload", most=1)
    press_until(page, "[name=profile]", most=1)
    page.keyboard.press("ArrowDown")
    assert page.is_checked("[value=top100]")
    press_until(page, "[name=ai]", most=1)
    press_until(page, "summary", most=1)
    page.keyboard.press("Enter")
    press_until(page, "#id_label", most=1)
    page.keyboard.type("by hand")
    press_until(page, "#id_tags", most=1)
    page.wait_for_selector("#go-skip button")
    press_until(page, "#go", most=1)
    page.keyboard.press("Enter")
    page.wait_for_selector("#errors")
    assert page.evaluate("document.activeElement.id") == "errors", "the reader is where the reasons are"
    press_until(page, "#errors a", most=1)
    page.keyboard.press("Enter")
    page.wait_for_url("**#l2")
    press_until(page, "#id_targets", key="Shift+Tab", most=8)
    page.keyboard.press("Control+End")
    for _ in range(len("127.1")):
        page.keyboard.press("Backspace")
    page.keyboard.type("127.66.0.2")
    page.wait_for_selector("#go >> text=Scan 2 targets")
    press_until(page, "#go")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    job = ScanJob.objects.get()
    assert (job.total_targets, job.label) == (2, "by hand")


def test_without_javascript_a_button_checks_the_input_and_a_file(scriptless, tmp_path):
    listed = tmp_path / "hosts.txt"
    listed.write_text("127.1\n127.66.0.3\n")
    scriptless.goto("/")
    scriptless.fill("#id_targets", "127.66.0.1")
    scriptless.set_input_files("#id_upload", listed)
    scriptless.click("text=Check the input")
    scriptless.wait_for_selector("#l2.lines__bad >> text=it has 2 parts")
    assert scriptless.input_value("#id_targets") == "127.66.0.1\n127.1\n127.66.0.3\n"
    assert not ScanJob.objects.exists()
    scriptless.click("#go")
    scriptless.wait_for_selector("#errors:focus >> text=1 of 3 lines cannot be scanned")
    scriptless.click("text=Scan only the 2 good lines")
    scriptless.wait_for_url("**/jobs/*")
    assert ScanJob.objects.get().total_targets == 2
    assert [text for text in scriptless.complaints if "422" not in text] == []


def test_with_javascript_there_is_no_button_to_check(page):
    page.goto("/")
    assert not page.is_visible("text=Check the input")


def test_a_link_with_everything_filled_in_works_and_fits_a_phone(page):
    long = "w" * 63
    page.goto(
        f"/?targets=127.66.0.0/29%0A127.1%0Ahttps://{long}.invalid/{long * 4}%0A10.0.0.1&profile=exposure&label={long}"
    )
    assert page.inner_text("#go") == "Scan corrected list"
    assert page.is_visible("text=private: 10.0.0.1 is a private address")
    assert page.is_checked("[value=exposure]")
    assert overflow(page) <= 0
    assert page.complaints == []
