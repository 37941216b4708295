"""The truth table: workload by workload, which hosts there are and what each of their ports does.

A host is {"default": "closed" | "filtered", "open": [...], "filtered": [...], "unreach": [...]}: the state of the ports that
are not named, and the exceptions; `unreach` answers with ICMP port-unreachable. "limit" names a host that answers at most
`per_second` times a second after the first `at_once`: "syn" drops what comes faster, "rst" keeps its refusals back, and
"ban" has had enough after `at_once` and never answers again.
"""

from __future__ import annotations

import random
from ipaddress import ip_network
from typing import Any

NETWORK = "10.99.0.0/16"
NETWORK_6 = "fd99::/48"
DEFAULT_SEED = 20261124
COMMON_100 = (
    "7,9,13,21-23,25,26,37,53,79-81,88,106,110,111,113,119,135,139,143,144,179,199,389,427,443-445,465,513-515,543,544,548,554,"
    "587,631,646,873,990,993,995,1025-1029,1110,1433,1720,1723,1755,1900,2000,2001,2049,2121,2717,3000,3128,3306,3389,3986,"
    "4899,5000,5009,5051,5060,5101,5190,5357,5432,5631,5666,5800,5900,6000,6001,6646,7070,8000,8008,8009,8080,8081,8443,8888,"
    "9100,9999,10000,32768,49152-49157"
)
COMMON_20 = "21-23,25,53,80,110,111,135,139,143,443,445,993,995,1723,3306,3389,5900,8080"
DEFAULT_24 = "21,22,25,53,80,110,143,443,465,587,993,995,1433,1521,1723,2049,2375,3306,3389,5432,5900,6379,8080,8443"

Host = dict[str, Any]
Workload = dict[str, Any]  # {"targets": text, "ports": text, "hosts": {address: Host}}


def draw(seed: int) -> dict[str, Workload]:
    """All workloads, by name; the same seed gives the same table."""
    chance = random.Random(seed)
    return {
        "w1": _every_port_of_one_host(chance),
        "w2": _many_hosts(chance),
        "w3": _mostly_dark(chance),
        "w4": _limiting_hosts(chance),
        "w5": _services(),
        "w6": _many_hosts(random.Random(seed + 6), "fd99:0:0:1::/120"),
        "w7": _odd_hosts(random.Random(seed + 7)),
        "jobs": _jobs(chance),
    }


def ports_of(text: str) -> list[int]:
    """Every port of a list such as 22,80-90."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _host(default: str = "closed", *, opened: list[int], **more: Any) -> Host:
    return {"default": default, "open": sorted(opened), "filtered": [], "unreach": [], **more}


def _workload(targets: str, ports: str, hosts: dict[str, Host]) -> Workload:
    return {"targets": targets, "ports": ports, "hosts": hosts}


def _addresses(network: str) -> list[str]:
    return [str(address) for address in ip_network(network)]


def _every_port_of_one_host(chance: random.Random) -> Workload:
    special = chance.sample(range(1, 65536), 48 + 512 + 64)
    host = _host(opened=special[:48], filtered=sorted(special[48:560]), unreach=sorted(special[560:]))
    return _workload("10.99.0.1/32", "1-65535", {"10.99.0.1": host})


def _many_hosts(chance: random.Random, network: str = "10.99.1.0/24") -> Workload:
    """A fifth is silent on every port that is not open."""
    ports = ports_of(COMMON_100)
    hosts = {
        address: _host("filtered" if chance.random() < 0.2 else "closed", opened=chance.sample(ports, chance.randint(1, 5)))
        for address in _addresses(network)
    }
    return _workload(network, COMMON_100, hosts)


def _mostly_dark(chance: random.Random) -> Workload:
    """Nine of ten hosts do not exist."""
    ports = ports_of(COMMON_20)
    hosts = {}
    for address in _addresses("10.99.16.0/20"):
        is_dark = chance.random() < 0.9
        opened = [] if is_dark else chance.sample(ports, chance.randint(1, 3))
        hosts[address] = _host("filtered" if is_dark else "closed", opened=opened)
    return _workload("10.99.16.0/20", COMMON_20, hosts)


def _limiting_hosts(chance: random.Random) -> Workload:
    hosts = {
        address: _host(opened=chance.sample(range(1, 1001), 6), limit="rst" if i % 2 else "syn", per_second=200, at_once=50)
        for i, address in enumerate(_addresses("10.99.2.0/28"))
    }
    return _workload("10.99.2.0/28", "1-1000", hosts)


def _odd_hosts(chance: random.Random) -> Workload:
    """Everything at once: limits slow and quick on hosts that also filter, hosts that answer everywhere, doors that shut."""
    limits = [(limit, rate) for limit in ("syn", "rst") for rate in (20, 50, 100, 400)] * 2
    hosts = {}
    for address in _addresses("10.99.4.0/27"):
        ports = chance.sample(range(1, 501), 500)
        if limits:
            limit, rate = limits.pop()
            more = {"limit": limit, "per_second": rate, "at_once": max(5, rate // 4)}
            hosts[address] = _host(opened=ports[:6], **more) | {"filtered": sorted(ports[6:206])}
        elif len(hosts) < 18:
            hosts[address] = _host(opened=ports)
        elif len(hosts) < 22:
            hosts[address] = _host(opened=ports[:6], limit="ban", at_once=200)
        else:
            hosts[address] = _host(opened=ports[:6]) | {"filtered": sorted(ports[6:256])}
    return _workload("10.99.4.0/27", "1-500", hosts)


def _services() -> Workload:
    hosts = {address: _host(opened=[22, 25, 80, 443]) for address in _addresses("10.99.3.0/24")}
    return _workload("10.99.3.0/24", "22,25,80,443", hosts)


def _jobs(chance: random.Random) -> Workload:
    """What a customer's list looks like: a fifth of the hosts silent, some with a port open that others can see."""
    ports, hosts = ports_of(DEFAULT_24), {}
    for address in _addresses("10.99.64.0/18"):
        is_dark = chance.random() < 0.2
        opened = [] if is_dark or chance.random() < 0.9 else chance.sample(ports, 2)
        hosts[address] = _host("filtered" if is_dark else "closed", opened=opened)
    return _workload("10.99.64.0/18", DEFAULT_24, hosts)
