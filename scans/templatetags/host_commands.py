"""Commands that ask a host the same questions again, from the reader's own machine.

They are text to copy into a shell, and half of each came from outside: every value goes through `shlex.quote`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse

from scans.core.ports import compact, expand, expand_all, profile_of
from scans.core.types import ServiceState

register = template.Library()

Json = Mapping[str, Any]

MAX_PORT_CHARS = 400  # of a list of ports in a command line; a longer one stands for a whole range
WEB_PORTS = (443, 80, 8443, 8080)  # the first one is asked
TLS_PORTS = (443, 8443, 465, 993, 995, 636)
PLAIN_PORTS = frozenset({80, 8080})
STANDARD_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command, and the program it starts."""

    name: str
    text: str


@register.filter
def commands(row: Any, status_url: str) -> list[Command]:
    """The commands for one scanned target; those about services only where such a port is open."""
    target, addresses = row.evidence["target"], row.evidence["addresses"]
    made = [Command(name="nmap", text=text) for text in _nmap(addresses)]
    if addresses:
        made += [Command(name="curl", text=text) for text in _curl(target, addresses[0])]
        made += [Command(name="openssl", text=text) for text in _openssl(target, addresses[0])]
    return [*made, Command(name="API", text=_line("curl", "-sS", status_url))]


@register.simple_tag
def rescan_url(row: Any, job: Any) -> str:
    """The form, filled in with this target and the ports it was probed on."""
    wanted = {"targets": row.target}
    profile = profile_of(job.ports)
    if profile is not None:
        wanted["profile"] = profile
    elif len(job.ports) <= MAX_PORT_CHARS:
        wanted |= {"profile": "own", "ports": job.ports}
    return f"{reverse('submit')}?{urlencode(wanted)}"


def _nmap(addresses: Sequence[Json]) -> Iterator[str]:
    """One line for each family: nmap takes addresses of only one at a time."""
    for version in (4, 6):
        ours = [seen for seen in addresses if ip_address(seen["address"]).version == version]
        if ours:
            family = ["-6"] if version == 6 else []
            yield _line("nmap", *family, "-sT", "-Pn", "-sV", "-p", _ports(ours), *(seen["address"] for seen in ours))


def _ports(addresses: Sequence[Json]) -> str:
    """The open ports, or where none is all that were probed."""
    is_open = _all(addresses, ["open"])
    text = compact(is_open or _all(addresses, addresses[0]["port_states"]))
    return text if 0 < len(text) <= MAX_PORT_CHARS else "1-65535"


def _all(addresses: Sequence[Json], states: Sequence[str] | Mapping[str, str]) -> set[int]:
    return expand_all(seen["port_states"][state] for seen in addresses for state in states)


def _curl(target: Json, address: Json) -> Iterator[str]:
    """The target's own URL if it is one, otherwise the first page of the most usual web port."""
    if target["scheme"] in STANDARD_PORTS:
        scheme, port = target["scheme"], target["port"] or STANDARD_PORTS[target["scheme"]]
    else:
        scheme, port = _web(address)
    if not port:
        return
    host, where = target["host"], _bracketed(address["address"])
    pinned = [] if _is_address(host) else ["--resolve", f"{host}:{port}:{where}"]  # the address that was scanned
    shown = "" if port == STANDARD_PORTS[scheme] else f":{port}"
    name = where if _is_address(host) else host
    yield _line("curl", "-sSikg", *pinned, f"{scheme}://{name}{shown}{target['path'] or '/'}")


def _web(address: Json) -> tuple[str, int | None]:
    """Where HTTP is known to be spoken; where nothing is known of it, a port where it is usual."""
    known = {service["port"]: service for service in _identified(address) if service.get("protocol") == "HTTP"}
    port = _first(WEB_PORTS, known)
    if port is not None:
        return ("https" if known[port]["is_tls"] else "http"), port
    port = _first(WEB_PORTS, _unidentified(address), is_strict=True)
    return ("http" if port in PLAIN_PORTS else "https"), port


def _openssl(target: Json, address: Json) -> Iterator[str]:
    """Likewise for TLS."""
    known = [service["port"] for service in _identified(address) if service["is_tls"]]
    port = target["port"] if target["scheme"] == "https" and target["port"] else _first(TLS_PORTS, known)
    port = port or _first(TLS_PORTS, _unidentified(address), is_strict=True)
    if port:
        name = [] if _is_address(target["host"]) else ["-servername", target["host"]]
        where = f"{_bracketed(address['address'])}:{port}"
        yield _line("openssl", "s_client", "-connect", where, *name) + " </dev/null"


def _identified(address: Json) -> list[Json]:
    """The services of which is known what they are; none in a scan that did not ask."""
    return [service for service in address.get("services", ()) if service["state"] == ServiceState.IDENTIFIED]


def _unidentified(address: Json) -> set[int]:
    """The open ports of which is not known what they are."""
    return set(expand(address["port_states"]["open"])) - {service["port"] for service in _identified(address)}


def _first(usual: Sequence[int], ports: Collection[int], *, is_strict: bool = False) -> int | None:
    """The most usual of these ports; if none is usual the lowest, unless only a usual one will do."""
    found = next((port for port in usual if port in ports), None)
    return found if found is not None or is_strict else min(ports, default=None)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _line(*words: str) -> str:
    return " ".join(map(shlex.quote, words))
