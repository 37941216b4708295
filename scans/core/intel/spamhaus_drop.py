"""Spamhaus DROP: networks that were hijacked or are leased by criminals, each with its listing.

drop_v4.json and drop_v6.json hold a JSON object a line, {"cidr", "sblid", "rir"}; the last one is about the file: its
`timestamp`, how many `records` there are, and the copyright, which stays with the file. They change about once a day and may
be asked for no more than once an hour. EDROP was merged into DROP in April 2024.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from scans.core.feeds import (
    Contents,
    Feed,
    FeedError,
    NetworkTable,
    Sieve,
    from_epoch,
    network_of,
    numbered_lines,
)
from scans.core.intel.base import LocalSource
from scans.core.types import Facts, IPAddress, IPNetwork

Listings = NetworkTable[str]

TERMS = "free to use; the copyright line stays with the file (© The Spamhaus Project SLU)"


def read(body: bytes) -> Contents[Listings]:
    """Networks and the numbers of their listings. Raises FeedError, also if the file says that it holds another number."""
    sieve, found = Sieve(), []
    about: Mapping[str, Any] = {}
    for number, line in numbered_lines(body):
        said = _object(line)
        if said is not None and said.get("type") == "metadata":
            about = said
        elif said is None or (network := network_of(said.get("cidr"))) is None:
            sieve.leave_out(f"line {number}", line, "an object with a network")
        else:
            found.append((network, _listing(said)))
    contents = sieve.contents(NetworkTable(found), len(found), dated=from_epoch(about.get("timestamp")))
    _check_count(about, len(found) + sieve.left_out)
    return contents


def _object(line: str) -> Mapping[str, Any] | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _listing(said: Mapping[str, Any]) -> str:
    number = said.get("sblid")
    return number if isinstance(number, str) and re.fullmatch(r"SBL\d{1,12}", number, re.ASCII) else ""


def _check_count(about: Mapping[str, Any], count: int) -> None:
    if not about:
        raise FeedError("its last line, which says how many there are, is missing: it is cut off")
    if "records" in about and about["records"] != count:
        raise FeedError(f"it says that it holds {about['records']!r:.20} networks, and has {count}")


def _feed(version: int) -> Feed[Listings]:
    return Feed(
        name=f"drop-v{version}",
        title=f"Spamhaus DROP, IPv{version}",
        terms=TERMS,
        file_name=f"drop_v{version}.json",
        url=f"https://www.spamhaus.org/drop/drop_v{version}.json",
        homepage="https://www.spamhaus.org/blocklists/do-not-route-or-peer/",
        max_bytes=2 << 20,
        read=read,
    )


FEEDS = {version: _feed(version) for version in (4, 6)}


class SpamhausDrop(LocalSource):
    """Which listed network holds an address."""

    name = "spamhaus-drop"
    title = "Spamhaus DROP"
    gives = "networks of criminals: do not route or peer"
    terms = TERMS
    is_default = True
    feeds = tuple(FEEDS.values())

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource. Where only the list of the other IP version is here, this one is missing."""
        listed = self.store.load(FEEDS[address.version])
        hit = next(listed.table.find(address), None)
        return Facts(drop_network=_words(hit.network, hit.value)) if hit else Facts(), listed.of


def _words(network: IPNetwork, listing: str) -> str:
    return f"{network} ({listing})" if listing else str(network)
