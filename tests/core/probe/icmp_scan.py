"""Run by test_probe_icmp.py inside a network namespace of its own: prints what the engine finds there, as JSON.

Nothing here leaves the namespace: it has no interface but its loopback.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
from ipaddress import ip_address

from scans.core.options import ProbeOptions
from scans.core.probe import HostPlan, ProbeEngine
from scans.core.probe import engine as engine_module
from scans.core.probe.network import KERNEL
from scans.core.probe.sockets import SocketPool
from tests.servers import listening

RULES = """
table inet walls {
  chain input {
    type filter hook input priority 0;
    tcp dport 1001 reject with icmp type port-unreachable
    tcp dport 1002 reject with icmp type admin-prohibited
    tcp dport 1003 reject with icmp type host-unreachable
    tcp dport 1004 drop
    tcp dport 1011 reject with icmpv6 type port-unreachable
    tcp dport 1012 reject with icmpv6 type admin-prohibited
    tcp dport 1013 reject with icmpv6 type no-route
  }
}
"""
COMMANDS = ("ip link set lo up", "ip route add prohibit 192.0.2.1", "ip route add unreachable 192.0.2.2")


def main() -> None:
    for command in COMMANDS:
        subprocess.run(command.split(), check=True)
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
    engine_module.STARVED_SECONDS = 0.3
    with listening("127.0.0.1", 80), listening("::1", 80):
        found = scan(
            {"127.0.0.1": [*range(1001, 1005), *range(2000, 2200), 80], "::1": [*range(1011, 1014), *range(2000, 2200), 80]}
        )
        found |= scan(
            {"192.0.2.1": [80], "192.0.2.2": [80], "192.0.2.3": [80], "2001:db8::1": [80], "fe80::1%nowhere": [80]}
        )
    found |= {"parked": {port: parked_after(port) for port in (1002, 1004)}}
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1"], check=True)
    found |= {f"disabled {address}": ports for address, ports in scan({"::1": [80]}).items()}
    print(json.dumps({"found": found}))


def parked_after(port: int) -> int:
    """How many sockets are parked once one was given up whose error queue holds what came from that port."""
    with select.epoll() as epoll:
        pool = SocketPool(KERNEL, epoll, most_open=1)
        flight = pool.make(socket.AF_INET)
        flight.connect(("127.0.0.1", port))  # inside which the message comes
        pool.watch(flight)
        pool.recycle(flight)
        parked = len(pool.parked[socket.AF_INET])
        pool.close()
    return parked


def scan(plans: dict[str, list[int]]) -> dict[str, dict[int, list[object]]]:
    engine = ProbeEngine(ProbeOptions(), may_connect=lambda address: True)
    for address, ports in plans.items():
        engine.submit(HostPlan(key=address, address=ip_address(address), ports=ports, is_paced=False))
    engine.finish()
    results = [result for batch in engine.run() for result in batch]
    return {
        result.key: {probe.port: [probe.state, probe.reason, probe.attempts] for probe in result.probes}
        for result in results
    }


if __name__ == "__main__":
    main()
