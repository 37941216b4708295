"""Worker hosts on one machine, each in a network namespace, with one Postgres on the bridge between them.

    host a ─ veth ─┐
    host b ─ veth ─┼─ bridge, with Postgres on its address
    …             ─┘

`run_apart` runs a module inside a namespace of its own; the module builds the network there, and nothing of it is connected
to this machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import with_postgres
from tests.chaos.ledger import Ledger
from tests.cluster import descendants
from tests.patience import PATIENCE
from tests.stack import ROOT, becomes, environment

MISSING = [tool for tool in ("unshare", "ip", "mount", "nft") if not shutil.which(tool)]
BRIDGE = "10.99.0.1"
KEY = "the-same-on-every-host-" * 3


def run_apart(module: str, directory: Path) -> dict[str, Any]:
    """What the module printed last, as JSON. Skips the test where that cannot be done."""
    if MISSING or os.geteuid() != 0 or with_postgres.postgres_bin() is None:
        pytest.skip(f"needs root, Postgres and {', '.join(MISSING) or 'nothing else'}")
    can_unshare = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True)
    if can_unshare.returncode:
        pytest.skip(f"no network namespaces here: {can_unshare.stderr.strip()}")
    command = ["unshare", "--net", "--mount", sys.executable, "-m", module, str(directory)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2500)
    assert ran.returncode == 0, ran.stderr[-4000:] + ran.stdout[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


# --- Inside --------------------------------------------------------------------------------------------------------


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def inside(name: str) -> list[str]:
    """The beginning of a command line that runs a program in one of the namespaces."""
    return ["ip", "netns", "exec", name]


def build_network(addresses: Mapping[str, str]) -> None:
    """A namespace for each name. `ip netns` keeps them in /run/netns, which gets a file system of this namespace's own."""
    Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
    ip("link", "set", "lo", "up")
    ip("link", "add", "bridge0", "type", "bridge")
    ip("addr", "add", f"{BRIDGE}/24", "dev", "bridge0")
    ip("link", "set", "bridge0", "up")
    for name, address in addresses.items():
        ip("netns", "add", name)
        ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"to-{name}", "master", "bridge0", "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")


@contextmanager
def database(directory: Path) -> Iterator[tuple[Ledger, str]]:
    """A Postgres that the hosts reach, with our tables and counting triggers; and its URL for them."""
    tools = with_postgres.postgres_bin()
    settings = with_postgres.SETTINGS.replace("127.0.0.1", f"127.0.0.1,{BRIDGE}")
    with_postgres.SETTINGS = f"{settings} -c max_connections=120"
    with with_postgres.server(tools) as url:
        ledger = Ledger(url=url)
        ((file,),) = ledger.rows("SHOW hba_file")
        with Path(file).open("a") as hba:
            hba.write("host all all 10.99.0.0/24 trust\n")
        ledger.rows("SELECT pg_reload_conf()")
        manage(directory, ledger, "migrate", "--verbosity", "0")
        ledger.count_from_now()
        yield ledger, url.replace("127.0.0.1", BRIDGE)


class Host:
    """`manage.py worker` in one of the namespaces."""

    def __init__(self, name: str, directory: Path, url: str, **changes: str) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        env = environment(directory / name, DATABASE_URL=url, SECRET_KEY=KEY, **changes)
        with self.log.open("wb") as file:
            command = [*inside(name), sys.executable, "manage.py", "worker"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True)

    def set_link(self, state: str) -> None:
        ip("link", "set", f"to-{self.name}", state)

    def pids(self) -> set[int]:
        """The processes below it; all hosts share the machine's process numbers."""
        return set(descendants(self.process.pid))


@contextmanager
def at_work(directory: Path, ledger: Ledger, url: str, settings: Mapping[str, Mapping[str, str]]) -> Iterator[list[Host]]:
    """A host for each name, with settings of its own, once all have begun. Prints their logs if the block fails."""
    hosts: list[Host] = []
    try:
        for name, changes in settings.items():
            hosts.append(Host(name, directory, url, **changes))
        supervisors = "SELECT count(*) FROM scans_workerheartbeat WHERE kind = 'supervisor'"
        assert becomes(lambda: ledger.count(supervisors) == len(hosts))
        yield hosts
    except AssertionError:
        for host in hosts:
            print(host.log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        for host in hosts:
            host.process.kill()  # and the kernel all below it
            host.process.wait(PATIENCE)


def manage(directory: Path, ledger: Ledger, *arguments: str, **changes: str) -> None:
    env = environment(directory / "manage", DATABASE_URL=ledger.url, SECRET_KEY=KEY, **changes)
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
