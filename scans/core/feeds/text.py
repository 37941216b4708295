"""What readers of lists share: lines with their numbers, JSON, and how many unreadable entries a file may have.

A list that somebody else makes has a bad line now and then. A few are left out, and told; many mean that the file is not
what it should be (a page of a proxy, another format, half a download), and it is refused as a whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from scans.core.feeds.base import Contents, FeedError
from scans.core.text import clean_text
from scans.core.types import IPAddress, IPNetwork

Table = TypeVar("Table")

MAX_LEFT_OUT = 0.02  # of all entries; one is always forgiven if at least one could be read
SHOWN_CHARS = 60
WIDEST = {4: 8, 6: 16}  # prefix lengths


def numbered_lines(body: bytes) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1, without what surrounds them; empty ones are left out. Raises FeedError."""
    # One after the other: a file of line ends alone would become a list of many times its size.
    for number, line in enumerate(io.StringIO(_decoded(body), newline="\n"), start=1):
        if stripped := line.strip():
            yield number, stripped


def json_object(body: bytes) -> Mapping[str, Any]:
    """The object that a JSON file holds. Raises FeedError."""
    try:
        value = json.loads(_decoded(body))
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise FeedError(f"line {line}: not JSON, or cut off ({clean_text(str(error), limit=SHOWN_CHARS)})") from error
    except RecursionError as error:
        raise FeedError("its JSON is nested too deeply") from error
    if not isinstance(value, dict):
        raise FeedError("line 1: not a JSON object")
    return value


def network_of(said: object) -> IPNetwork | None:
    """A network, or an address as the network of itself alone; None for anything else.

    One that is wider than any that is published counts as unreadable, too: a slip or a trick that would name half the world.
    """
    try:
        network = ip_network(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return network if network is not None and network.prefixlen >= WIDEST[network.version] else None


def address_of(said: object) -> IPAddress | None:
    """An address; None for anything else."""
    try:
        return ip_address(said) if isinstance(said, str) and "%" not in said else None
    except ValueError:
        return None


def moment(said: object, pattern: str) -> datetime | None:
    """A date that a file says of itself, in UTC unless the pattern holds %z; None if it cannot be read."""
    try:
        found = datetime.strptime(str(said), pattern)  # noqa: DTZ007 - made aware in the next line
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def from_epoch(said: object) -> datetime | None:
    """The same, from seconds since 1970."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < 2**33:
        return None
    return datetime.fromtimestamp(said, UTC)


class Sieve:
    """Counts the entries of one file that could be read, and those that could not."""

    def __init__(self) -> None:
        self.left_out = 0
        self.first = ""

    def leave_out(self, where: str, said: object, what: str) -> None:
        """An entry that cannot be read: where it is ("line 7"), what stands there, and what it should be."""
        self.left_out += 1
        if not self.first:
            self.first = f"{where}: {clean_text(str(said), limit=SHOWN_CHARS)!r} is not {what}"

    def contents(self, table: Table, entries: int, *, dated: datetime | None = None) -> Contents[Table]:
        """What the file holds. Raises FeedError if nothing could be read, or too little."""
        if self.left_out and (not entries or self.left_out > max(1.0, MAX_LEFT_OUT * (entries + self.left_out))):
            raise FeedError(f"{self.first}; {self.left_out} of {entries + self.left_out} entries cannot be read")
        if not entries:
            raise FeedError("there are no entries in it")
        return Contents(table=table, entries=entries, dated=dated, left_out=self.left_out, first_left_out=self.first)


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FeedError(f"line {body.count(10, 0, error.start) + 1}: not UTF-8 text") from error
