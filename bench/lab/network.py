"""Builds the lab's namespaces, links, rules and processes, switches the path, and takes it all down again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.lab import rules, truth

ROOT = Path(__file__).resolve().parent.parent.parent
# Not in /tmp, where anybody could leave a file that names a process for root to kill.
STATE = Path(os.environ.get("LAB_STATE", "/run/ipscan-lab"))
HERE, WIRE, THERE = "ipscan-here", "ipscan-wire", "ipscan-there"
READY_SECONDS = 60
ADDRESSES = {"d0": "10.98.0.1/30", "d1": "10.98.0.2/30", "w0": "10.97.0.1/30", "w1": "10.97.0.2/30"}
ADDRESSES_6 = {"d0": "fd98::1/126", "d1": "fd98::2/126", "w0": "fd97::1/126", "w1": "fd97::2/126"}
SETTINGS_THERE = (
    "net.ipv4.tcp_max_syn_backlog=65535",
    "net.core.somaxconn=65535",
    "net.ipv4.tcp_syncookies=0",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
    "net.ipv6.ip_nonlocal_bind=1",  # to addresses that are only routed here
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """What lies between scanner and hosts. Without a delay a plain cable; else the wire, each way."""

    delay_us: int = 0
    jitter_us: int = 0
    loss_per_million: int = 0


PROFILES = {
    "lan": Route(),
    "lan200us": Route(delay_us=75),
    "wan40": Route(delay_us=20_000, jitter_us=3_000),
    "lossy80": Route(delay_us=40_000, jitter_us=5_000, loss_per_million=20_000),
}


def up(profile: str, *, seed: int = truth.DEFAULT_SEED) -> dict[str, truth.Workload]:
    """Build it anew; returns the truth table. Raises CalledProcessError with what a tool said."""
    down()
    STATE.mkdir(parents=True)
    run("gcc", "-O2", "-o", STATE / "wire", Path(__file__).with_name("wire.c"))
    workloads = truth.draw(seed)
    (STATE / "truth.json").write_text(json.dumps(workloads))
    _make_links()
    for network in (truth.NETWORK, truth.NETWORK_6):
        run("ip", "route", "add", "local", network, "dev", "lo", inside=THERE)
    for setting in SETTINGS_THERE:
        run("sysctl", "-qw", setting, inside=THERE, check=False)
    run("nft", "-f", "-", inside=THERE, text=rules.nftables(workloads))
    _start("services", sys.executable, "-m", "bench.lab.services", STATE / "truth.json", STATE / "ready", inside=THERE)
    _wait_for(STATE / "ready")
    use(profile)
    return workloads


def standing() -> dict[str, truth.Workload]:
    """The truth table of the lab that is up."""
    return json.loads((STATE / "truth.json").read_text())


def use(profile: str) -> None:
    """Lead the hosts' networks over the path of this profile."""
    path = PROFILES[profile]
    _stop("wire")
    link, beyond = ("w0", "w1") if path.delay_us else ("d0", "d1")
    for network, addresses in ((truth.NETWORK, ADDRESSES), (truth.NETWORK_6, ADDRESSES_6)):
        run("ip", "route", "replace", network, "via", _bare(addresses[beyond]), "dev", link, inside=HERE)
    if path.delay_us:
        figures = (path.delay_us, path.jitter_us, path.loss_per_million, truth.DEFAULT_SEED)
        _start("wire", STATE / "wire", "wa", "wb", *figures, inside=WIRE)
        time.sleep(0.3)  # until it has opened its sockets
    (STATE / "profile").write_text(profile)


def wire_counters() -> dict[str, int]:
    """What the wire has counted since `use`, which is called again. A run with `ring_drops` measured the wire."""
    profile = (STATE / "profile").read_text()
    _stop("wire")
    log = STATE / "wire.log"
    said = log.read_text().strip() if log.exists() else ""
    use(profile)
    return json.loads(said) if said else {}


def inside_command(*command: object, where: str = HERE) -> list[str]:
    """The command as it runs where the scanner stands, or in another namespace."""
    return ["ip", "netns", "exec", where, *map(str, command)]


def way_out(*, is_ipv6: bool = False) -> tuple[str, str, str]:
    """For programs that make their own frames: the link to the hosts, the address on it, the hardware address beyond."""
    is_wire = PROFILES[(STATE / "profile").read_text()].delay_us
    link, beyond = ("w0", "w1") if is_wire else ("d0", "d1")
    hardware = run("cat", f"/sys/class/net/{beyond}/address", inside=THERE).strip().replace(":", "-")
    return link, _bare((ADDRESSES_6 if is_ipv6 else ADDRESSES)[link]), hardware


def down() -> None:
    """Take everything away; may be called at any time."""
    for name in ("wire", "services"):
        _stop(name)
    known = run("ip", "netns", "list", check=False)
    for name in (HERE, WIRE, THERE):
        if name in known:
            run("ip", "netns", "del", name, check=False)
    shutil.rmtree(STATE, ignore_errors=True)


def run(*command: object, inside: str = "", text: str | None = None, check: bool = True) -> str:
    """Run a tool, perhaps in a namespace; returns what it printed."""
    enter = ["ip", "netns", "exec", inside] if inside else []
    done = subprocess.run([*enter, *map(str, command)], input=text, text=True, capture_output=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def _make_links() -> None:
    for name in (HERE, WIRE, THERE):
        run("ip", "netns", "add", name)
        run("ip", "link", "set", "lo", "up", inside=name)
        run("sysctl", "-qw", "net.ipv6.conf.default.accept_ra=0", inside=name)
    for link, inside, peer, beyond in (("d0", HERE, "d1", THERE), ("w0", HERE, "wa", WIRE), ("w1", THERE, "wb", WIRE)):
        run("ip", "link", "add", link, "netns", inside, "type", "veth", "peer", "name", peer, "netns", beyond)
    ends = (("d0", HERE), ("d1", THERE), ("w0", HERE), ("w1", THERE), ("wa", WIRE), ("wb", WIRE))
    for link, inside in ends:
        run("ip", "link", "set", link, "txqueuelen", 100_000, "up", inside=inside)
        if link in ADDRESSES:
            run("ip", "address", "add", ADDRESSES[link], "dev", link, inside=inside)
            run("ip", "address", "add", ADDRESSES_6[link], "dev", link, "nodad", inside=inside)
    hardware = {link: run("cat", f"/sys/class/net/{link}/address", inside=inside).strip() for link, inside in ends}
    neighbours = (("d0", HERE, "d1"), ("d1", THERE, "d0"), ("w0", HERE, "w1"), ("w1", THERE, "w0"))
    for link, inside, peer in neighbours:  # by hand: no ARP over a wire that loses packets
        for address in (_bare(ADDRESSES[peer]), _bare(ADDRESSES_6[peer])):
            run("ip", "neigh", "replace", address, "lladdr", hardware[peer], "dev", link, "nud", "permanent", inside=inside)
        run("sysctl", "-qw", f"net.ipv4.conf.{link}.rp_filter=0", inside=inside)
    for inside, links in ((HERE, ("w0",)), (THERE, ("w1",)), (WIRE, ("wa", "wb"))):
        run(sys.executable, Path(__file__).with_name("offload.py"), *links, inside=inside)


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _start(name: str, *command: object, inside: str) -> None:
    with (STATE / f"{name}.log").open("wb") as log:
        argv = ["ip", "netns", "exec", inside, *map(str, command)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, **quiet)
    (STATE / f"{name}.pid").write_text(str(process.pid))


def _stop(name: str) -> None:
    """End a process of ours, which may have been started by an earlier run of this program."""
    file = STATE / f"{name}.pid"
    if not file.exists():
        return
    pid = int(file.read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.02)
    file.unlink()


def _wait_for(file: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while not file.exists():
        if time.monotonic() > end:
            raise SystemExit(f"the services did not start: {(STATE / 'services.log').read_text()}")
        time.sleep(0.1)
