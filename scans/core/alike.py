"""Hosts that look alike, as dark ones do: what is made of one is made once.

In a scan of empty space nine hosts of ten answer nothing at all. Their probes are equal to the last detail, and so are
verdict and words, which name no address where there is only one. To make them anew for each costs more than to probe it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from scans.core.types import AddressReport, Summary, Verdict

MAX_KEPT = 64
ANY = ip_address("::")  # in place of the only thing in which they differ
MAX_PORTS = 1000  # beyond it hosts are few, and what is kept would be large
Rated = tuple[Verdict, Summary]


class Alike:
    """Verdicts and summaries of the last few kinds of silent hosts. One thread."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[AddressReport, Rated]] = {}

    def rated(
        self, addresses: tuple[AddressReport, ...], rate: Callable[[Sequence[AddressReport]], Rated]
    ) -> tuple[tuple[AddressReport, ...], Rated]:
        """The addresses and what `rate` makes of them; those of a host like an earlier one share its probes."""
        if not _is_silent(addresses):
            return addresses, rate(addresses)
        [address] = addresses
        key = replace(address, address=ANY)
        if key not in self._known:
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            self._known[key] = (address, rate(addresses))
        earlier, rated = self._known[key]
        return (replace(address, probes=earlier.probes),), rated


def _is_silent(addresses: tuple[AddressReport, ...]) -> bool:
    """One address of which nothing is known but that it did not answer; what has a time of its own is like nothing else."""
    if len(addresses) != 1:
        return False
    [address] = addresses
    return (
        0 < len(address.probes) <= MAX_PORTS
        and not address.services
        and all(probe.latency_ms is None for probe in address.probes)
        and all(source.observed_at is None and source.elapsed_ms is None for source in address.sources)
    )
