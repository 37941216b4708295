"""What goes into the lane and what comes out of it: a host with its open ports, and what they turned out to be."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scans.core.types import IPAddress, Probe, Service

MAX_SERVICES = 32  # of one address; who has more open answers everywhere, or is looked at port by port


@dataclass(frozen=True, kw_only=True, slots=True)
class HostQuestion:
    """One address whose open ports are asked what they are."""

    key: Hashable
    address: IPAddress
    open_probes: Sequence[Probe]
    connections: Mapping[int, socket.socket] = field(default_factory=dict)  # by port, in the lane's charge from now on
    is_paced: bool = False
    answers_everywhere: bool | None = None
    name: str | None = None
    scheme: str | None = None  # of a URL, and the port that it names, and what it asks for there
    url_port: int | None = None
    path: str = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class HostServices:
    """What became of a HostQuestion."""

    key: Hashable
    address: IPAddress
    services: tuple[Service, ...]  # ascending by port


def close_all(connections: Iterable[socket.socket]) -> None:
    """Nobody will use them."""
    for connection in connections:
        connection.close()
