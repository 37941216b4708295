"""FireHOL level 1: networks that several makers of lists advise to block, put together by FireHOL.

The .netset files begin with a header of # lines, with "Entries : 4523 subnets, 612345678 unique IPs" and "Source File Date:
Mon Nov 23 00:00:00 UTC 2026" among them; then an address or a network a line. Unallocated and reserved space is listed, too.
Each list inside has terms of its own, so it is on only if it is named.
"""

from __future__ import annotations

import re
from datetime import datetime

from scans.core.feeds import Contents, Feed, FeedError, NetworkTable, Sieve, moment, network_of, numbered_lines
from scans.core.intel.base import LocalSource
from scans.core.types import Facts, IPAddress

Networks = NetworkTable[None]

TERMS = "put together from lists with terms of their own: read them at iplists.firehol.org first"


def read(body: bytes) -> Contents[Networks]:
    """Its networks. Raises FeedError, also if the header says that there are more or fewer."""
    sieve, found, header, reserved = Sieve(), [], [], 0
    for number, line in numbered_lines(body):
        if line.startswith("#"):
            header.append(line)
        elif re.match(r"(22[4-9]|2[345]\d)\.", line):
            reserved += 1
        elif network := network_of(line):
            found.append((network, None))
        else:
            sieve.leave_out(f"line {number}", line, "a network")
    said = "\n".join(header)
    contents = sieve.contents(NetworkTable(found), len(found), dated=_dated(said))
    if not body.endswith(b"\n"):
        raise FeedError("its last line is cut off")
    counted = re.search(r"Entries\s*:\s*(\d{1,9}) subnets", said, re.ASCII)
    if counted and int(counted[1]) != len(found) + sieve.left_out + reserved:
        raise FeedError(f"it says that it holds {counted[1]} networks, and has {len(found) + sieve.left_out + reserved}")
    return contents


def _dated(header: str) -> datetime | None:
    said = re.search(r"(?:Source|This) File Date\s*:\s*\w{3} (\w{3}\s+\d+ [\d:]{8}) UTC (\d{4})", header, re.ASCII)
    return moment(f"{said[1]} {said[2]}", "%b %d %H:%M:%S %Y") if said else None


FEED: Feed[Networks] = Feed(
    name="firehol-level1",
    title="FireHOL level 1",
    terms=TERMS,
    file_name="firehol_level1.netset",
    url="https://iplists.firehol.org/files/firehol_level1.netset",
    homepage="https://iplists.firehol.org/?ipset=firehol_level1",
    is_default=False,
    max_bytes=4 << 20,
    read=read,
)


class Firehol(LocalSource):
    """Whether a listed network holds an address."""

    name = "firehol"
    title = "FireHOL level 1"
    gives = "whether makers of block lists advise to block it"
    terms = TERMS
    is_default = False
    feeds = (FEED,)

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource."""
        listed = self.store.load(FEED)
        hit = next(listed.table.find(address), None)
        return Facts(block_lists=(f"FireHOL level 1 ({hit.network})",)) if hit else Facts(), listed.of
