"""What a reader has of a page."""

from __future__ import annotations

import re
from html import unescape


def text_of(page: str) -> str:
    """The words, without markup, one space apart."""
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", page).split()))
