"""The truth table as nftables: silence, unreachable ports, limits of the rate, and doors that shut in mid-scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from bench.lab.truth import Host, Workload

FAMILIES = {"ip": ("ipv4_addr", "icmp"), "ip6": ("ipv6_addr", "icmpv6")}
BAN_PER_MINUTE = 1  # to a host that has had enough, which for a scan is never

Hosts = list[tuple[str, Host]]


def nftables(workloads: dict[str, Workload]) -> str:
    """The rules for the namespace that answers, as `nft -f` reads them."""
    hosts = [(address, host) for workload in workloads.values() for address, host in workload["hosts"].items()]
    return "\n".join(_table(family, [h for h in hosts if (":" in h[0]) == (family == "ip6")]) for family in FAMILIES)


def _table(family: str, hosts: Hosts) -> str:
    kind, icmp = FAMILIES[family]
    dark = [(address, host) for address, host in hosts if host["default"] == "filtered"]
    syn_sets, syn_rules = _limits(family, hosts, {"syn": "second", "ban": "minute"}, "daddr", "(syn|ack) == syn")
    rst_sets, rst_rules = _limits(family, hosts, {"rst": "second"}, "saddr", "rst == rst")
    return f"""
table {family} lab {{
  {_set("dark", kind, (address for address, _ in dark))}
  {_set("kept", f"{kind} . inet_service", _pairs(dark, "open"))}
  {_set("filtered", f"{kind} . inet_service", _pairs(hosts, "filtered"))}
  {_set("unreach", f"{kind} . inet_service", _pairs(hosts, "unreach"))}
  {syn_sets}
  {rst_sets}
  chain arriving {{ type filter hook prerouting priority 0;
    iifname "lo" accept
    {family} daddr @dark {family} daddr . tcp dport != @kept drop
    {family} daddr . tcp dport @filtered drop
    {syn_rules}
  }}
  chain taken {{ type filter hook input priority 0;
    {family} daddr . tcp dport @unreach reject with {icmp} type port-unreachable
  }}
  chain leaving {{ type filter hook output priority 0;
    {rst_rules}
  }}
}}
"""


def _limits(family: str, hosts: Hosts, units: Mapping[str, str], side: str, flags: str) -> tuple[str, str]:
    """Sets and rules that drop what comes, or leaves, faster than each host's own limit."""
    kind, alike = FAMILIES[family][0], defaultdict(list)
    for address, host in hosts:
        if host.get("limit") in units:
            rate = BAN_PER_MINUTE if host["limit"] == "ban" else host["per_second"]
            alike[host["limit"], rate, host["at_once"]].append(address)
    sets, rules = [], []
    for (limit, rate, at_once), addresses in alike.items():
        name = f"{limit}_{rate}_{at_once}"
        sets.append(_set(name, kind, addresses))
        sets.append(f"set {name}_meter {{ type {kind}; size 1024; flags dynamic; timeout 1h; }}")
        over = f"limit rate over {rate}/{units[limit]} burst {at_once} packets"
        meter = f"update @{name}_meter {{ {family} {side} {over} }}"
        rules.append(f"{family} {side} @{name} tcp flags & {flags} {meter} drop")
    return "\n  ".join(sets), "\n    ".join(rules)


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"set {name} {{ type {kind}; {f'elements = {{ {listed} }}' if listed else ''} }}"


def _pairs(hosts: Hosts, kind: str) -> Iterable[str]:
    return (f"{address} . {port}" for address, host in hosts for port in host[kind])
