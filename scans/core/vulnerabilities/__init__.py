"""What is known against the products of an address: CVEs that are named for it, and releases past their end of life.

    services ─► products ─┐                        ┌─► KEV, EPSS ─► Vulnerability, worst first
    sources ──► products ─┼─► known_against() ─────┤
              └► CVE ids ─┘                        └─► endoflife.date ─► EndOfLife

products.py   what versions are seen, and which distribution built them
kev.py epss.py endoflife.py   list files: how each is read
known.py      the stage itself

All of it follows from versions. Nothing is tried, so nothing here is more than indicated.
"""

from __future__ import annotations

from scans.core import intel
from scans.core.feeds import AnyFeed
from scans.core.vulnerabilities.endoflife import ENDOFLIFE
from scans.core.vulnerabilities.epss import EPSS
from scans.core.vulnerabilities.kev import KEV
from scans.core.vulnerabilities.known import KnownAgainst, Library, known_against

FEEDS: tuple[AnyFeed, ...] = (KEV, EPSS, ENDOFLIFE)
ALL_FEEDS: tuple[AnyFeed, ...] = (*intel.FEEDS, *FEEDS)  # every list file of this machine

__all__ = ["ALL_FEEDS", "ENDOFLIFE", "EPSS", "FEEDS", "KEV", "KnownAgainst", "Library", "known_against"]
