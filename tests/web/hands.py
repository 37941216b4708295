"""Two ways to use a page, by the same words: by keyboard alone, and with a mouse but without JavaScript."""

from __future__ import annotations

from typing import Any

MOST_STOPS = 150
# Whether the focus is on an element, and what is wrong with where it is: it has to be seen, and to be within the window.
# A day has a button of the browser's own, with a frame of the browser's own: then the field has the focus within.
LOOK_AT_FOCUS = """goal => {
  const at = document.activeElement;
  if (!at || at === document.body || at === document.documentElement) return { isNowhere: true, isThere: false, fault: "" };
  const { outlineStyle, outlineWidth } = getComputedStyle(at), box = at.getBoundingClientRect();
  const isShown = !at.matches(":focus") || (outlineStyle !== "none" && parseFloat(outlineWidth) >= 1);
  const isInside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const why = isShown ? (isInside ? "" : "out of the window: ") : "not to be seen: ";
  return { isNowhere: false, isThere: at === goal, fault: why && why + at.outerHTML.slice(0, 200) };
}"""


class Keyboard:
    """Tab until the focus is there, then type. Nothing is clicked or focused otherwise, and each stop shows the focus."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def go(self, selector: str) -> None:
        """Press what leads to another page."""
        self.reach(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def unfold(self, selector: str) -> None:
        self.reach(selector)
        self.page.keyboard.press("Enter")

    def tick(self, selector: str) -> None:
        self.reach(selector)
        self.page.keyboard.press("Space")

    def write(self, selector: str, text: str) -> None:
        self.reach(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def choose(self, selector: str, beginning: str) -> None:
        """The option that begins so; a list jumps there as one types."""
        self.reach(selector)
        self.page.keyboard.type(beginning)
        chosen = self.page.locator(selector).evaluate("list => list.selectedOptions[0].text")
        assert chosen.startswith(beginning), chosen

    def walk(self, most: int = 400) -> list[str]:
        """From stop to stop until the page ends; what is wrong on the way."""
        faults = []
        for stop in range(most):
            self.page.keyboard.press("Tab")
            seen = self.page.evaluate(LOOK_AT_FOCUS, None)
            faults += [f"the focus is {seen['fault']}"] if seen["fault"] else []
            if seen["isNowhere"]:
                return faults if stop else ["there is nothing to reach"]
        return [*faults, f"no end after {most} stops"]

    def reach(self, selector: str) -> None:
        goal = self.page.locator(selector).first.element_handle()
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            stop = self.page.evaluate(LOOK_AT_FOCUS, goal)
            assert not stop["fault"], f"{self.page.url}: the focus is {stop['fault']}"
            if stop["isThere"]:
                return
        raise AssertionError(f"{self.page.url}: the keyboard does not lead to {selector}")


class Mouse:
    """What people with a mouse do."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def go(self, selector: str) -> None:
        """Press what leads to another page."""
        with self.page.expect_navigation():
            self.page.click(selector)

    def unfold(self, selector: str) -> None:
        self.page.click(selector)

    def tick(self, selector: str) -> None:
        self.page.check(selector)

    def write(self, selector: str, text: str) -> None:
        self.page.fill(selector, text)

    def choose(self, selector: str, beginning: str) -> None:
        """The option that begins so."""
        options = self.page.locator(f"{selector} option").all_text_contents()
        self.page.select_option(selector, label=next(text for text in options if text.startswith(beginning)))
