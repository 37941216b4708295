"""The inside of test_two_hosts.py: runs in a network and mount namespace of its own, prints what happened as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.hosts import Host, at_work, build_network, database, inside, manage
from tests.chaos.ledger import Ledger
from tests.stack import becomes

HOSTS = {"a": "10.99.0.2", "b": "10.99.0.3"}
CUT_SECONDS = 25
TARGETS, PORTS = 48, range(20000, 20500)  # a worker holds about sixteen of them at once
# The hosts scan loopback addresses of their own, which never answer.
SILENCE = "table inet silence { chain input { type filter hook input priority 0; ip daddr 127.80.0.0/16 drop; }; }"
SUBMIT = """
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
items = (SubmittedItem(pointer='/0', text='127.80.0.1-127.80.0.%d'),)
submit_scan(ScanRequest(items=items, ports=tuple(range(%d, %d))))
"""


def main(directory: Path) -> None:
    build_network(HOSTS)
    for name in HOSTS:
        subprocess.run([*inside(name), "nft", "-f", "-"], input=SILENCE, text=True, check=True)
    settings = {name: {"Q_WORKERS": "1", "PROBE_ATTEMPTS": "2"} for name in HOSTS}
    with database(directory) as (ledger, url), at_work(directory, ledger, url, settings) as hosts:
        manage(directory, ledger, "shell", "-c", SUBMIT % (TARGETS, PORTS.start, PORTS.stop))
        print(json.dumps(cut(ledger, hosts)))


def cut(ledger: Ledger, hosts: list[Host]) -> dict[str, object]:
    """Both hosts work; the link of one goes down and comes back; everything ends."""
    first, _ = hosts
    assert becomes(lambda: all(held_by(ledger, host) for host in hosts)), "both work"
    time.sleep(2)
    first.set_link("down")
    began = time.time()
    lost = held_by(ledger, first)
    assert becomes(lambda: lost - held_by(ledger, first)), "the other takes over"
    taken_over = time.time() - began
    time.sleep(max(0, began + CUT_SECONDS - time.time()))
    first.set_link("up")
    assert becomes(ledger.is_all_done), "everything ends"
    not_once = ledger.not_once()
    states = dict(ledger.rows("SELECT state, count(*) FROM scans_targetresult GROUP BY state"))
    return {"targets": TARGETS, "states": states, "not_once": not_once, "cut_off": len(lost), "taken_over_s": taken_over}


def held_by(ledger: Ledger, host: Host) -> set[int]:
    """The rows that its workers hold a lease on, which may have run out."""
    held = ledger.rows(
        "SELECT t.id, h.pid FROM scans_targetresult t JOIN scans_workerheartbeat h ON h.id = t.lease"
        " WHERE t.state = 'leased'"
    )
    own = host.pids()
    return {row for row, pid in held if pid in own}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
