"""Who takes part: the command of each scanner, and its output as one state for each port of each host.

A reader returns {address: {port: "open" | "closed" | "filtered"}}; what is missing there was not said.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from bench.lab import network, truth
from bench.lab.truth import ports_of

OURS = "ours"
TUNED = ("-T4", "--min-rate", "5000", "--max-retries", "2", "--min-hostgroup", "256")
ALLOWED = ("--allow", truth.NETWORK, "--allow", truth.NETWORK_6)
UNLIMITED = ("--rate", 0, "--per-host", 0, "--max-inflight", 0)
STATES = {"open": "open", "closed": "closed", "filtered": "filtered", "unreachable": "filtered", "unfiltered": "filtered"}

States = dict[str, dict[int, str]]


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One scanner: what to run for a workload with which output file, and who reads that file."""

    command: Callable[[truth.Workload, Path], list[object]]
    read: Callable[[Path, truth.Workload], States]
    prints: bool = False  # to standard output, which is the file
    needs_heartbeat: bool = False


def _ours(workload: truth.Workload, _: Path) -> list[object]:
    argv = [sys.executable, "-m", "scans.core", "--probe-only", "--format", "ndjson", *ALLOWED, *UNLIMITED]
    return [*argv, "--ports", workload["ports"], workload["targets"]]


def _naive(design: str) -> Peer:
    def command(workload: truth.Workload, _: Path) -> list[object]:
        return [sys.executable, "-m", "bench.probe.naive", design, workload["targets"], workload["ports"]]

    return Peer(command=command, read=_read_ours, prints=True)


def _nmap(*flags: str) -> Peer:
    def command(workload: truth.Workload, out: Path) -> list[object]:
        family = ["-6"] if ":" in workload["targets"] else []
        return ["nmap", *family, "-n", "-Pn", *flags, "-p", workload["ports"], "-oX", out, workload["targets"]]

    return Peer(command=command, read=_read_nmap)


def _masscan(rate: int) -> Peer:
    def command(workload: truth.Workload, out: Path) -> list[object]:
        link, address, router = network.way_out(is_ipv6=":" in workload["targets"])
        # The ports must be a range whose length is a power of two, outside those that the kernel chooses from.
        way = ["-e", link, "--adapter-ip", address, "--adapter-port", "61440-61951", "--router-mac", router]
        asked = [workload["targets"], "-p", workload["ports"], "--rate", rate, "--retries", 0, "--wait", 2]
        return ["masscan", *asked, *way, "--show", "closed", "-oL", out]

    return Peer(command=command, read=_read_masscan, needs_heartbeat=True)


def _read_ours(file: Path, _: truth.Workload) -> States:
    found: States = {}
    for line in file.read_text().splitlines():
        result = json.loads(line)
        found[str(ip_address(result["ip_address"]))] = {
            port: STATES[state]
            for state, ports in result["port_states"].items()
            if state in STATES and ports
            for port in ports_of(ports)
        }
    return found


def nmap_hosts(text: str) -> Iterator[ElementTree.Element]:
    """The hosts of its XML. If it was stopped, those that are complete."""
    if "</nmaprun>" not in text:
        complete, mark, _ = text.rpartition("</host>")
        text = f"{complete}{mark}</nmaprun>" if mark else "<nmaprun/>"
    return ElementTree.fromstring(text).iter("host")


def _read_nmap(file: Path, _: truth.Workload) -> States:
    found: States = {}
    for host in nmap_hosts(file.read_text()):
        states = found.setdefault(str(ip_address(host.find("address").get("addr"))), {})
        for many in host.iter("extraports"):
            for reason in many.iter("extrareasons"):
                states |= dict.fromkeys(ports_of(reason.get("ports") or ""), STATES[many.get("state")])
        for port in host.iter("port"):
            states[int(port.get("portid"))] = STATES[port.find("state").get("state")]
    return found


def _read_masscan(file: Path, workload: truth.Workload) -> States:
    ports = ports_of(workload["ports"])
    found: States = {address: dict.fromkeys(ports, "filtered") for address in workload["hosts"]}  # its word for silence
    for line in file.read_text().splitlines() if file.exists() else ():
        state, *fields = line.split()
        if state in ("open", "closed") and len(fields) >= 3:
            states = found.get(str(ip_address(fields[2])), {})
            if states.get(int(fields[1])) != "open":
                states[int(fields[1])] = state
    return found


PEERS = {
    "nmap-sT": _nmap("-sT", "-T4"),
    "nmap-sT-tuned": _nmap("-sT", *TUNED),
    "nmap-sS-tuned": _nmap("-sS", *TUNED),
    "masscan-20k": _masscan(20_000),
    "threads-500": _naive("threads"),
    "asyncio": _naive("asyncio"),
}
EVERYONE = {OURS: Peer(command=_ours, read=_read_ours, prints=True), **PEERS}
