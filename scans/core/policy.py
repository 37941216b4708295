"""Which addresses may be scanned or asked about, and why not.

    address ─► embedded IPv4? ─► never ─► operator deny ─► counts as global ─► operator allow ─► tables ─► denied
               each is judged     └────────────────────────── the first that speaks decides ──────────┘

The tables are written out, from the IANA special-purpose registries, because neither `is_private` nor `is_global`
is a scope check: Python 3.11 calls 224.0.0.1, 64:ff9b::7f00:1 (which is 127.0.0.1 behind a NAT64) and Azure's
168.63.129.16 global, and the answers change between patch releases. In a table the most specific network decides;
what no table calls global is denied.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from scans.core.options import ScopeOptions
from scans.core.types import IPAddress, IPNetwork

CACHED_DECISIONS = 16384  # about 8 MB when full

_Ranges = tuple[list[int], list[str | None]]  # where each begins, and its rule; a range ends where the next begins

# No setting overrides these.
_NEVER_ROWS = (
    ("0.0.0.0/32", "unspecified"),
    ("::/128", "unspecified"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("169.254.169.254/32", "metadata"),  # AWS, Google, Azure, DigitalOcean, Oracle, OpenStack and others
    ("169.254.170.2/32", "metadata"),  # AWS: credentials of ECS tasks
    ("169.254.170.23/32", "metadata"),  # AWS: credentials of EKS pods
    ("169.254.0.23/32", "metadata"),  # Tencent
    ("100.100.100.200/32", "metadata"),  # Alibaba
    ("168.63.129.16/32", "metadata"),  # Azure's wire server, in public space
    ("192.0.0.192/32", "metadata"),  # Oracle's older cloud
    ("fd00:ec2::254/128", "metadata"),  # AWS
    ("fd00:ec2::23/128", "metadata"),  # AWS: credentials of EKS pods
    ("fd20:ce::254/128", "metadata"),  # Google
)

_TABLE_ROWS = (
    ("0.0.0.0/0", "global"),
    ("0.0.0.0/8", "this-network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-nat"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol"),
    ("192.0.0.9/32", "global"),  # port control protocol, anycast (RFC 7723)
    ("192.0.0.10/32", "global"),  # TURN, anycast (RFC 8155)
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "global"),  # AS112 (RFC 7535); in the registry, but reachable by anyone
    ("192.52.193.0/24", "global"),  # AMT (RFC 7450), likewise
    ("192.88.99.0/24", "6to4-relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "global"),  # AS112 (RFC 7534), likewise
    ("198.18.0.0/15", "benchmark"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("240.0.0.0/4", "reserved"),
    ("::/0", "unallocated"),
    ("2000::/3", "global"),  # the only space IANA hands out
    ("::1/128", "loopback"),
    ("::/96", "ipv4-compatible"),
    ("::ffff:0:0/96", "global"),  # mapped: the embedded address alone decides
    ("::ffff:0:0:0/96", "ipv4-translated"),
    ("64:ff9b::/96", "global"),  # NAT64: the embedded address alone decides
    ("64:ff9b:1::/48", "nat64-local"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "discard"),  # the dummy prefix (RFC 9780)
    ("2001::/23", "protocol"),
    ("2001::/32", "teredo"),
    ("2001:1::1/128", "global"),  # port control protocol, anycast (RFC 7723)
    ("2001:1::2/128", "global"),  # TURN, anycast (RFC 8155)
    ("2001:1::3/128", "global"),  # DNS-SD service registration, anycast (RFC 9665)
    ("2001:2::/48", "benchmark"),
    ("2001:3::/32", "global"),  # AMT (RFC 7450)
    ("2001:4:112::/48", "global"),  # AS112 (RFC 7535)
    ("2001:20::/28", "global"),  # ORCHIDv2 (RFC 7343)
    ("2001:30::/28", "global"),  # drone remote identification (RFC 9374)
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment-routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
)

_WHAT = {
    "unspecified": "the unspecified address (the scanner's own machine)",
    "multicast": "a multicast address (a group of machines)",
    "broadcast": "the broadcast address (every machine of a network)",
    "metadata": "a cloud metadata service",
    "zone-id": "an address bound to one interface of the scanner's own machine",
    "operator-deny": "in a network that the operator has excluded",
    "this-network": "in 0.0.0.0/8 (hosts of the scanner's own network)",
    "private": "a private address",
    "carrier-nat": "a shared address behind a carrier's NAT",
    "loopback": "a loopback address (the scanner's own machine)",
    "link-local": "a link-local address (valid on one link only)",
    "site-local": "a site-local address (an older kind of private one)",
    "protocol": "reserved for protocol assignments",
    "documentation": "reserved for documentation",
    "benchmark": "reserved for benchmarks",
    "reserved": "reserved for future use",
    "discard": "in a range whose packets are thrown away",
    "unallocated": "outside the address space in public use",
    "6to4-relay": "a 6to4 relay (a service that no longer exists)",
    "6to4": "a 6to4 address (a tunnel to an IPv4 address)",
    "teredo": "a Teredo address (a tunnel to an IPv4 address)",
    "nat64-local": "a NAT64 address of a local network",
    "ipv4-compatible": "an IPv4-compatible address (a form that no longer exists)",
    "ipv4-translated": "an IPv4-translated address of a local network",
    "segment-routing": "a segment identifier of a provider's own network",
}
_WHY_NEVER = {
    "unspecified": "it names no machine",
    "multicast": "one packet to it would reach many machines",
    "broadcast": "one packet to it would reach many machines",
    "metadata": "such services hand out credentials of the scanner's own machine",
    "zone-id": "the interface is not part of an address",
}
_IPV4_IN_LAST_32_BITS = (
    0xFFFF,  # ::ffff:0:0/96, mapped, RFC 4291
    0xFFFF0000,  # ::ffff:0:0:0/96, translated, RFC 2765
    0x64FF9B << 64,  # 64:ff9b::/96, NAT64, RFC 6052
)
_WHY_ALLOWED = {
    "treat-as-global": "counts as public here (SCAN_TREAT_AS_GLOBAL)",
    "operator-allow": "is in a network that the operator allows (SCAN_ALLOW_NETWORKS)",
    "global": "is a public address",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether an address is in scope, by which rule, and what could be done about it."""

    allowed: bool
    is_global: bool  # counts as public for intelligence and risk; never true for a denied address
    rule: str
    reason: str  # one sentence for a person
    remedy: str  # empty when allowed


class ScopePolicy:
    """The policy under one operator's settings. Thread-safe; decisions are kept, since every socket asks again."""

    def __init__(self, scope: ScopeOptions) -> None:
        deny = _Table.of((network, "operator-deny") for network in scope.deny)
        treat_as_global = _Table.of((network, "treat-as-global") for network in scope.treat_as_global)
        allow = _Table.of((network, "operator-allow") for network in scope.allow)
        self._first = _Table.first_of((_NEVER, deny, treat_as_global, allow, _TABLE))
        self._cached_decision = lru_cache(maxsize=CACHED_DECISIONS)(self._decide)

    def check(self, address: IPAddress) -> Decision:
        """The decision about one address. An IPv6 that carries an IPv4 is allowed only if both are."""
        return self._cached_decision(address)

    def may_connect(self, address: IPAddress) -> bool:
        """The last question before a socket: is the address in scope?"""
        return self._cached_decision(address).allowed

    def _decide(self, address: IPAddress) -> Decision:
        parts = (*embedded_ipv4(address), address)
        rules = [(part, self._rule(part)) for part in parts]
        if any(rule not in _WHY_ALLOWED for _, rule in rules):
            return _refusal(address, rules)
        rule = next((rule for _, rule in rules if rule != "global"), "global")
        is_global = all(_counts_as_public(part, part_rule) for part, part_rule in rules)
        return Decision(allowed=True, is_global=is_global, rule=rule, reason=f"{address} {_WHY_ALLOWED[rule]}.", remedy="")

    def _rule(self, address: IPAddress) -> str:
        """The first rule that speaks about this very address, whatever it embeds."""
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "zone-id"
        return self._first.find(address) or "unallocated"


def _counts_as_public(address: IPAddress, rule: str) -> bool:
    return rule in ("global", "treat-as-global") or _TABLE.find(address) == "global"


def embedded_ipv4(address: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses an IPv6 one carries: a translator or tunnel on the way would connect to them.

    One level is all there is, since an IPv4 address carries nothing.
    """
    if isinstance(address, IPv4Address):
        return ()
    return tuple(IPv4Address(value & 0xFFFFFFFF) for value in _embedded_values(int(address)))


def _embedded_values(value: int) -> Iterator[int]:
    """Numbers whose lowest 32 bits are the embedded addresses."""
    upper_96 = value >> 32
    is_compatible = upper_96 == 0 and value > 1  # ::/96, RFC 4291; but :: and ::1 carry nothing
    is_local_nat64 = value >> 80 == 0x64FF9B0001  # 64:ff9b:1::/48, RFC 8215, in its usual /96 form
    if upper_96 in _IPV4_IN_LAST_32_BITS or is_compatible or is_local_nat64:
        yield value
    elif value >> 112 == 0x2002:  # 6to4, RFC 3056
        yield value >> 80
    elif value >> 96 == 0x20010000:  # Teredo, RFC 4380: the server, and the client with its bits inverted
        yield value >> 64
        yield ~value


def _refusal(address: IPAddress, rules: list[tuple[IPAddress, str]]) -> Decision:
    """Blame the part that is hardest to allow: never, then the operator's list, then what a setting opens."""
    denied = [(part, rule) for part, rule in rules if rule not in _WHY_ALLOWED]
    part, rule = min(denied, key=lambda pair: (pair[1] not in _WHY_NEVER, pair[1] != "operator-deny"))
    if rule in _WHY_NEVER:
        remedy = f"It can never be allowed: {_WHY_NEVER[rule]}."
    elif rule == "operator-deny":
        remedy = "The operator can allow it by taking its network out of SCAN_DENY_NETWORKS."
    else:
        needed = ",".join(str(part) for part, _ in denied)
        remedy = f"Set SCAN_ALLOW_NETWORKS={needed}, or networks that hold it, to allow it."
    what = f"is {_WHAT[rule]}" if part == address else f"carries {part}, which is {_WHAT[rule]}"
    return Decision(allowed=False, is_global=False, rule=rule, reason=f"{address} {what}.", remedy=remedy)


class _Table:
    """Networks with their rule, cut into integer ranges: a look-up is one bisection, however long the list.

    Two networks are either nested or apart, so one pass in order, with a stack of the open ones, cuts them all; the
    innermost names a range.
    """

    def __init__(self, ranges: Mapping[int, _Ranges]) -> None:
        self._ranges = ranges  # by the version of the addresses

    @classmethod
    def of(cls, rows: Iterable[tuple[IPNetwork, str]]) -> _Table:
        """The table in which the most specific network that holds an address decides."""
        by_version: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for network, rule in rows:
            by_version[network.version].append((int(network[0]), int(network[-1]), rule))
        return cls({version: _cut(rows) for version, rows in by_version.items()})

    @classmethod
    def first_of(cls, tables: Sequence[_Table]) -> _Table:
        """The table in which the first of these that knows an address decides: asked once, not one after the other."""
        return cls({version: _overlaid([table._ranges[version] for table in tables]) for version in (4, 6)})

    def find(self, address: IPAddress) -> str | None:
        """The rule for the address; None if no network holds it."""
        return _rule_at(self._ranges[address.version], int(address))


def _rule_at(ranges: _Ranges, value: int) -> str | None:
    starts, rules = ranges
    place = bisect_right(starts, value) - 1
    return rules[place] if place >= 0 else None


def _overlaid(layers: Sequence[_Ranges]) -> _Ranges:
    starts = sorted({start for layer in layers for start in layer[0]})
    return starts, [next((rule for layer in layers if (rule := _rule_at(layer, start))), None) for start in starts]


def _cut(rows: list[tuple[int, int, str]]) -> _Ranges:
    cuts: dict[int, str | None] = {}  # a later cut at the same place replaces the earlier
    open_rows: list[tuple[int, str]] = []
    for first, last, rule in [*sorted(rows, key=lambda row: (row[0], -row[1])), (1 << 129, 1 << 129, "")]:
        while open_rows and open_rows[-1][0] < first:
            end, _ = open_rows.pop()
            cuts[end + 1] = open_rows[-1][1] if open_rows else None
        cuts[first] = rule
        open_rows.append((last, rule))
    return list(cuts), list(cuts.values())


_NEVER = _Table.of((ip_network(text), rule) for text, rule in _NEVER_ROWS)
_TABLE = _Table.of((ip_network(text), rule) for text, rule in _TABLE_ROWS)
