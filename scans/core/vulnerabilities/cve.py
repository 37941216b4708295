"""CVE ids as others write them."""

from __future__ import annotations

import re

CVE_YEAR = 10**7  # of `cve_number`: more than a year can have
_CVE = re.compile(r"CVE-([0-9]{4})-([0-9]{4,7})")


def read_cve(said: object) -> str | None:
    """The id in capitals; None for anything that is none."""
    text = said.strip().upper() if isinstance(said, str) and len(said) < 40 else ""
    return text if _CVE.fullmatch(text) else None


def cve_number(cve: str) -> int:
    """A whole number that stands for an id: smaller to keep than its text. Raises ValueError for anything that is none."""
    match = _CVE.fullmatch(cve)
    if match is None:
        raise ValueError("not a CVE id")
    return int(match[1]) * CVE_YEAR + int(match[2])
