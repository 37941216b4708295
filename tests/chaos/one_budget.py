"""The inside of test_one_budget.py: runs in a network and mount namespace of its own.

    host a, 3 workers ─┐
    host b, 3 workers ─┼─ bridge, with Postgres ── the ground: answers for all of 10.66.0.0/16
    host c, 4 workers ─┘                         └ here every connection is counted

Prints what happened as JSON.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

from tests.chaos.hosts import Host, at_work, build_network, database, inside, ip, manage
from tests.chaos.ledger import Ledger
from tests.chaos.wire import Wire
from tests.patience import PATIENCE
from tests.stack import becomes

HOSTS = {"a": "10.99.0.2", "b": "10.99.0.3", "c": "10.99.0.4"}
WORKERS = {"a": 3, "b": 3, "c": 4}
GROUND, NETWORK = "10.99.0.9", "10.66.0.0/16"
RATE, NETWORK_RATE = 200, 80
SECONDS = 20  # as many connections are waited for as the rate makes in so long
SETTINGS = {
    "PROBE_RATE": str(RATE),
    "PROBE_NETWORK_RATE": str(NETWORK_RATE),
    "SCAN_TREAT_AS_GLOBAL": NETWORK,
    "SCAN_ALLOW_NETWORKS": NETWORK,
}

# Large jobs keep all ten busy: a worker holds four targets with so many ports, and there are more than forty. They would
# take a quarter of an hour and are cancelled. Of four targets three are in one crowded network, one is alone in its own.
LARGE_PORTS, LARGE_JOBS, LARGE_TARGETS = range(20000, 24096), 4, 12
LARGE = [f"10.66.{n // 4 + 1}.1" if n % 4 == 3 else f"10.66.0.{n + 1}" for n in range(LARGE_JOBS * LARGE_TARGETS)]
SMALL_PORTS, OPEN_PORT = range(71, 81), 80
SMALL = [[f"10.66.{100 + n}.{host}" for host in range(1, 5)] for n in range(6)]
JOBS = [
    *(("large", LARGE[at : at + LARGE_TARGETS], LARGE_PORTS) for at in range(0, len(LARGE), LARGE_TARGETS)),
    *(("small", targets, SMALL_PORTS) for targets in SMALL),
]
SUBMIT = """
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
for label, targets, ports in %r:
    items = tuple(SubmittedItem(pointer=f'/{n}', text=target) for n, target in enumerate(targets))
    submit_scan(ScanRequest(items=items, ports=tuple(ports), label=label))
"""
CANCEL = """
from scans.models import ScanJob
from scans.services.audit import COMMAND_LINE
from scans.services.cancel import cancel_job
for job in ScanJob.objects.filter(label='large'):
    assert cancel_job(job, by=COMMAND_LINE)
"""


def main(directory: Path) -> None:
    build_network({**HOSTS, "ground": GROUND})
    ip("-n", "ground", "route", "add", "local", NETWORK, "dev", "lo")
    for name in HOSTS:
        ip("-n", name, "route", "add", NETWORK, "via", GROUND)
    wire = Wire("to-ground")
    settings = {name: {**SETTINGS, "Q_WORKERS": str(workers)} for name, workers in WORKERS.items()}
    with serving(), database(directory) as (ledger, url), at_work(directory, ledger, url, settings) as hosts:
        manage(directory, ledger, "shell", "-c", SUBMIT % JOBS, **SETTINGS, Q_WORKERS="10")
        print(json.dumps(story(directory, ledger, hosts, wire)))


@contextmanager
def serving() -> Iterator[None]:
    """A web server on every address of the ground; its other ports are closed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*inside("ground"), sys.executable, "-m", "http.server", str(OPEN_PORT)], **quiet)
    try:
        yield
    finally:
        server.kill()
        server.wait(PATIENCE)


def story(directory: Path, ledger: Ledger, hosts: list[Host], wire: Wire) -> dict[str, object]:
    """All work until enough was sent; then the large jobs are cancelled, and everything ends."""
    slices: dict[str, set[tuple[str, int]]] = {host.name: set() for host in hosts}  # with work: lease, process

    def have_done_enough() -> bool:
        note_slices(ledger, hosts, slices)
        return (
            len(wire.connections()) >= RATE * SECONDS
            and all(len({pid for _, pid in slices[name]}) >= workers for name, workers in WORKERS.items())
            and not ledger.count("SELECT count(*) FROM scans_scanjob WHERE label = 'small' AND state <> 'complete'")
        )

    assert becomes(have_done_enough), f"{len(wire.connections())} connections, {slices}"
    manage(directory, ledger, "shell", "-c", CANCEL)
    assert becomes(ledger.is_all_done), "everything ends"
    return {
        "workers": {name: len({pid for _, pid in found}) for name, found in slices.items()},
        "slices": sum(map(len, slices.values())),
        "states": states(ledger),
        "not_once": ledger.not_once(),
        **measured(wire),
    }


def note_slices(ledger: Ledger, hosts: list[Host], slices: dict[str, set[tuple[str, int]]]) -> None:
    held = ledger.rows(
        "SELECT DISTINCT t.lease::text, h.pid FROM scans_targetresult t JOIN scans_workerheartbeat h ON h.id = t.lease"
        " WHERE t.state = 'leased'"
    )
    for host in hosts:
        own = host.pids()
        slices[host.name] |= {(lease, pid) for lease, pid in held if pid in own}


def states(ledger: Ledger) -> list[tuple[object, ...]]:
    return ledger.rows(
        "SELECT j.label, t.state, t.open_ports, count(*) FROM scans_targetresult t JOIN scans_scanjob j ON j.id = t.job_id"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )


def measured(wire: Wire) -> dict[str, object]:
    """What arrived at the ground, by the kernel's clock."""
    begun = wire.connections()
    of_network, of_host = defaultdict(list), dict.fromkeys(HOSTS, 0)
    names = {address: name for name, address in HOSTS.items()}
    for at, source, destination in begun:
        of_network[str(ip_network((int(destination) >> 8 << 8, 24)))].append(at)
        of_host[names[str(source)]] += 1
    moments = [at for at, _, _ in begun]
    return {
        "connections": len(begun),
        "of_host": of_host,
        "seconds": moments[-1] - moments[0],
        "beyond_s": most_beyond(moments, RATE),
        "crowded": len(of_network["10.66.0.0/24"]),
        "networks_beyond_s": max(most_beyond(some, NETWORK_RATE) for some in of_network.values()),
    }


def most_beyond(moments: Sequence[float], rate: float) -> float:
    """How far the fullest of all stretches of time goes beyond the rate, in seconds of it. The moments ascend."""
    worst, least = 0.0, math.inf
    for n, at in enumerate(moments):
        least = min(least, n / rate - at)
        worst = max(worst, (n + 1) / rate - at - least)
    return worst


if __name__ == "__main__":
    main(Path(sys.argv[1]))
