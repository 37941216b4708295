"""One process of many that share a budget; test_budgets.py starts ten of them on the test's database.

    probe RATE ADDRESS PORT SECONDS   connect as fast as the grants allow; prints "time sent" as it goes
    network RATE ADDRESSES PORT SECONDS   the same, with that rate for each network and none for all; more than one address
    source NAME PER_MINUTE SECONDS    draw on a source's quota; prints the time of each grant

It says "ready", and begins at the first line it reads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from ipaddress import ip_address


def probe(addresses: list[str], port: int, seconds: float, **rates: float) -> None:
    from scans.core.options import ProbeOptions
    from scans.core.probe import HostPlan, ProbeEngine
    from scans.services.budgets import ProbeGrants

    grants, ended = ProbeGrants(**rates), threading.Event()
    engine = ProbeEngine(ProbeOptions(), may_connect=lambda _: True, pace=grants.pace)
    for number in range(int(sum(rates.values()) * seconds) // 8):
        for address in map(ip_address, addresses):
            plan = HostPlan(key=(number, address), address=address, ports=tuple(range(port, port + 8)), is_paced=True)
            engine.submit(plan)
    prober = threading.Thread(target=lambda: [None for _ in engine.run()], daemon=True)
    prober.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        grants.serve(ended, 0.05)
        print(time.monotonic(), engine.stats.sent, flush=True)
    engine.cancel()
    prober.join()
    grants.end()


def source(name: str, per_minute: float, seconds: float) -> None:
    from scans.adapters import DatabaseBudget

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if DatabaseBudget().draw(name, per_minute=per_minute) == 0:
            print(time.monotonic(), 1, flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    import django

    django.setup()
    print("ready", os.getpid(), flush=True)
    sys.stdin.readline()
    match sys.argv[1:]:
        case ["probe", rate, address, port, seconds]:
            probe([address], int(port), float(seconds), per_second=float(rate), network_per_second=0)
        case ["network", rate, addresses, port, seconds]:
            probe(addresses.split(","), int(port), float(seconds), per_second=0, network_per_second=float(rate))
        case ["source", name, per_minute, seconds]:
            source(name, float(per_minute), float(seconds))
