"""How much one network is asked at once: beside the rate of all, each network of global addresses has one of its own.

    engine ── take(wanted, address) ──► PolitePace ──► Networks: what this network may have now
                                                  └──► Rate: as much of it as everybody together may have now

Whom its network holds back rests, so that hosts of other networks have their turn meanwhile. Those who rest come back one
after the other, each when there should be enough for it: all at once they would find the same few.
"""

from __future__ import annotations

import math
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from scans.core.probe.pacing import BURST_SECONDS, TokenBucket
from scans.core.types import IPAddress

# What one customer of a network usually has: the smallest part of IPv4 that is routed by itself, and a site's of IPv6.
PREFIX_BITS = {4: 24, 6: 48}
MANY_NETWORKS = 8192  # with more, those are forgotten that have rested long enough

NetworkKey = tuple[int, int]  # version, and the bits that all addresses of the network have in common


def network_of(address: IPAddress) -> NetworkKey:
    """The /24 or /48 that an address is in."""
    return address.version, int(address) >> (address.max_prefixlen - PREFIX_BITS[address.version])


def network_text(network: NetworkKey) -> str:
    """As one writes it, like 192.0.2.0/24."""
    version, bits = network
    kind, length = (IPv4Network, 32) if version == 4 else (IPv6Network, 128)
    prefix = PREFIX_BITS[version]
    return str(kind((bits << (length - prefix), prefix)))


class Rate(Protocol):
    """A rate of new connections, wherever they go."""

    def take(self, wanted: int, *, now: float) -> int:
        """As many as may be made now, up to the wanted."""

    def put_back(self, unused: int) -> None:
        """Return what was taken for connections that were never begun."""

    def wait_seconds(self, *, now: float) -> float:
        """How long until one may be made; 0.0 if one may."""


class Networks(Protocol):
    """The same for each network."""

    def take(self, network: NetworkKey, wanted: int, *, ahead: int, now: float) -> int:
        """As many as may be made now, up to the wanted. `ahead`: how many the host will still want, these included."""

    def put_back(self, network: NetworkKey, unused: int) -> None:
        """Return what was taken for connections that were never begun."""

    def rest_seconds(self, network: NetworkKey, wanted: int, *, now: float) -> float:
        """How long until so many may be made there, after all who asked before; 0.0 if one may now."""


class PolitePace:
    """A Pace: both rates at once."""

    def __init__(self, rate: Rate, networks: Networks | None) -> None:
        self._rate = rate
        self._networks = networks  # None: no limit

    def take(self, wanted: int, address: IPAddress, *, ahead: int, now: float) -> int:
        """See Pace."""
        if self._networks is None:
            return self._rate.take(wanted, now=now)
        network = network_of(address)
        allowed = self._networks.take(network, wanted, ahead=ahead, now=now)
        granted = self._rate.take(allowed, now=now)
        if granted < allowed:
            self._networks.put_back(network, allowed - granted)
        return granted

    def put_back(self, unused: int, address: IPAddress) -> None:
        """See Pace."""
        self._rate.put_back(unused)
        if self._networks is not None:
            self._networks.put_back(network_of(address), unused)

    def wait_seconds(self, *, now: float) -> float:
        """See Pace."""
        return self._rate.wait_seconds(now=now)

    def rest_seconds(self, wanted: int, address: IPAddress, *, now: float) -> float:
        """See Pace."""
        return 0.0 if self._networks is None else self._networks.rest_seconds(network_of(address), wanted, now=now)


class NetworkBuckets:
    """Networks that nobody else shares: a token bucket for each."""

    def __init__(self, *, per_second: float) -> None:
        self._per_second = per_second
        self._known: dict[NetworkKey, tuple[TokenBucket, Turns]] = {}

    def take(self, network: NetworkKey, wanted: int, *, ahead: int, now: float) -> int:
        """See Networks."""
        found = self._known.get(network)
        if found is None:
            self._forget_rested(now)
            found = self._known[network] = TokenBucket(per_second=self._per_second), Turns(per_second=self._per_second)
        return found[0].take(wanted, now=now)

    def put_back(self, network: NetworkKey, unused: int) -> None:
        """See Networks."""
        if network in self._known:
            self._known[network][0].put_back(unused)

    def rest_seconds(self, network: NetworkKey, wanted: int, *, now: float) -> float:
        """See Networks."""
        bucket, turns = self._known[network]
        wait = bucket.wait_seconds(now=now)
        return turns.book(wanted, earliest=now, now=now) if wait else 0.0

    def _forget_rested(self, now: float) -> None:
        if len(self._known) >= MANY_NETWORKS:
            self._known = {network: known for network, known in self._known.items() if not known[0].is_full(now=now)}


class Turns:
    """When those who wait for one network come back."""

    def __init__(self, *, per_second: float) -> None:
        self._per_second = per_second
        self._booked_until = 0.0

    def booked(self, *, now: float) -> int:
        """How many those want who have not come back yet."""
        return max(0, math.ceil((self._booked_until - now) * self._per_second))

    def book(self, wanted: int, *, earliest: float, now: float) -> float:
        """The seconds until there should be so many, or as many as are kept, after everybody who booked before."""
        seconds = max(1, min(wanted, int(self._per_second * BURST_SECONDS / 2))) / self._per_second
        self._booked_until = max(self._booked_until, earliest) + seconds
        return self._booked_until - now
