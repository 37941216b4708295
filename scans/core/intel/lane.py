"""The intel lane of one scan: collects addresses, asks the cache, draws grants, and sends batches to threads.

Everything but the requests themselves happens in the caller's thread, because the cache and the budget may be a
database. An address is asked about once per source, however many targets share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from scans.core.http import Http
from scans.core.intel.base import Consultation, Source, consult
from scans.core.tools import Tools
from scans.core.types import IPAddress, SourceResult, SourceState

GATHER_SECONDS = 1.0  # while probes still run there is no hurry, and a full batch costs no more than one address
MAX_REQUESTS = 4  # at once; each is a daemon thread, so that a stuck service cannot delay the end of the process


class IntelLane:
    """Questions and answers of one scan."""

    def __init__(self, sources: Sequence[Source], tools: Tools, http: Http, emit: Callable[[Consultation], None]) -> None:
        self._sources = sources
        self._tools = tools
        self._http = http
        self._emit = emit
        self._results: dict[tuple[str, IPAddress], SourceResult] = {}
        self._asked: set[tuple[str, IPAddress]] = set()
        self._waiting: dict[str, dict[IPAddress, float]] = {source.name: {} for source in sources}  # since when
        self._try_at: dict[str, float] = {}
        self._requests = 0

    def ask(self, addresses: Iterable[IPAddress], *, now: float) -> None:
        """Ask every source about these addresses. What the cache holds is answered at once."""
        wanted = list(addresses)
        for source in self._sources:
            fresh = [a for a in wanted if (source.name, a) not in self._asked]
            self._asked.update((source.name, a) for a in fresh)
            if self._tools.options.intel.offline:
                self._record(
                    SourceResult(source=source.name, state=SourceState.SKIPPED, reason="offline: OFFLINE=1 is set"), fresh
                )
                continue
            kept = self._tools.cache.get_many(source.name, fresh) if fresh else {}
            self._results.update({(source.name, a): result for a, result in kept.items()})
            self._waiting[source.name].update({a: now for a in fresh if a not in kept})

    def not_applicable(self, addresses: Iterable[IPAddress]) -> None:
        """Addresses that no service is asked about."""
        wanted = list(addresses)
        for source in self._sources:
            reason = "only public addresses are asked about"
            self._record(SourceResult(source=source.name, state=SourceState.NOT_APPLICABLE, reason=reason), wanted)

    def turn(self, *, now: float, is_urgent: bool) -> None:
        """Send what is worth sending: a full batch, an old enough one, or any if somebody waits for nothing else."""
        for source in self._sources:
            waiting = self._waiting[source.name]
            while waiting and self._requests < MAX_REQUESTS and now >= self._try_at.get(source.name, 0.0):
                is_old = now - next(iter(waiting.values())) >= GATHER_SECONDS
                if not (is_urgent or is_old or len(waiting) >= source.batch_size):
                    break
                wait = self._tools.budget.draw(source.name, per_minute=source.requests_per_minute)
                if wait > 0:
                    self._try_at[source.name] = now + wait
                    break
                batch = list(waiting)[: source.batch_size]
                for address in batch:
                    del waiting[address]
                self._requests += 1
                threading.Thread(
                    target=self._request, args=(source, batch), name=f"intel-{source.name}", daemon=True
                ).start()

    def receive(self, consultation: Consultation) -> None:
        """Take in an answer, keep it in the cache, and note what is left of the quota."""
        self._requests -= 1
        source = next(s for s in self._sources if s.name == consultation.source)
        if consultation.quota:
            quota = consultation.quota
            self._tools.budget.observe(source.name, remaining=quota.remaining, resets_in_seconds=quota.resets_in_seconds)
        lifetimes = {SourceState.OK: source.lifetime_seconds, SourceState.EMPTY: source.empty_lifetime_seconds}
        worth_keeping = {a: r for a, r in consultation.results.items() if r.state in lifetimes}
        if worth_keeping:
            lifetime_by_address = {a: lifetimes[r.state] for a, r in worth_keeping.items()}
            self._tools.cache.put_many(worth_keeping, lifetime_seconds=lifetime_by_address)
        for address, result in consultation.results.items():
            self._results.setdefault((source.name, address), result)

    def has_all(self, address: IPAddress) -> bool:
        """Whether every source's state for this address is known."""
        return all((source.name, address) in self._results for source in self._sources)

    def results(self, address: IPAddress, *, now: float) -> tuple[SourceResult, ...]:
        """One result per source; a source that has not answered by now is recorded as such."""
        return tuple(
            self._results.get((source.name, address)) or self._missing(source, address, now=now) for source in self._sources
        )

    def _missing(self, source: Source, address: IPAddress, *, now: float) -> SourceResult:
        blocked_seconds = self._try_at.get(source.name, 0.0) - now
        if address in self._waiting[source.name] and blocked_seconds > 0:
            reason = f"its quota is used up for another {max(1, round(blocked_seconds))} s"
            return SourceResult(source=source.name, state=SourceState.RATE_LIMITED, reason=reason)
        return SourceResult(source=source.name, state=SourceState.FAILED, reason="no answer in time")

    def _record(self, result: SourceResult, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            self._results[result.source, address] = result

    def _request(self, source: Source, batch: Sequence[IPAddress]) -> None:
        self._emit(consult(source, batch, self._http))
