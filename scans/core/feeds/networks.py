"""Which networks of a list hold an address: sorted arrays and one bisection.

Networks either lie within one another or apart. So the ends of all networks cut the number line into pieces, and each
piece has one innermost network, which knows the one around it. A search finds the last piece that begins at or before
the address (bisect_right - 1); it then holds whatever the nesting, also for a network that begins far before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Generic, NamedTuple, TypeVar

from scans.core.types import IPAddress, IPNetwork

Value = TypeVar("Value")

_BITS = {4: 32, 6: 128}
MAX_VALUES = 100  # of one network: each look-up goes through them, and a list may repeat one without end


class _Node(Generic[Value]):
    """A network of the list, what is said of it, and the smallest other one around it."""

    __slots__ = ("around", "prefix_length", "start", "values")

    def __init__(self, start: int, prefix_length: int, around: _Node[Value] | None) -> None:
        self.start = start
        self.prefix_length = prefix_length
        self.around = around
        self.values: list[Value] = []


class Hit(NamedTuple, Generic[Value]):
    """A network that holds the address, and one thing that is said of it."""

    network: IPNetwork
    value: Value


class NetworkTable(Generic[Value]):
    """Networks and what a list says of them; one network may be listed several times."""

    def __init__(self, entries: Iterable[tuple[IPNetwork, Value]]) -> None:
        by_version: dict[int, list[tuple[int, int, Value]]] = {4: [], 6: []}
        for network, value in entries:
            by_version[network.version].append((int(network.network_address), network.prefixlen, value))
        self._pieces = {version: _pieces(listed, _BITS[version]) for version, listed in by_version.items()}

    def find(self, address: IPAddress) -> Iterator[Hit[Value]]:
        """What is said of the networks that hold this address, from the smallest to the largest."""
        starts, nodes = self._pieces[address.version]
        at = bisect_right(starts, int(address)) - 1
        node = nodes[at] if at >= 0 else None
        while node is not None:
            kind = IPv4Address if address.version == 4 else IPv6Address
            network = ip_network((kind(node.start), node.prefix_length))
            for value in node.values:
                yield Hit(network, value)
            node = node.around


def _pieces(listed: list[tuple[int, int, Value]], bits: int) -> tuple[list[int], list[_Node[Value] | None]]:
    """Where each piece begins, ascending, and its innermost network; None: no network holds it."""
    starts: list[int] = []
    nodes: list[_Node[Value] | None] = []

    def begin(start: int, node: _Node[Value] | None) -> None:
        if starts and starts[-1] == start:  # a network that begins where the last one does, or where it ended
            nodes[-1] = node
        else:
            starts.append(start)
            nodes.append(node)

    def end(node: _Node[Value]) -> None:
        begin(node.start + (1 << (bits - node.prefix_length)), node.around)

    inner: _Node[Value] | None = None
    for start, prefix_length, value in sorted(listed, key=lambda entry: entry[:2]):
        while inner is not None and start >= inner.start + (1 << (bits - inner.prefix_length)):
            end(inner)
            inner = inner.around
        if inner is None or (inner.start, inner.prefix_length) != (start, prefix_length):
            inner = _Node(start, prefix_length, inner)
            begin(start, inner)
        if len(inner.values) < MAX_VALUES:
            inner.values.append(value)
    while inner is not None:
        end(inner)
        inner = inner.around
    return starts, nodes


def unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address inside ::ffff:0:0/96: lists and databases only know it as that."""
    return getattr(address, "ipv4_mapped", None) or address
