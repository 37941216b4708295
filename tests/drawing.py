"""One process of many that share a budget; test_budgets.py starts ten of them on the test's database.

    probe RATE ADDRESS PORT SECONDS LEAST MEETING   connect as fast as the grants allow; prints "time sent" as it goes
    network RATE ADDRESSES PORT SECONDS LEAST MEETING   the same, with that rate for each network and none for all
    source NAME PER_MINUTE SECONDS   draw on a source's quota; prints "time grants" before and after each draw

It says "ready", and begins at the first line it reads. Those that probe go on for so many seconds, and then until each of
them has made the least number of connections, which it says by a file in the directory where they meet.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from ipaddress import ip_address
from pathlib import Path

from tests.patience import PATIENCE

PROCESSES = 10


def probe(addresses: list[str], port: int, seconds: float, least: int, meeting: Path, **rates: float) -> None:
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
    began = time.monotonic()
    print(began, 0, flush=True)
    prober.start()
    while (lasted := time.monotonic() - began) < seconds or (_missing(meeting) and lasted < PATIENCE):
        grants.serve(ended, 0.05)
        print(time.monotonic(), engine.stats.sent, flush=True)
        if engine.stats.sent >= least:
            (meeting / str(os.getpid())).touch()
    engine.cancel()
    prober.join()
    print(time.monotonic(), engine.stats.sent, flush=True)
    grants.end()


def _missing(meeting: Path) -> int:
    return PROCESSES - len(list(meeting.iterdir()))


def source(name: str, per_minute: float, seconds: float) -> None:
    from scans.adapters import DatabaseBudget
    from scans.core.budgets import Limit

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        print(time.monotonic(), 0, flush=True)
        granted = DatabaseBudget().draw(name, (Limit(per_minute, 60),)) is None
        print(time.monotonic(), int(granted), flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    import django

    django.setup()
    print("ready", os.getpid(), flush=True)
    sys.stdin.readline()
    match sys.argv[1:]:
        case ["probe", rate, address, port, seconds, least, meeting]:
            rates = {"per_second": float(rate), "network_per_second": 0}
            probe([address], int(port), float(seconds), int(least), Path(meeting), **rates)
        case ["network", rate, addresses, port, seconds, least, meeting]:
            rates = {"per_second": 0, "network_per_second": float(rate)}
            probe(addresses.split(","), int(port), float(seconds), int(least), Path(meeting), **rates)
        case ["source", name, per_minute, seconds]:
            source(name, float(per_minute), float(seconds))
