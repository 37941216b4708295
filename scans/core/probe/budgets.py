"""The limits the engine works within, from the options and from what the system grants."""

from __future__ import annotations

import resource
from dataclasses import dataclass

from scans.core.options import ProbeOptions
from scans.core.probe.pacing import TokenBucket
from scans.core.probe.politeness import NetworkBuckets, PolitePace
from scans.core.tools import Pace

RESERVED_DESCRIPTORS = 256  # for the rest of the process: database, queue, intelligence
MOST_DESCRIPTORS = 65536  # "no limit" still ends here: source ports run out first
FIRST_WINDOW = 1024  # probes in flight before anything is known; a bigger burst delays its own answers
FIRST_HOST_WINDOW, MOST_FIRST_HOST_WINDOW = 32, 128  # a host that limits rates should be noticed before it is flooded


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeBudgets:
    """How much may be under way, how fast, and how often one port is asked. 0 per second is no pacing."""

    rate_per_second: float
    network_per_second: float
    max_inflight: int
    per_host: int
    attempts: int

    @classmethod
    def from_options(cls, options: ProbeOptions) -> ProbeBudgets:
        """Turn "0: no limit" into numbers. May raise this process's soft limit of descriptors."""
        max_inflight = claim_descriptors(options.max_inflight or MOST_DESCRIPTORS)
        return cls(
            rate_per_second=options.rate_per_second,
            network_per_second=options.network_per_second,
            max_inflight=max_inflight,
            per_host=min(options.per_host or max_inflight, max_inflight),
            attempts=max(1, options.attempts),
        )

    def pace(self) -> Pace:
        """The pace of an engine that shares it with nobody."""
        networks = NetworkBuckets(per_second=self.network_per_second) if self.network_per_second else None
        return PolitePace(TokenBucket(per_second=self.rate_per_second), networks)

    @property
    def first_window(self) -> int:
        """Where the window of the whole engine begins to grow."""
        return min(FIRST_WINDOW, self.max_inflight)

    @property
    def first_host_window(self) -> int:
        """Where the window of each host begins to grow."""
        return min(max(FIRST_HOST_WINDOW, min(self.per_host // 16, MOST_FIRST_HOST_WINDOW)), self.per_host)


def claim_descriptors(wanted: int) -> int:
    """How many of the wanted sockets there is room for, beside the reserve.

    Raises the soft limit towards the hard one, no further than needed: a very high one makes programs slow that
    close every possible descriptor when they start another.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - RESERVED_DESCRIPTORS))
