"""What is known against the products of an address: CVEs that are named for it, and releases past their end of life.

    services ─► products ─┐       ┌─► NVD, if it is on ─┐                     ┌─► KEV, EPSS ─► Vulnerability, worst first
    sources ──► products ─┼───────┴─────────────────────┴─► known_against() ──┤
              └► CVE ids ─┘                                                   └─► endoflife.date ─► EndOfLife

nvd.py nvd_lane.py   the one service that is asked, about products and CVEs
products.py   what versions are seen, and which distribution built them
kev.py epss.py endoflife.py   list files: how each is read
known.py      the stage itself

All of it follows from versions. Nothing is tried, so nothing here is more than indicated.
"""

from __future__ import annotations

from scans.core import intel
from scans.core.feeds import AnyFeed
from scans.core.intel import Source
from scans.core.vulnerabilities.endoflife import ENDOFLIFE
from scans.core.vulnerabilities.epss import EPSS
from scans.core.vulnerabilities.kev import KEV
from scans.core.vulnerabilities.known import KnownAgainst, Library, known_against, subjects
from scans.core.vulnerabilities.nvd import NOTICE, Nvd
from scans.core.vulnerabilities.nvd_lane import Answer, NvdLane

FEEDS: tuple[AnyFeed, ...] = (KEV, EPSS, ENDOFLIFE)
ALL_FEEDS: tuple[AnyFeed, ...] = (*intel.FEEDS, *FEEDS)  # every list file of this machine

ALL_SOURCES: tuple[type[Source], ...] = (*intel.SOURCES, Nvd)  # all that an operator may switch on

__all__ = [
    "ALL_FEEDS",
    "ALL_SOURCES",
    "ENDOFLIFE",
    "EPSS",
    "FEEDS",
    "KEV",
    "NOTICE",
    "Answer",
    "KnownAgainst",
    "Library",
    "Nvd",
    "NvdLane",
    "known_against",
    "subjects",
]
