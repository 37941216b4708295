"""One process of many that share a budget; test_budgets.py starts ten of them on the test's database.

    probe RATE ADDRESS PORT SECONDS   connect as fast as the grants allow; prints "time sent" as it goes
    source NAME PER_MINUTE SECONDS    draw on a source's quota; prints the time of each grant

It says "ready", and begins at the first line it reads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from ipaddress import ip_address


def probe(rate: float, address: str, port: int, seconds: float) -> None:
    from scans.core.options import ProbeOptions
    from scans.core.probe import HostPlan, ProbeEngine
    from scans.services.budgets import ProbeGrants

    grants, ended = ProbeGrants(per_second=rate), threading.Event()
    engine = ProbeEngine(ProbeOptions(rate_per_second=rate), may_connect=lambda _: True, pace=grants.pace)
    for number in range(int(rate * seconds) // 8):
        engine.submit(HostPlan(key=number, address=ip_address(address), ports=tuple(range(port, port + 8)), is_paced=True))
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
            probe(float(rate), address, int(port), float(seconds))
        case ["source", name, per_minute, seconds]:
            source(name, float(per_minute), float(seconds))
