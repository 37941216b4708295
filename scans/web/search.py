"""The words of the history's search box: how a target begins, then what was found there.

shop.example.org product:nginx 1.2 cert:*.example.org     a value lasts until the next word with a colon
product:"Server: x"                                       or stands in quotes
"""

from __future__ import annotations

import re

from scans.models import TermKind
from scans.selectors import may_be_found

# Not what begins a URL, nor an IPv6 address of letters.
_QUALIFIER = re.compile(r'(?:^|(?<=\s))(?![a-f]{1,4}:)([A-Za-z]+):(?!//)\s*(?:"([^"]*)"(?=\s|$))?', re.ASCII)
_WITHOUT_SPACE = (TermKind.SERVICE, TermKind.CERT)
MAX_TEXT_CHARS = 200
ALLOWED = "service:, product:, cert: and finding:"


class SearchError(ValueError):
    """A text that cannot be meant; the message says what is wrong, and what would be right."""


def parse_search(text: str) -> tuple[str, dict[str, str]]:
    """How a target begins, and what is wanted by kind; either may be empty. Raises SearchError."""
    marks = list(_QUALIFIER.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    wanted: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        name, quoted, plain = mark[1].lower(), mark[2], text[mark.end() : end].strip()
        if name not in TermKind.values:
            raise SearchError(f"There is no {mark[1][:40]}: to search by. What was found is searched by {ALLOWED}.")
        if name in wanted:
            raise SearchError(f"{name}: is there twice; one target is searched for, by one of each.")
        if quoted is not None and plain:
            raise SearchError(f'What stands behind {name}:"…" belongs to nothing. How a target begins comes first.')
        wanted[name] = _checked(name, plain if quoted is None else quoted)
    return text[: marks[0].start()].strip() if marks else text, wanted


def search_text(kind: str, said: str) -> str | None:
    """What somebody said, as the search box takes it, cut where it would end early; None if it cannot be asked for."""
    value = said.partition('"')[0].strip()
    text = f'{kind}:"{value}"' if ":" in value else f"{kind}:{value}"
    try:
        parse_search(text)
    except SearchError:
        return None
    return text if len(text) <= MAX_TEXT_CHARS else None


def _checked(name: str, value: str) -> str:
    if not may_be_found(name, value):
        raise SearchError(f"{name}: has no value. Write it as {EXAMPLES[name]}.")
    if name in _WITHOUT_SPACE and len(value.split()) > 1:
        raise SearchError(f"{name}: takes no spaces, as in {EXAMPLES[name]}. How a target begins comes first.")
    return value


EXAMPLES = {
    "service": "service:redis",
    "product": "product:nginx 1.2",
    "cert": "cert:www.example.org or cert:*.example.org",
    "finding": "finding:EXP-008 or finding:database",
}
