"""The version: read from the changelog, so that there is one place to raise it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


@cache
def version() -> str:
    """The newest heading's number, such as 0.1.0."""
    newest = re.search(r"^## (\d+\.\d+\.\d+)\b", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    if newest is None:
        raise ValueError(f"{CHANGELOG.name} names no version.")
    return newest[1]
