"""The intel lane of one scan: collects addresses, asks the cache, draws grants, and sends batches to threads.

    ask() ─► unread ─► turn(): cache ─┬─► known
                                      └─► waiting ─► budget ─► thread: consult() ─► receive() ─► known, and kept

Everything but the requests themselves happens in the caller's thread, because the cache and the budget may be a
database. An address is asked about once per source, however many targets share it. Sources on this machine are read at
once and wait for nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network

from scans.core.budgets import ANSWERS, Refusal
from scans.core.egress import OFFLINE, Egress
from scans.core.intel.base import Consultation, LocalSource, Outside, RemoteSource, Source, consult, look_up
from scans.core.tools import Kept, Tools
from scans.core.types import IPAddress, IPNetwork, SourceResult, SourceState

GATHER_SECONDS = 1.0  # while probes still run there is no hurry, and a full batch costs no more than one address
MAX_REQUESTS = 16  # at once, of all sources; each is a daemon thread, so that a stuck service cannot delay the end
NEAR_PREFIXES = {4: 24, 6: 48}  # how near an address must be to share an answer about a network
MISSED_STATES = (SourceState.FAILED, SourceState.RATE_LIMITED)  # an older answer stands in, if there is one


class IntelLane:
    """Questions and answers of one scan."""

    def __init__(
        self, sources: Sequence[Source], tools: Tools, egress: Egress, emit: Callable[[Consultation], None]
    ) -> None:
        self._services = {source.name: source for source in sources if isinstance(source, RemoteSource)}
        self._local = [source for source in sources if isinstance(source, LocalSource)]
        self._ipv4_only = [source.name for source in self._services.values() if source.is_ipv4_only]
        self._names = [source.name for source in sources]
        self._tools = tools
        self._egress = egress
        self._emit = emit
        self._results: dict[tuple[str, IPAddress], SourceResult] = {}
        self._older: dict[tuple[str, IPAddress], SourceResult] = {}  # from the cache, for where no new answer comes
        self._unread: dict[IPAddress, float] = {}  # asked for since when, not looked for in the cache yet
        self._asked: set[IPAddress] = set()
        self._waiting: dict[str, dict[IPAddress, float]] = {name: {} for name in self._services}  # since when
        self._refusals: dict[str, tuple[float, Refusal]] = {}  # by source: until when, and why
        self._networks: dict[tuple[str, IPNetwork], list[tuple[IPNetwork, SourceResult]]] = {}  # by source and where
        self._to_keep: list[Kept] = []
        self._requests: Counter[str] = Counter()
        self._out: dict[tuple[str, IPAddress], Outside] = {}  # by which request it is being asked about

    def ask(self, addresses: Iterable[IPAddress], *, now: float) -> None:
        """Ask every source about these addresses. What this machine knows is there at once."""
        for address in addresses:
            if address in self._asked:
                continue
            self._asked.add(address)
            self._unread[address] = now
            for source in self._local:
                self._results[source.name, address] = look_up(source, address)
            for name in self._ipv4_only if address.version != 4 else ():
                reason = "it only knows IPv4 addresses"
                self._record(SourceResult(source=name, state=SourceState.NOT_APPLICABLE, reason=reason), [address])

    def not_applicable(self, addresses: Iterable[IPAddress]) -> None:
        """Addresses that no source is asked about."""
        wanted = list(addresses)
        for name in self._names:
            reason = "only public addresses are asked about"
            self._record(SourceResult(source=name, state=SourceState.NOT_APPLICABLE, reason=reason), wanted)

    def turn(self, *, now: float, is_urgent: bool) -> None:
        """Send what is worth sending: a full batch, an old enough one, or any if somebody waits for nothing else."""
        self._read_cache()
        self.keep()
        for source in self._services.values():
            self._send(source, now=now, is_urgent=is_urgent)

    def receive(self, consultation: Consultation) -> None:
        """Take in an answer, keep it for the cache, and note how the source is doing."""
        source = self._services[consultation.source]
        self._requests[source.name] -= 1
        results = dict(consultation.results)
        for address in results:
            self._out.pop((source.name, address), None)
        is_its_own = consultation.is_down or not source.is_answered_by_targets
        seen = [result for result in results.values() if is_its_own or result.state in ANSWERS]
        self._tools.budget.observe(source.name, source.limits, seen, consultation.quota)
        if source.is_network_wide:
            new = self._note_networks(source, results)
            results.update(self._spared(source, [a for a in self._waiting[source.name] if any(a in n for n in new)]))
        for address, result in self._with_older(source, results).items():
            self._results.setdefault((source.name, address), result)

    def keep(self) -> None:
        """Write new answers to the cache."""
        if self._to_keep:
            kept, self._to_keep = self._to_keep, []
            self._tools.cache.put_many(kept)

    def has_all(self, address: IPAddress, *, now: float) -> bool:
        """Whether every source's state for this address is known, or cannot be in time."""
        return all((name, address) in self._results or self._is_hopeless(name, address, now=now) for name in self._names)

    def results(self, address: IPAddress, *, now: float) -> tuple[SourceResult, ...]:
        """One result per source; a source that has not answered by now is recorded as such."""
        return tuple(
            self._results.get((name, address)) or self._or_older(address, self._missing(name, address, now=now))
            for name in self._names
        )

    # ---

    def _read_cache(self) -> None:
        """One query for all addresses that came since the last turn."""
        if not self._unread:
            return
        unread, self._unread = self._unread, {}
        if self._tools.options.intel.offline:
            for name in self._services:
                unknown = [address for address in unread if (name, address) not in self._results]
                self._record(SourceResult(source=name, state=SourceState.SKIPPED, reason=OFFLINE), unknown)
            return
        kept = self._tools.cache.get_many(list(self._services), unread) if self._services else {}
        for key, result in kept.items():
            (self._older if result.state is SourceState.STALE else self._results)[key] = result
        for name, waiting in self._waiting.items():
            waiting.update({address: since for address, since in unread.items() if (name, address) not in self._results})
        for source in self._services.values():
            if source.is_network_wide:
                unknown = [address for address in unread if (source.name, address) not in self._results]
                spared = self._with_older(source, self._spared(source, unknown))
                self._results.update({(source.name, address): result for address, result in spared.items()})

    def _send(self, source: RemoteSource, *, now: float, is_urgent: bool) -> None:
        waiting = self._waiting[source.name]
        while waiting and self._has_room(source) and now >= self._blocked_until(source.name):
            is_old = now - next(iter(waiting.values())) >= GATHER_SECONDS
            if not (is_urgent or is_old or len(waiting) >= source.batch_size):
                return
            if refusal := self._tools.budget.draw(source.name, source.limits):
                self._refusals[source.name] = (now + refusal.seconds, refusal)
                return
            batch = list(waiting)[: source.batch_size]
            for address in batch:
                del waiting[address]
            self._requests[source.name] += 1
            outside = Outside(self._egress, self._tools.options.intel)
            self._out.update({(source.name, address): outside for address in batch})
            ask = (source, batch, outside)
            threading.Thread(target=self._request, args=ask, name=f"intel-{source.name}", daemon=True).start()

    def _has_room(self, source: RemoteSource) -> bool:
        return self._requests[source.name] < source.max_requests and self._requests.total() < MAX_REQUESTS

    def _request(self, source: RemoteSource, batch: Sequence[IPAddress], outside: Outside) -> None:
        self._emit(self._consult(source, batch, outside))

    def _consult(self, source: RemoteSource, batch: Sequence[IPAddress], outside: Outside) -> Consultation:
        return consult(source, batch, self._egress, self._tools.options.intel, outside=outside)

    def _note_networks(self, source: RemoteSource, results: dict[IPAddress, SourceResult]) -> list[IPNetwork]:
        """Write down the networks that answers are about, by where they were asked for."""
        new = []
        for address, result in results.items():
            network = _network(result.facts.network) if result.state is SourceState.OK else None
            if network is not None:
                self._networks.setdefault((source.name, _around(address)), []).append((network, result))
                new.append(network)
        return new

    def _spared(self, source: RemoteSource, addresses: Iterable[IPAddress]) -> dict[IPAddress, SourceResult]:
        """The answers for those of these waiting addresses whose network was answered for already.

        But for near ones only. Parts of a wide network may belong to somebody else: 8.8.8.0/24 lies in another's 8.0.0.0/9.
        """
        found = {}
        for address in addresses:
            near = self._networks.get((source.name, _around(address)), ())
            if result := next((result for network, result in near if address in network), None):
                self._waiting[source.name].pop(address, None)
                found[address] = replace(result, is_cached=True, elapsed_ms=None, contacted=())
        return found

    def _with_older(self, source: RemoteSource, results: dict[IPAddress, SourceResult]) -> dict[IPAddress, SourceResult]:
        """New answers go to the cache; where there is none, an old one from there stands in."""
        lifetimes = {SourceState.OK: source.lifetime_seconds, SourceState.EMPTY: source.empty_lifetime_seconds}
        self._to_keep += [
            Kept(address=address, result=result, lifetime_seconds=lifetimes[result.state])
            for address, result in results.items()
            if result.state in lifetimes
        ]
        return {
            address: self._or_older(address, result) if result.state in MISSED_STATES else result
            for address, result in results.items()
        }

    def _or_older(self, address: IPAddress, missing: SourceResult) -> SourceResult:
        """In place of an answer that did not come the older one, if there is one; who was told all the same stays."""
        old = self._older.get((missing.source, address))
        if old is None:
            return missing
        reason = f"an older answer; {missing.reason}"
        return replace(old, reason=reason, elapsed_ms=missing.elapsed_ms, contacted=missing.contacted)

    def _blocked_until(self, name: str) -> float:
        return self._refusals[name][0] if name in self._refusals else 0.0

    def _is_hopeless(self, name: str, address: IPAddress, *, now: float) -> bool:
        """Blocked for longer than anybody waits."""
        grace_seconds = self._tools.options.intel.grace_seconds
        return address in self._waiting.get(name, ()) and self._blocked_until(name) - now > grace_seconds

    def _missing(self, name: str, address: IPAddress, *, now: float) -> SourceResult:
        if address not in self._waiting.get(name, ()):
            outside = self._out.get((name, address))
            told = outside.gate.contacted if outside else ()
            return SourceResult(source=name, state=SourceState.FAILED, reason="no answer in time", contacted=told)
        until, refusal = self._refusals.get(name, (0.0, None))
        if refusal is not None and until > now:
            return SourceResult(source=name, state=refusal.state, reason=refusal.reason)
        reason = "its turn did not come in time: others are asked about first"
        return SourceResult(source=name, state=SourceState.RATE_LIMITED, reason=reason)

    def _record(self, result: SourceResult, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            self._results[result.source, address] = result


def _around(address: IPAddress) -> IPNetwork:
    """Where an address must be as well to share an answer about a network."""
    return ip_network((address, NEAR_PREFIXES[address.version]), strict=False)


def _network(said: str | None) -> IPNetwork | None:
    """The network that a source named, if it can be meant."""
    try:
        return ip_network(said) if said else None
    except ValueError:
        return None
