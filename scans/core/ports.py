"""The port catalogue: names, categories, and the profiles a job may ask for.

`ports.csv` beside this file holds what is known about 171 ports; adding one is one line there.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scans.core.types import ServiceState

# The names are part of the wire format: clients show them beside the state.
DEFAULT_SERVICES = {
    21: "FTP", 22: "SSH", 25: "SMTP", 53: "DNS", 80: "HTTP", 110: "POP3", 143: "IMAP", 443: "HTTPS",
    465: "SMTPS", 587: "Submission", 993: "IMAPS", 995: "POP3S", 1433: "MSSQL", 1521: "Oracle", 1723: "PPTP",
    2049: "NFS", 2375: "Docker", 3306: "MySQL", 3389: "RDP", 5432: "PostgreSQL", 5900: "VNC", 6379: "Redis",
    8080: "HTTP-Alt", 8443: "HTTPS-Alt",
}  # fmt: skip
# A hundred ports that tell most, chosen from the catalogue in this order until it was full: the twenty that nmap's published
# frequencies put first, the default profile, the other web and SSH ports, then by severity and number. Left out
# are industrial controllers, the small services of old (echo, daytime and the like) and what speaks UDP only.
TOP100 = (
    21, 22, 23, 25, 53, 80, 81, 88, 110, 111, 135, 139, 143, 389, 443, 445, 465, 512, 513, 514, 548, 587, 593, 873, 993,
    995, 1099, 1433, 1521, 1723, 2049, 2086, 2181, 2222, 2323, 2375, 2377, 2379, 2380, 3260, 3268, 3306, 3389, 4243, 4369,
    4444, 4646, 4786, 4899, 5005, 5432, 5433, 5555, 5601, 5631, 5800, 5900, 5901, 5984, 5985, 6000, 6379, 7000, 7001, 7002,
    7474, 7547, 8000, 8001, 8008, 8009, 8080, 8081, 8086, 8088, 8123, 8161, 8291, 8443, 8500, 8545, 8728, 8888, 8983, 9042,
    9092, 9200, 9222, 9229, 9300, 10000, 10250, 10255, 11211, 26257, 27017, 27018, 33060, 50000, 61616,
)  # fmt: skip
MAX_SPEC_CHARS = 4096


class PortError(ValueError):
    """A port list that cannot be read; the text names the part that is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PortInfo:
    """One line of the catalogue. `severity` runs from 0 to 10."""

    port: int
    service: str
    category: str
    is_sensitive: bool
    severity: int
    rationale: str
    reference: str


@cache
def catalogue() -> dict[int, PortInfo]:
    """Every known port."""
    with (Path(__file__).parent / "ports.csv").open(newline="", encoding="utf-8") as lines:
        return {
            int(row["port"]): PortInfo(
                port=int(row["port"]),
                service=row["service"],
                category=row["category"],
                is_sensitive=row["sensitive"] == "yes",
                severity=int(row["severity"]),
                rationale=row["rationale"],
                reference=row["reference"],
            )
            for row in csv.DictReader(lines)
        }


PROFILES: dict[str, Sequence[int]] = {
    "default": tuple(DEFAULT_SERVICES),
    "top100": TOP100,
    "exposure": tuple(sorted(port for port, info in catalogue().items() if info.is_sensitive)),
    "all": range(1, 65536),  # as numbers it would take 2.5 MB of every process
}


@cache
def _profile_names() -> dict[str, str]:
    return {compact(ports): name for name, ports in PROFILES.items()}


def profile_of(ports: str) -> str | None:
    """The profile that stands for these ports, given as `compact` writes them."""
    return _profile_names().get(ports)


def service_name(port: int) -> str:
    """The name shown beside a port; `unknown` for one nobody listed."""
    if port in DEFAULT_SERVICES:
        return DEFAULT_SERVICES[port]
    info = catalogue().get(port)
    return info.service if info else "unknown"


def category(port: int) -> str:
    """The catalogue's category, by which the risk rules match; `unknown` for an unlisted port."""
    info = catalogue().get(port)
    return info.category if info else "unknown"


def parse_ports(spec: object) -> tuple[int, ...]:
    """Ports from a profile's name, a list of integers, or text like "22,80,8000-8100".

    Returns them ascending and without repeats. Raises PortError for anything else.
    """
    if isinstance(spec, str):
        if spec.strip() in PROFILES:
            return tuple(PROFILES[spec.strip()])
        return _parse_text(spec)
    if isinstance(spec, Sequence):
        return _checked(spec)
    raise PortError(f'ports is a list of numbers, text like "22,80,8000-8100", or one of: {", ".join(PROFILES)}.')


def _parse_text(text: str) -> tuple[int, ...]:
    if len(text) > MAX_SPEC_CHARS:
        raise PortError(f"The port list is longer than {MAX_SPEC_CHARS} characters.")
    ports: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*", part, re.ASCII)
        if not match:
            raise PortError(
                f"{part.strip()[:40]!r} is neither a port, a range like 8000-8100, nor one of: {', '.join(PROFILES)}."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise PortError(f"The range {first}-{last} runs backwards.")
        _checked((first, last))
        ports.update(range(first, last + 1))
    return tuple(sorted(ports))


def _checked(ports: Sequence[object]) -> tuple[int, ...]:
    if not ports:
        raise PortError("The port list is empty.")
    if len(ports) > 65535:
        raise PortError("The port list holds more than 65,535 entries.")
    found: set[int] = set()
    for port in ports:
        if isinstance(port, bool) or not isinstance(port, int):
            raise PortError(f"{str(port)[:40]!r} is not a whole number.")
        if not 1 <= port <= 65535:
            raise PortError(f"{port} is not a port: ports run from 1 to 65535.")
        found.add(port)
    return tuple(sorted(found))


def compact(ports: Iterable[int]) -> str:
    """Ports as short text: (22, 80, 81, 82) is "22,80-82"; none is ""."""
    found = sorted(set(ports))
    if not found:
        return ""
    parts: list[str] = []
    first = last = found[0]
    for port in [*found[1:], -1]:
        if port != last + 1:
            parts.append(str(first) if first == last else f"{first}-{last}")
            first = port
        last = port
    return ",".join(parts)


# A host may have every other port open. Its list has 32,768 parts and a page reads it often, so what follows takes no step
# in Python where there are no ranges: expanding that list takes 3 ms instead of 14, counting it 0.1 instead of 9.


def expand(text: str) -> tuple[int, ...]:
    """The ports of compact text again. For what `compact` wrote, of any length; what users write is for parse_ports."""
    parts = text.split(",") if text else []
    if "-" not in text:
        return tuple(map(int, parts))
    found: list[int] = []
    for part in parts:
        first, _, last = part.partition("-")
        if last:
            found += range(int(first), int(last) + 1)
        else:
            found.append(int(first))
    return tuple(found)


def expand_all(texts: Iterable[str]) -> set[int]:
    """The ports of several lists; of equal ones, which the addresses of one host often have, only one is read."""
    return set().union(*map(expand, set(texts)))


def telling_ports(address: Mapping[str, Any]) -> set[int]:
    """What `AddressReport.telling_ports` is, of a stored address; one from before this was known has no such field."""
    is_open = set(expand(address["port_states"]["open"]))
    if not address.get("answers_everywhere"):
        return is_open
    services = address.get("services", ())
    return is_open.intersection(s["port"] for s in services if s["state"] == ServiceState.IDENTIFIED)


def count_ports(text: str) -> int:
    """How many ports compact text stands for: one for each part, and for a range as many more as its ends are apart."""
    if not text:
        return 0
    parts = text.count(",") + 1
    if "-" not in text:
        return parts
    ends = list(map(int, "-".join(part for part in text.split(",") if "-" in part).split("-")))
    return parts + sum(ends[1::2]) - sum(ends[::2])
