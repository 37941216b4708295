"""How much one network is asked at once: beside the rate of all, each network of global addresses has one of its own.

    engine ── take(wanted, address) ──► PolitePace ──► Networks: what this network may have now
                                                  └──► Rate: as much of it as everybody together may have now

Conversations with open ports draw on both rates as well, beside the probes and from a thread of their own (beside.py).

Whom its network holds back rests, so that hosts of other networks have their turn meanwhile. Those who rest come back one
after the other, each when there should be enough for it: all at once they would find the same few.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from scans.core.probe.beside import ASK_AGAIN_SECONDS, KeptPart
from scans.core.probe.pacing import BURST_SECONDS, TokenBucket
from scans.core.types import IPAddress

# What one customer of a network usually has: the smallest part of IPv4 that is routed by itself, and a site's of IPv6.
PREFIX_BITS = {4: 24, 6: 48}
MANY_NETWORKS = 8192  # with more, those are forgotten that have rested long enough

NetworkKey = tuple[int, int]  # version, and the bits that all addresses of the network have in common
EVERYWHERE: NetworkKey = (0, 0)  # no network: the rate of all


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
    """A Pace: both rates at once. The lock is for the two threads that draw on them."""

    def __init__(self, rate: Rate, networks: Networks | None) -> None:
        self._rate = rate
        self._networks = networks  # None: no limit
        self._lock = threading.Lock()
        self._parts = {EVERYWHERE: KeptPart(rate.put_back)}  # of the rate, and of networks that somebody waits for
        self._waits_for: dict[Hashable, NetworkKey] = {}

    def take(self, wanted: int, address: IPAddress, *, ahead: int, now: float) -> int:
        """See Pace."""
        with self._lock:
            if self._networks is None:
                return self._take_from_rate(wanted, now)
            network = network_of(address)
            allowed = self._networks.take(network, wanted, ahead=ahead, now=now)
            if (part := self._parts.get(network)) is not None:
                allowed -= part.keep(allowed, wanted=wanted, now=now)
            granted = self._take_from_rate(allowed, now)
            if granted < allowed:
                self._networks.put_back(network, allowed - granted)
            return granted

    def put_back(self, unused: int, address: IPAddress) -> None:
        """See Pace."""
        with self._lock:
            self._rate.put_back(unused)
            self._put_back_to(network_of(address), unused)

    def wait_seconds(self, *, now: float) -> float:
        """See Pace."""
        with self._lock:
            return self._rate.wait_seconds(now=now)

    def rest_seconds(self, wanted: int, address: IPAddress, *, now: float) -> float:
        """See Pace."""
        if self._networks is None:
            return 0.0
        with self._lock:
            return self._networks.rest_seconds(network_of(address), wanted, now=now)

    def take_beside(self, who: Hashable, address: IPAddress, *, now: float) -> float:
        """See Pace."""
        with self._lock:
            missing = self._take_one(network_of(address), now)
            before = self._waits_for.pop(who, None)
            if missing is not None:
                self._waits_for[who] = missing
                self._parts.setdefault(missing, KeptPart(partial(self._put_back_to, missing))).waiting += 1
            if before is not None:  # last, so that what is kept for it is not put back before
                self._leave(before)
            return 0.0 if missing is None else ASK_AGAIN_SECONDS

    def leave(self, who: Hashable) -> None:
        """See Pace."""
        with self._lock:
            if (missing := self._waits_for.pop(who, None)) is not None:
                self._leave(missing)

    def _take_from_rate(self, wanted: int, now: float) -> int:
        """For probes."""
        taken = self._rate.take(wanted, now=now)
        return taken - self._parts[EVERYWHERE].keep(taken, wanted=wanted, now=now)

    def _take_one(self, network: NetworkKey, now: float) -> NetworkKey | None:
        """One connection beside the probes: None if it may be made, else what is short, the network or EVERYWHERE."""
        if self._networks is not None:
            part = self._parts.get(network)
            take = partial(self._networks.take, network, 1, ahead=part.waiting if part else 1, now=now)
            if not (part.one(take, now=now) if part else take()):
                return network
        if self._parts[EVERYWHERE].one(partial(self._rate.take, 1, now=now), now=now):
            return None
        self._put_back_to(network, 1)
        return EVERYWHERE

    def _leave(self, key: NetworkKey) -> None:
        self._parts[key].leave()
        if key != EVERYWHERE and not self._parts[key].waiting:
            del self._parts[key]

    def _put_back_to(self, network: NetworkKey, unused: int) -> None:
        if self._networks is not None:
            self._networks.put_back(network, unused)


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
