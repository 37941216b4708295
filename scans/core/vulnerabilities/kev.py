"""CISA's catalogue of known exploited vulnerabilities (KEV): one JSON file, public domain (CC0), new on most working days.

Format: https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities_schema.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from scans.core.feeds import Contents, Feed, FeedError, Sieve, json_object
from scans.core.feeds.text import moment
from scans.core.vulnerabilities.cve import read_cve


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploited:
    """One entry, as far as it is used here."""

    due: date | None
    is_ransomware: bool | None  # the catalogue says "Known" or "Unknown"


Kev = Mapping[str, Exploited]  # by CVE id


def read_kev(body: bytes) -> Contents[Kev]:
    """The entries. Raises FeedError for what is no catalogue, and for one whose `count` is not that of its entries."""
    said = json_object(body)
    listed = said.get("vulnerabilities")
    if not isinstance(listed, list):
        raise FeedError("there is no list of vulnerabilities in it")
    count = said.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or count != len(listed):
        raise FeedError(f"it holds {len(listed)} entries, and its count is {str(count)[:20]!r}")
    sieve, table = Sieve(), {}
    for number, entry in enumerate(listed, 1):
        cve = read_cve(entry.get("cveID")) if isinstance(entry, dict) else None
        if cve is None:
            sieve.leave_out(f"entry {number}", entry.get("cveID") if isinstance(entry, dict) else entry, "a CVE id")
            continue
        due = moment(entry.get("dueDate"), "%Y-%m-%d")
        table[cve] = Exploited(
            due=due.date() if due else None,
            is_ransomware=True if entry.get("knownRansomwareCampaignUse") == "Known" else None,
        )
    return sieve.contents(table, len(table), dated=moment(str(said.get("dateReleased"))[:10], "%Y-%m-%d"))


KEV: Feed[Kev] = Feed(
    name="kev",
    title="CISA's known exploited vulnerabilities",
    terms="public domain (CC0)",
    file_name="known_exploited_vulnerabilities.json",
    url="https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
    homepage="https://www.cisa.gov/known-exploited-vulnerabilities-catalog",
    refresh_seconds=6 * 3600,
    read=read_kev,
)
