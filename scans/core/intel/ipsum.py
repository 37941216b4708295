"""IPsum: addresses that are on several of some thirty public lists of suspicious ones, with how many name each.

Made once a day (github.com/stamparm/ipsum, The Unlicense): # lines, then an address, a tab and the count. Its makers'
own examples block from three lists on: below that an address is here, too, and says little.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime

from scans.core.feeds import Contents, Feed, Sieve, moment, numbered_lines
from scans.core.intel.base import LocalSource
from scans.core.types import Facts, IPAddress

LISTED_FROM = 3
MOST = 255
_OCTET = r"(0|[1-9]\d{0,2})"
# Hundreds of thousands of lines are read while a scan waits: ip_address() takes five times as long.
_ROW = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}\t([1-9]\d{{0,3}})", re.ASCII)


class Counts:
    """How many lists name an address. Arrays, since the file has hundreds of thousands: 5 bytes each and not a hundred."""

    def __init__(self, found: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(found)
        self._addresses = array("I", (address for address, _ in ordered))
        self._counts = array("B", (count for _, count in ordered))

    def of(self, address: IPAddress) -> int:
        """0 if none does."""
        at = bisect_left(self._addresses, int(address)) if address.version == 4 else len(self._addresses)
        is_there = at < len(self._addresses) and self._addresses[at] == int(address)
        return self._counts[at] if is_there else 0


def read(body: bytes) -> Contents[Counts]:
    """Addresses and counts. Raises FeedError."""
    sieve, dated = Sieve(), None
    found: dict[int, int] = {}
    for number, line in numbered_lines(body):
        if line.startswith("#"):
            dated = dated or _dated(line)
            continue
        if (row := _ROW.fullmatch(line)) is None or max(parts := [int(part) for part in row.groups()[:4]]) > 255:
            sieve.leave_out(f"line {number}", line, "an IPv4 address and a number")
        else:
            found[int.from_bytes(parts)] = min(MOST, int(row[5]))
    return sieve.contents(Counts(found.items()), len(found), dated=dated)


def _dated(line: str) -> datetime | None:
    said = re.search(r"\d{1,2} [A-Z][a-z]{2} \d{4} [\d:]{8} [+-]\d{4}", line, re.ASCII)
    return moment(said[0], "%d %b %Y %H:%M:%S %z") if said else None


FEED: Feed[Counts] = Feed(
    name="ipsum",
    title="IPsum",
    terms="in the public domain (The Unlicense)",
    file_name="ipsum.txt",
    url="https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt",
    homepage="https://github.com/stamparm/ipsum",
    max_bytes=8 << 20,
    read=read,
)


class Ipsum(LocalSource):
    """How many lists name an address."""

    name = "ipsum"
    title = "IPsum"
    gives = "how many public block lists name it"
    terms = FEED.terms
    is_default = True
    feeds = (FEED,)

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource."""
        counts = self.store.load(FEED)
        if not (count := counts.table.of(address)):
            return Facts(), counts.of
        listed = (f"IPsum ({count} lists)",) if count >= LISTED_FROM else None
        return Facts(vendor_flags=count, block_lists=listed), counts.of
