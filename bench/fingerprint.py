"""How fast and how right services are named, beside `nmap -sV`, in one interleaved run.

    make bench-fingerprint                                       # real servers on loopback, and the lab's w5 over 40 ms
    .venv/bin/python -m bench.fingerprint --grounds real,lan     # a ground is `real`, or a path of bench/lab to w5

`real` is what tests/real_servers.py starts, all of it at once; what they are is what their Debian packages say. w5 are 256
hosts with four made-up services each, that no list of products holds: only their protocols are compared. Both scanners
are given the same ports of the same addresses, and both times include the start of the program. nmap counts as having
named what it found out by asking, not what it looked up by the number of the port. Needs root, nmap and what the lab
needs; nothing leaves the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from bench.lab import network
from bench.probe.peers import nmap_hosts
from tests import real_servers
from tests.servers import public
from tests.with_postgres import postgres_bin

LIMIT_SECONDS = 600
STOPPED = (124, 137)  # by `timeout`: told to, and killed
LOOPBACK = "127.66.0.0/16"
LAB_PROTOCOLS = {22: "SSH", 25: "SMTP", 80: "HTTP", 443: "HTTP"}
PARTS = ("protocol", "product", "version")
NMAP_PROTOCOLS = {"docker": "http"}  # what it calls an interface that is spoken over HTTP


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a service is, or is said to be; "" where that is not known or not said."""

    protocol: str = ""
    product: str = ""
    version: str = ""

    def right(self, truth: Named) -> set[str]:
        """The parts that are right: the protocol's name, and product and version anywhere in the words used for them."""
        words = f"{self.product} {self.version}"
        found = {"protocol"} if self.protocol.casefold() == truth.protocol.casefold() else set()
        if truth.product and truth.product.casefold() in words.casefold():
            found.add("product")
        if truth.version and re.search(rf"(?<![\d.]){re.escape(truth.version)}(?![\d.])", self.version):
            found.add("version")
        return found


Place = tuple[str, int]  # address and port


@dataclass(kw_only=True)
class Ground:
    """Where both scanners are let loose, and what there is to find."""

    network: str
    targets: list[str] = field(default_factory=list)
    truth: dict[Place, Named] = field(default_factory=dict)
    labels: dict[Place, str] = field(default_factory=dict)  # of a line in the table of who named what
    enter: Callable[..., list[str]] = lambda *command: list(map(str, command))

    def add(self, label: str, address: str, port: int, named: Named) -> None:
        """One more service."""
        self.targets += [address] if address not in self.targets else []
        self.truth[address, port], self.labels[address, port] = named, f"{label}, {port}"

    @property
    def ports(self) -> str:
        """All ports of all targets, for both scanners to ask on each."""
        return ",".join(str(port) for port in sorted({port for _, port in self.truth}))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One scanner, once."""

    ground: str
    tool: str
    wall: float
    is_stopped: bool
    said: Mapping[Place, Named]


# -- The grounds ----------------------------------------------------------------------------------------------------


@contextmanager
def redis() -> Iterator[str]:
    """Redis on its own port."""
    server, address = real_servers.program("redis-server"), public(88)
    with real_servers.running(server, "--bind", address, "--port", 6379, "--save", "", address=address, port=6379):
        yield address


# What it is called here, who starts it, the program that listens, what the product is called, and the protocol on each port.
SERVERS = (
    ("OpenSSH", real_servers.sshd, "sshd", "OpenSSH", {2222: "SSH"}),
    ("nginx", real_servers.nginx, "nginx", "nginx", {8080: "HTTP", 8443: "HTTP", 9443: "HTTP"}),
    ("memcached", real_servers.memcached, "memcached", "memcached", {11211: "Memcached"}),
    ("vsftpd", partial(real_servers.vsftpd, is_encrypting=True), "vsftpd", "vsftpd", {2121: "FTP"}),
    ("Dovecot", partial(real_servers.dovecot, is_encrypting=True), "dovecot", "Dovecot", {2143: "IMAP", 2110: "POP3"}),
    ("Postfix", real_servers.postfix, "smtpd", "Postfix", {2525: "SMTP"}),
    ("inetutils telnetd", real_servers.telnetd, "telnetd", "inetutils", {2323: "Telnet"}),
    ("TigerVNC", real_servers.xvnc, "Xvnc", "TigerVNC", {5900: "VNC"}),
    ("rsync", real_servers.rsyncd, "rsync", "rsync", {8730: "rsync"}),
    ("MariaDB", real_servers.mariadb, "mariadbd", "MariaDB", {3306: "MySQL"}),
    ("MariaDB that refuses", partial(real_servers.mariadb, is_refusing=True), "mariadbd", "MariaDB", {3306: "MySQL"}),
    ("PostgreSQL", real_servers.postgres, f"{postgres_bin()}/postgres", "PostgreSQL", {5432: "PostgreSQL"}),
    (
        "PostgreSQL with TLS",
        partial(real_servers.postgres, is_encrypting=True),
        f"{postgres_bin()}/postgres",
        "PostgreSQL",
        {5432: "PostgreSQL"},
    ),
    ("etcd", real_servers.etcd, "etcd", "etcd", {2379: "HTTP"}),
    ("Podman", real_servers.podman, "podman", "Podman", {2375: "HTTP"}),
    ("Redis", redis, "redis-server", "Redis", {6379: "Redis"}),
)


@contextmanager
def real(without: Sequence[str]) -> Iterator[Ground]:
    """Every server that is installed, running, but for those that are to be left out."""
    ground = Ground(network=LOOPBACK)
    with ExitStack() as running:
        for label, start, program, product, protocols in SERVERS:
            if label in without:
                continue
            try:
                address, version = running.enter_context(start()), packaged_version(program)
            except pytest.skip.Exception as reason:
                print(f"left out: {label}: {reason}")
                continue
            for port, protocol in protocols.items():
                ground.add(label, address, port, Named(protocol=protocol, product=product, version=version))
        yield ground


def packaged_version(program: str) -> str:
    """What Debian calls the version, without its own additions: 1:9.2p1-2+deb12u3 is 9.2p1."""
    owner = _printed("dpkg-query", "-S", os.path.realpath(real_servers.program(program))).partition(":")[0]
    return _printed("dpkg-query", "-W", "-f", "${source:Upstream-Version}", owner).partition("+")[0]


def _printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def lab(path: str) -> Iterator[Ground]:
    """w5 over one of the lab's paths."""
    workload = network.up(path)["w5"]
    try:
        ground = Ground(network=workload["targets"], enter=network.inside_command)
        for address, host in workload["hosts"].items():
            for port in host["open"]:
                ground.add("w5", address, port, Named(protocol=LAB_PROTOCOLS[port]))
        ground.targets = [workload["targets"]]
        yield ground
    finally:
        network.down()


# -- The scanners ---------------------------------------------------------------------------------------------------


def ours(ground: Ground) -> list[str]:
    argv = [sys.executable, "-m", "scans.core", "--format", "json", "--allow", ground.network]
    return [*argv, "--ports", ground.ports, *ground.targets]


def read_ours(text: str) -> dict[Place, Named]:
    return {
        (address["address"], service["port"]): Named(**{part: service[part] or "" for part in PARTS})
        for result in json.loads(text or "[]")
        for address in result["addresses"]
        for service in address["services"]
    }


def nmap(ground: Ground) -> list[str]:
    return ["nmap", "-sT", "-Pn", "-n", "-sV", "-p", ground.ports, "-oX", "-", *ground.targets]


def read_nmap(text: str) -> dict[Place, Named]:
    """What it found out by asking."""
    said = {}
    for host in nmap_hosts(text):
        for port in host.iter("port"):
            service = port.find("service")
            if service is not None and service.get("method") == "probed":
                protocol = NMAP_PROTOCOLS.get(service.get("name"), service.get("name"))
                named = Named(protocol=protocol, product=service.get("product", ""), version=service.get("version", ""))
                said[host.find("address").get("addr"), int(port.get("portid"))] = named
    return said


TOOLS = {"ours": (ours, read_ours), "nmap": (nmap, read_nmap)}


def measure(tool: str, name: str, ground: Ground, *, limit_seconds: int) -> Run:
    """Run it once; one that takes too long is interrupted and scored as it stands."""
    command, read = TOOLS[tool]
    argv = ground.enter("timeout", "-s", "INT", "-k", "3", limit_seconds, *command(ground))
    # OFFLINE: no address is told to anybody. Compiled code is kept, as in an installation.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | {"OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=network.ROOT, env=environment)
    wall = time.perf_counter() - began
    if done.returncode not in (0, *STOPPED):
        raise SystemExit(f"{' '.join(argv)}\n{done.stderr[-2000:]}")
    return Run(ground=name, tool=tool, wall=wall, is_stopped=done.returncode in STOPPED, said=read(done.stdout))


# -- What is printed ------------------------------------------------------------------------------------------------


def score(run: Run, ground: Ground) -> dict[str, str]:
    """How many of each part are right, of how many that there are."""
    right = Counter(part for place, truth in ground.truth.items() for part in run.said.get(place, Named()).right(truth))
    known = {part: sum(getattr(truth, part) != "" for truth in ground.truth.values()) for part in PARTS}
    return {part: f"{right[part]} of {known[part]}" if known[part] else "-" for part in PARTS}


def figures(runs: Sequence[Run], ground: Ground) -> Iterator[str]:
    """Markdown: for each scanner its times, and what it named right in its worst run and its best."""
    medians = {tool: statistics.median([run.wall for run in runs if run.tool == tool]) for tool in TOOLS}
    for tool, median in medians.items():
        its = [run for run in runs if run.tool == tool]
        more = ">" if any(run.is_stopped for run in its) else ""
        walls = [f"{more}{median:.2f}", f"{more}{median / medians['ours']:.1f}", f"{min(run.wall for run in its):.2f}"]
        scores = [score(run, ground) for run in its]
        rights = [" / ".join(sorted({of_run[part] for of_run in scores})) for part in PARTS]
        yield f"| {' | '.join([runs[0].ground, tool, str(len(its)), *walls, *rights])} |"


def who(runs: Sequence[Run], ground: Ground) -> Iterator[str]:
    """Markdown: what each scanner most often said of each service, in bold what is right."""
    labels = dict.fromkeys(ground.labels.values())
    for label in labels:
        places = [place for place in ground.truth if ground.labels[place] == label]
        truth = ground.truth[places[0]]
        cells = [" ".join(filter(None, (truth.protocol, truth.version)))]
        for tool in TOOLS:
            answers = Counter(run.said.get(place, Named()) for run in runs if run.tool == tool for place in places)
            said, times = answers.most_common(1)[0]
            often = "" if times == answers.total() else f" ({times} of {answers.total()} times)"
            cells.append(_words(said, truth) + often)
        yield f"| {' | '.join([label, *cells])} |"


def _words(said: Named, truth: Named) -> str:
    right = said.right(truth)
    parts = [(part, getattr(said, part).replace("|", "/")) for part in PARTS if getattr(said, part)]
    return ", ".join(f"**{word}**" if part in right else word for part, word in parts) or "-"


def table(columns: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", f"| {' | '.join(['---'] * len(columns))} |", *lines])


def compare(name: str, *, without: Sequence[str], rounds: int, limit_seconds: int) -> None:
    """Every round both scanners, in an order that is drawn anew."""
    runs = []
    with real(without) if name == "real" else lab(name) as ground:
        measure("ours", name, ground, limit_seconds=limit_seconds)  # compiles what it imports, and wakes the servers
        for _ in range(rounds):
            for tool in random.sample(list(TOOLS), len(TOOLS)):
                run = measure(tool, name, ground, limit_seconds=limit_seconds)
                runs.append(run)
                print(f"{name} {tool:5} {run.wall:7.2f} s  {score(run, ground)}  load {os.getloadavg()[0]:.1f}", flush=True)
    right = [f"{part}s right" for part in PARTS]
    print(table(["ground", "scanner", "runs", "wall s", "x ours", "best s", *right], list(figures(runs, ground))))
    print(table(["service", "is", *TOOLS], list(who(runs, ground))))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fingerprint", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--grounds", default="real,wan40", help=f"real, or a path to w5: {', '.join(network.PROFILES)}")
    parser.add_argument("--without", default="", help=f"real servers not to start: {', '.join(row[0] for row in SERVERS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=LIMIT_SECONDS, help="seconds for one run, scored then as it stands")
    arguments = parser.parse_args()
    grounds = arguments.grounds.split(",")
    if unknown := {*grounds} - {"real", *network.PROFILES}:
        sys.exit(f"No such ground: {', '.join(unknown)}.")
    print(_printed("nmap", "--version").partition("\n")[0])
    for name in grounds:
        compare(name, without=arguments.without.split(","), rounds=arguments.rounds, limit_seconds=arguments.limit)


if __name__ == "__main__":
    main()
