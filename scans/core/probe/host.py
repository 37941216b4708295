"""The state of one host while it is probed: what is asked, what came back, how much may be under way."""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address
from typing import cast

from scans.core.probe.controls import answers_everywhere, control_ports, is_suspicious
from scans.core.probe.patience import PathEstimate
from scans.core.probe.plans import HostPlan, HostResult
from scans.core.probe.restraint import Restraint
from scans.core.probe.window import Window
from scans.core.types import PortState, Probe

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class Host:
    """One plan under way. Ports are known by their index in `ports`, which ascend."""

    __slots__ = (
        "_next_index",
        "_retries",
        "_scope_id",
        "_text",
        "_too_soon_count",
        "_too_soon_seconds",
        "begun_at",
        "deadline_at",
        "extra_attempts",
        "family",
        "has_begun",
        "is_controlled",
        "is_finished",
        "is_paced",
        "is_queued",
        "is_resting",
        "open_count",
        "path",
        "plan",
        "planned_count",
        "ports",
        "probes",
        "refused",
        "refused_seconds",
        "remaining",
        "restraint",
        "started_at",
        "starved_since",
        "was_restrained",
        "window",
    )

    def __init__(self, plan: HostPlan, *, ports: tuple[int, ...], window: Window) -> None:
        self.plan = plan
        self.ports = ports
        self.is_paced = plan.is_paced
        self.family = socket.AF_INET6 if plan.address.version == 6 else socket.AF_INET
        self._text, _, scope = str(plan.address).partition("%")
        self._scope_id = _interface_index(scope) if isinstance(plan.address, IPv6Address) and scope else 0
        self.window = window
        self.path = PathEstimate()
        self.restraint: Restraint | None = None  # once it is found to limit rates
        self.was_restrained = False  # once is enough
        self.has_begun = self.is_queued = self.is_resting = self.is_finished = False
        self.started_at: datetime | None = None
        self.begun_at = 0.0  # the same on the loop's clock
        self.deadline_at = plan.ends_at
        self.starved_since: float | None = None  # when the kernel began to deny this host every source port
        self.remaining = self.planned_count = len(ports)
        self.open_count = 0
        # How many ports, and how soon the last, which the loop has not counted yet.
        self.refused, self.refused_seconds = 0, 0.0
        self.is_controlled = False  # asked whether it answers everywhere
        self._next_index = 0
        self._retries: deque[tuple[int, int]] = deque()  # index, attempt
        # How many attempts were given up before anything was heard of the host, and after how long at least.
        self._too_soon_count, self._too_soon_seconds = 0, math.inf
        self.extra_attempts = 0  # 1 once it is known that those could not have been answered in time
        # By index, once settled; filled when it begins: most of a large job are waiting.
        self.probes: list[Probe | None] = []

    def begin(self, *, now: float) -> None:
        """The first probe is about to leave."""
        self.has_begun = True
        self.started_at = datetime.now(UTC)
        self.begun_at = now
        if self.plan.deadline_seconds is not None:
            own = now + self.plan.deadline_seconds
            self.deadline_at = own if self.deadline_at is None else min(own, self.deadline_at)
        self.probes = [None] * len(self.ports)

    @property
    def room(self) -> int:
        """How many probes may leave now, or nearly so many: some of those to be repeated may be settled since."""
        wanted = len(self._retries) + len(self.ports) - self._next_index
        if not wanted or self.is_resting or self.is_finished:
            return 0
        return min(self.window.room, wanted)

    @property
    def is_all_asked(self) -> bool:
        """Whether every port was asked at least once."""
        return self._next_index == len(self.ports)

    def next_probe(self) -> tuple[int, int] | None:
        """Index and attempt of what to send next. Retries go first, so that what they teach comes in time.

        Under restraint their turn is every fourth, so that nobody's silence is asked about again and again.
        """
        index = self._next_index
        if self._retries and (self.restraint is None or self.is_all_asked or self.restraint.is_turn_to_ask_again()):
            while self._retries:
                again = self._retries.popleft()
                if self.probes[again[0]] is None:  # or an earlier attempt was answered after all
                    return again
        if index == len(self.ports):
            return None
        self._next_index = index + 1
        return index, 1

    def retry(self, index: int, attempt: int) -> None:
        """Ask that port (again) as the given attempt."""
        self._retries.append((index, attempt))

    def give_up_unheard(self, waited_seconds: float) -> None:
        """An attempt is not waited for any longer, and nobody knows how far the host is."""
        self._too_soon_count += 1
        self._too_soon_seconds = min(self._too_soon_seconds, waited_seconds)

    def excuse_attempt(self, latency_seconds: float) -> bool:
        """Whether the answer to a later attempt took longer than an earlier one was given: that need not have been lost.

        Each of those given up before anything was heard excuses one answer, so that loss is not overlooked for ever.
        """
        if not self._too_soon_count or latency_seconds < self._too_soon_seconds:
            return False
        self._too_soon_count -= 1
        self.extra_attempts = 1
        return True

    def socket_address(self, index: int) -> SocketAddress:
        """What to connect to. An address and never a name: nothing here may start a look-up."""
        if self.family == socket.AF_INET:
            return self._text, self.ports[index]
        return self._text, self.ports[index], 0, self._scope_id

    def settle(self, index: int, probe: Probe) -> None:
        """That port has its state."""
        self.probes[index] = probe
        self.remaining -= 1
        if probe.state is PortState.OPEN:
            self.open_count += 1

    def reopen_silent(self) -> int:
        """Ask all ports again that were believed silent: too soon, as it turns out. Returns how many."""
        remaining = self.remaining
        for index, probe in enumerate(self.probes):
            if probe is not None and probe.state is PortState.FILTERED:
                self.probes[index] = None
                self._retries.append((index, probe.attempts + 1))
                self.remaining += 1
        return self.remaining - remaining

    def settle_rest(self, state: PortState, reason: str) -> int:
        """Give every port without a state this one. Nothing of this host may be in flight any more.

        Returns how many that were.
        """
        rest = _all_alike(self.ports, state, reason)
        known = self.probes or [None] * len(self.ports)
        attempts = dict[int, int]()
        for index, attempt in self._retries:
            attempts[index] = max(attempt - 1, attempts.get(index, 0))
        self.probes = [probe or other for probe, other in zip(known, rest, strict=True)]
        for index, count in attempts.items():
            if known[index] is None:
                self.probes[index] = rest[index]._replace(attempts=count)
        self.remaining = 0
        return known.count(None)

    @property
    def progress(self) -> tuple[int, int]:
        """Planned ports that have a state, and planned ports in all."""
        return min(len(self.ports) - self.remaining, self.planned_count), self.planned_count

    @property
    def settled(self) -> tuple[Probe, ...]:
        """The planned ports that have a state, ascending."""
        return tuple(probe for probe in self.probes[: self.planned_count] if probe is not None)

    def control(self) -> None:
        """Ask further ports, if so many are open that it may answer everywhere."""
        self.is_controlled = is_suspicious(open_count=self.open_count, asked_count=self.planned_count)
        if self.is_controlled:
            controls = control_ports(self.ports)
            self.ports = (*self.ports, *controls)
            self.probes += [None] * len(controls)
            self.remaining = len(controls)

    def _answers_everywhere(self) -> bool | None:
        states = [probe.state for probe in self.probes[self.planned_count :] if probe is not None]
        if not self.is_controlled or PortState.NOT_TESTED in states:
            return None
        controls = [state is PortState.OPEN for state in states]
        planned_open = self.open_count - sum(controls)
        return answers_everywhere(controls, open_count=planned_open, asked_count=self.planned_count)

    def result(self, connections: dict[int, socket.socket]) -> HostResult:
        """The finished host, for the caller."""
        now = datetime.now(UTC)
        probes = self.probes[: self.planned_count]
        return HostResult(
            key=self.plan.key,
            address=self.plan.address,
            probes=tuple(cast("Sequence[Probe]", probes)),  # nothing remains, so none is None
            started_at=self.started_at or now,
            finished_at=now,
            answers_everywhere=self._answers_everywhere(),
            connections=connections,
        )


@lru_cache(maxsize=1)
def _all_alike(ports: tuple[int, ...], state: PortState, reason: str) -> tuple[Probe, ...]:
    """The same state for each port. Hosts of a job share it: to cancel a hundred with all ports must not take seconds."""
    return tuple(Probe(port, state, reason, 0, None) for port in ports)


def _interface_index(scope: str) -> int:
    """The number of a link-local zone; 0 for one that this machine does not have, which connect() then refuses."""
    try:
        return int(scope) if scope.isascii() and scope.isdigit() else socket.if_nametoindex(scope)
    except OSError:
        return 0
