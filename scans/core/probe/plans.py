"""What goes into the engine and what comes out."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from scans.core.types import IPAddress, PortState, Probe


class EngineClosedError(RuntimeError):
    """The engine takes no more plans: `finish` was called, or `run` has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostPlan:
    """One address to probe."""

    key: Hashable  # the caller's name for it, unique among the hosts under way
    address: IPAddress
    ports: Sequence[int]  # in any order; a port named twice is probed once
    is_paced: bool  # counts against the rate: true for global addresses
    deadline_seconds: float | None = None  # from its first probe; what is left then is not_tested
    ends_at: float | None = None  # monotonic: the same for a batch of hosts, begun or not
    keep_open: bool = False  # hand open connections over, instead of closing each with a reset


@dataclass(frozen=True, kw_only=True, slots=True)
class HostResult:
    """Everything about one address, once every port has its state."""

    key: Hashable
    address: IPAddress
    probes: tuple[Probe, ...]  # ascending by port, one for each planned port
    started_at: datetime  # when the first probe left; when it was given up, if none did
    finished_at: datetime
    answers_everywhere: bool | None = None  # also on ports nobody would use; None: too few were open to ask
    connections: Mapping[int, socket.socket] = field(default_factory=dict)  # by port, non-blocking; the caller closes them


class ProbeStats(NamedTuple):
    """How the engine is doing, read at any time from any thread."""

    sent: int  # connects begun, retries included
    answered: int
    retried: int
    in_flight: int
    hosts_waiting: int  # submitted and not finished
    turns: int  # moves with every turn of the loop: when it stands still, the loop does
    planned: int  # ports of all hosts taken so far; of plans that are pulled, those that were
    states: Mapping[PortState, int]  # how many have which by now, also of hosts not finished
    rtt_seconds: float | None  # smoothed, of the near or of the far: of whom more was heard
    loss: float  # of the same: the share of answers that took more than one attempt; 0.0 while there are too few to tell
