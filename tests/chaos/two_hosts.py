"""The inside of test_two_hosts.py: runs in a network and mount namespace of its own, prints what happened as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests import with_postgres
from tests.chaos.ledger import Ledger
from tests.cluster import descendants
from tests.patience import PATIENCE
from tests.stack import ROOT, becomes, environment

HOSTS = {"a": "10.99.0.2", "b": "10.99.0.3"}
BRIDGE = "10.99.0.1"
KEY = "the-same-on-every-host-" * 3
CUT_SECONDS = 25
TARGETS, PORTS = 48, range(20000, 20500)  # a worker holds about sixteen of them at once
SILENCE = "table inet silence { chain input { type filter hook input priority 0; ip daddr 127.80.0.0/16 drop; }; }"
SUBMIT = """
from scans.services.jobs import ScanRequest, SubmittedItem, submit_scan
items = (SubmittedItem(pointer='/0', text='127.80.0.1-127.80.0.%d'),)
submit_scan(ScanRequest(items=items, ports=tuple(range(%d, %d))))
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def build_network() -> None:
    """`ip netns` keeps its names in /run/netns, which gets a file system of this namespace's own."""
    Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
    ip("link", "set", "lo", "up")
    ip("link", "add", "bridge0", "type", "bridge")
    ip("addr", "add", f"{BRIDGE}/24", "dev", "bridge0")
    ip("link", "set", "bridge0", "up")
    for name, address in HOSTS.items():
        ip("netns", "add", name)
        ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"to-{name}", "master", "bridge0", "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")


class Host:
    """`manage.py worker` in one of the namespaces. It scans loopback addresses of its own, which never answer."""

    def __init__(self, name: str, directory: Path, url: str) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        inside = ["ip", "netns", "exec", name]
        subprocess.run([*inside, "nft", "-f", "-"], input=SILENCE, text=True, check=True)
        env = environment(directory / name, DATABASE_URL=url, SECRET_KEY=KEY, Q_WORKERS="1", PROBE_ATTEMPTS="2")
        with self.log.open("wb") as file:
            command = [*inside, sys.executable, "manage.py", "worker"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True)

    def set_link(self, state: str) -> None:
        ip("link", "set", f"to-{self.name}", state)

    def pids(self) -> set[int]:
        """The processes below it; all hosts share the machine's process numbers."""
        return set(descendants(self.process.pid))


def main(directory: Path) -> None:
    build_network()
    tools = with_postgres.postgres_bin()
    with_postgres.SETTINGS = with_postgres.SETTINGS.replace("127.0.0.1", f"127.0.0.1,{BRIDGE}")
    with with_postgres.server(tools) as url:
        ledger = Ledger(url=url)
        ((file,),) = ledger.rows("SHOW hba_file")
        with Path(file).open("a") as hba:
            hba.write("host all all 10.99.0.0/24 trust\n")
        ledger.rows("SELECT pg_reload_conf()")
        print(json.dumps(story(directory, ledger, url.replace("127.0.0.1", BRIDGE))))


def story(directory: Path, ledger: Ledger, remote_url: str) -> dict[str, object]:
    """Both hosts work; the link of one goes down and comes back; everything ends."""
    manage(directory, ledger, "migrate", "--verbosity", "0")
    ledger.count_from_now()
    hosts: list[Host] = []
    try:
        hosts = [Host(name, directory, remote_url) for name in HOSTS]
        supervisors = "SELECT count(*) FROM scans_workerheartbeat WHERE kind = 'supervisor'"
        assert becomes(lambda: ledger.count(supervisors) == len(hosts))
        manage(directory, ledger, "shell", "-c", SUBMIT % (TARGETS, PORTS.start, PORTS.stop))
        return cut(ledger, hosts)
    except AssertionError:
        for host in hosts:
            print(host.log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        for host in hosts:
            host.process.kill()  # and the kernel all below it
            host.process.wait(PATIENCE)


def cut(ledger: Ledger, hosts: list[Host]) -> dict[str, object]:
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


def manage(directory: Path, ledger: Ledger, *arguments: str) -> None:
    env = environment(directory / "manage", DATABASE_URL=ledger.url, SECRET_KEY=KEY)
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
