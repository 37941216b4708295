"""Addresses that Tor's exits use, from the list that the Tor Project measures and publishes.

check.torproject.org/torbulkexitlist is an address a line. /exit-addresses is blocks of ExitNode, Published, LastStatus and
any number of ExitAddress lines ("ExitAddress 192.0.2.1 2026-11-23 14:44:33"); either may be imported.
"""

from __future__ import annotations

from datetime import datetime

from scans.core.feeds import Contents, Feed, Sieve, address_of, moment, numbered_lines
from scans.core.intel.base import LocalSource
from scans.core.types import Facts, IPAddress

OTHER_WORDS = ("ExitNode", "Published", "LastStatus")

Exits = frozenset[IPAddress]


def read(body: bytes) -> Contents[Exits]:
    """Either form. Raises FeedError."""
    sieve, found, dates = Sieve(), set(), []
    for number, line in numbered_lines(body):
        words = line.split()
        if words[0] in OTHER_WORDS or line.startswith("#"):
            continue
        is_block = words[0] == "ExitAddress" and len(words) > 1
        if (address := address_of(words[1] if is_block else line)) is None:
            sieve.leave_out(f"line {number}", line, "an address")
            continue
        found.add(address)
        if is_block and (seen := moment(" ".join(words[2:4]), "%Y-%m-%d %H:%M:%S")):
            dates.append(seen)
    return sieve.contents(frozenset(found), len(found), dated=max(dates, default=None))


FEED: Feed[Exits] = Feed(
    name="tor-exits",
    title="the Tor exit list",
    terms="free to use",
    file_name="tor-exits.txt",
    url="https://check.torproject.org/torbulkexitlist",
    homepage="https://check.torproject.org/",
    refresh_seconds=3600,
    max_bytes=1 << 20,
    read=read,
)


class TorExits(LocalSource):
    """Whether an address is on the list."""

    name = "tor-exits"
    title = "Tor exit list"
    gives = "whether it is an exit of the Tor network"
    terms = FEED.terms
    is_default = True
    feeds = (FEED,)

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource."""
        exits = self.store.load(FEED)
        return Facts(is_tor_exit=True) if address in exits.table else Facts(), exits.of
