"""Items through the lanes, start to finish; yields (key, report) as soon as it is ready, alone or with others.

    items ─► policy ─► resolve ─► policy ─┬─► probe ─► fingerprint ─┬─► vulnerabilities ─► risk ─► summary ─► (key, Report)
                      (threads)           │  (thread)    (thread)   │
                                          └──────► intel ───────────┘
                                                 (threads)

Slow must not hold up fast: every lane has its own threads and reports by one queue of events. The caller's thread
does all the rest, and alone touches what Tools hides (a database, in a worker): it pulls items as capacity
frees, reads the cache, draws grants, and yields. A look-up or a source that fails says so in the
report and never costs what another lane found.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

from scans.core import risk, summary
from scans.core.alike import Alike, Rated
from scans.core.egress import SYSTEM_DNS, Egress
from scans.core.fingerprint import MAX_SERVICES, FingerprintLane, HostQuestion, HostServices
from scans.core.policy import Decision, ScopePolicy
from scans.core.probe import HostPlan, HostResult, ProbeEngine
from scans.core.probe.budgets import MOST_DESCRIPTORS, claim_descriptors
from scans.core.resolve import Resolution, ResolveError, Resolver
from scans.core.targets import asked_path
from scans.core.tools import Tools
from scans.core.types import (
    ASKED_NAMES,
    AddressReport,
    IPAddress,
    Outcome,
    PortState,
    Probe,
    Report,
    Service,
    ServiceState,
    SourceResult,
    Target,
    Told,
)
from scans.core.unscanned import failure, refusal

if TYPE_CHECKING:  # at run time these are imported where something is asked: see _open_questions
    from scans.core.intel import IntelLane, Source
    from scans.core.vulnerabilities import KnownAgainst, NvdLane

MAX_ITEMS = 1024  # in the lanes at once
MAX_PROBES = 200_000  # planned at once; one item alone may need more
MAX_AT_ONCE = 64  # reports made before more items are looked for: some tenths of a second
TURN_SECONDS = 0.1
PULL_AGAIN_SECONDS = 1.0  # after "nothing now"
FINGERPRINT_GRACE_SECONDS = 1.0  # beyond what the lane allows itself; then it is stuck, and nobody waits for it
_END = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One target to scan. `known` holds what earlier runs found out: pinned addresses with their probes, and notes."""

    key: Hashable
    target: Target
    ports: tuple[int, ...]  # ascending
    known: Mapping[IPAddress, tuple[Probe, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    group: Hashable = None  # what is ready of several groups leaves in turns

    @property
    def all_ports(self) -> tuple[int, ...]:
        """The asked ports and the URL's own."""
        own = self.target.port
        return self.ports if own is None or own in self.ports else tuple(sorted((*self.ports, own)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Interrupted:
    """A target that a stop cut short, with what is known so far: `known` and `notes` of the item that goes on with it."""

    known: Mapping[IPAddress, tuple[Probe, ...]]
    has_progress: bool  # anything new since the item came in
    notes: tuple[str, ...] = ()
    probing_seconds: float = 0  # how long its probes had a chance; 0 for a name that was still being resolved
    told: tuple[Told, ...] = ()  # who learned of the target so far


Ready = tuple[Hashable, Report | Interrupted]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """What the lanes are made of; None: the usual. A recording puts its own in their place: scans/core/recording."""

    resolver: Callable[..., Resolver] | None = None
    engine: Callable[..., ProbeEngine] | None = None
    intel: Callable[..., IntelLane] | None = None
    fingerprint: Callable[..., FingerprintLane] | None = None
    begins_at: Callable[[Hashable], datetime] = lambda key: datetime.now(UTC)


USUAL = Stages()
# A name's addresses, what the lanes found, what takes in an answer to a question, or what went wrong.
_Event = tuple[Hashable, Resolution | ResolveError] | HostResult | HostServices | Callable[[], None] | BaseException


def scan(
    items: Iterable[Item | None],
    tools: Tools,
    *,
    sources: Sequence[type[Source]] | None = None,
    max_probes: int = MAX_PROBES,
    stages: Stages = USUAL,
) -> Iterator[Ready]:
    """Scan every item; yields each exactly once, in the order they become ready. Without `sources` every one may be asked.

    Items are pulled lazily, in the caller's thread, while fewer than `max_probes` are planned. A None among them means
    "nothing now": more is asked for a second later, and at once when the last item under way has ended. Once
    `tools.stop` is set nothing more is pulled and what is unfinished comes back as Interrupted within a second. An item
    whose key comes by `tools.drops` is stopped and not yielded at all.
    """
    for batch in scan_in_batches(items, tools, sources=sources, max_probes=max_probes, stages=stages):
        yield from batch


def scan_in_batches(
    items: Iterable[Item | None],
    tools: Tools,
    *,
    sources: Sequence[type[Source]] | None = None,
    max_probes: int = MAX_PROBES,
    stages: Stages = USUAL,
    is_urgent: Callable[[], bool] = lambda: False,
) -> Iterator[list[Ready]]:
    """As `scan`, but yields what is ready at the same moment together, for whom it is cheaper to store many at once.

    Nothing waits for company: the faster results come, and the slower they are taken, the larger the batches, up to
    MAX_AT_ONCE. `is_urgent` says whether the next item is to be pulled although there is no room; it is often asked.
    """
    lanes = _Lanes(tools, sources, stages, max_probes=max_probes, is_urgent=is_urgent)
    try:
        yield from lanes.run(iter(items))
    finally:
        lanes.close()


@dataclass(slots=True)
class _Work:
    """An item on its way."""

    item: Item
    started_at: datetime
    decisions: dict[IPAddress, Decision] = field(default_factory=dict)
    probes: dict[IPAddress, tuple[Probe, ...]] = field(default_factory=dict)
    answers_everywhere: dict[IPAddress, bool | None] = field(default_factory=dict)
    services: dict[IPAddress, tuple[Service, ...]] = field(default_factory=dict)
    asked: set[IPAddress] = field(default_factory=set)  # whose services are still being asked
    services_due_at: float = 0.0  # monotonic; what is still asked then is not waited for
    subjects: dict[IPAddress, tuple[str, ...]] | None = None  # what the NVD is asked; None: not yet
    scores_due_at: float = 0.0  # monotonic, likewise
    planned: int = 0
    notes: tuple[str, ...] = ()
    admitted_at: float | None = None  # monotonic; None while its name is being resolved
    probed_at: float | None = None  # monotonic; None while probes are out


class _Lanes:
    """One run of the pipeline."""

    def __init__(
        self,
        tools: Tools,
        sources: Sequence[type[Source]] | None,
        stages: Stages,
        *,
        max_probes: int,
        is_urgent: Callable[[], bool],
    ) -> None:
        options = tools.options
        self._begins_at = stages.begins_at
        self._tools = tools
        self._policy = ScopePolicy(options.scope)
        self._pack = risk.pack_of(options.risk.rules_file)
        self._alike = Alike()
        self._resolver = (stages.resolver or Resolver)(options.resolve)
        self._engine = (stages.engine or ProbeEngine)(options.probe, may_connect=self._policy.may_connect, pace=tools.pace)
        # Beside the probes' sockets there are those of conversations, and the connections that wait for one.
        claim_descriptors((options.probe.max_inflight or MOST_DESCRIPTORS) + 2 * options.fingerprint.max_inflight)
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._intel: IntelLane | None = None
        self._nvd: NvdLane | None = None
        self._subjects: Callable[..., tuple[str, ...]] | None = None
        self._known_against: Callable[..., KnownAgainst] | None = None
        if sources is None or sources or stages.intel or options.fingerprint.is_on:
            self._open_questions(sources, stages)
        self._fingerprint = (stages.fingerprint or FingerprintLane)(
            options.fingerprint, may_connect=self._policy.may_connect, emit=self._events.put, pace=self._engine.pace
        )
        self._works: dict[Hashable, _Work] = {}
        self._awaiting: dict[Hashable, _Work] = {}  # probed, and waiting for the other lanes
        self._is_intel_urgent = False  # one of them waits for nothing else
        self._is_behind = False  # with reports
        self._ready: list[Ready] = []
        self._max_probes = max_probes
        self._is_urgent = is_urgent
        self._engine_turns = -1
        self._pull_at = 0.0
        self._is_ending = False
        self._planned = 0
        self._prober = threading.Thread(target=self._run_engine, name="probe", daemon=True)
        self._prober.start()

    def _open_questions(self, sources: Sequence[type[Source]] | None, stages: Stages) -> None:
        """Make the lanes that ask about addresses and products.

        What they are made of is imported here: it takes a fourth of a start, and a scan that only probes has nothing to
        ask. Later would be too late: it would cost the probes their punctuality.
        """
        from scans.core.feeds import Store
        from scans.core.intel import SOURCES, IntelLane, RemoteSource, switched_on
        from scans.core.vulnerabilities import Library, Nvd, NvdLane, known_against, subjects

        tools, options = self._tools, self._tools.options
        kinds = SOURCES if sources is None else sources
        chosen = switched_on(options.intel, kinds)
        may_ask = bool(kinds) and stages.intel is None  # a recording holds what sources say of addresses, and not this
        asked = [each for each in switched_on(options.intel, (Nvd,)) if isinstance(each, Nvd) and may_ask]
        services = [url for source in chosen if isinstance(source, RemoteSource) for url in source.services]
        egress, put = Egress(options, [*services, *(each.url for each in asked)]), self._events.put
        lane: IntelLane = (stages.intel or IntelLane)(chosen, tools, egress, lambda said: put(partial(lane.receive, said)))
        self._intel = lane
        if asked:
            nvd: NvdLane = NvdLane(asked[0], tools, egress, lambda said: put(partial(nvd.receive, said)))
            self._nvd = nvd
        library = Library(Store(options.intel.directory))
        self._subjects = partial(subjects, library=library)
        self._known_against = partial(known_against, library=library)

    def close(self) -> None:
        """End every lane; nothing is left running."""
        self._engine.cancel()
        self._prober.join()
        self._fingerprint.close()
        self._resolver.close()
        if self._intel:
            self._intel.keep()
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, HostResult):
                _close(event)

    def run(self, items: Iterator[Item | None]) -> Iterator[list[Ready]]:
        """See scan_in_batches()."""
        has_more = True
        while has_more or self._works:
            self._beat()
            if self._tools.stop.is_set():
                yield list(self._hand_back())
                return
            self._drop_unwanted()
            has_more = has_more and self._pull(items)
            if self._intel:
                self._intel.turn(now=time.monotonic(), is_urgent=self._is_intel_urgent)
            if self._nvd:
                self._nvd.turn(now=time.monotonic())
            self._finish_complete()
            if self._works:
                self._take_events(seconds=0 if self._ready else TURN_SECONDS)
            if self._ready:
                ready, self._ready = self._ready, []
                yield ready

    def _beat(self) -> None:
        """Turn the pulse, but only while the probe lane turns too."""
        turns = self._engine.stats.turns
        if turns != self._engine_turns:
            self._engine_turns = turns
            self._tools.pulse.turns += 1

    def _drop_unwanted(self) -> None:
        """Forget items that nobody wants any more; what their lanes still say about them is ignored."""
        while not self._tools.drops.empty():
            work = self._works.pop(self._tools.drops.get(), None)
            if work is not None:
                self._tools.told_in_vain.put((work.item.key, self._told(work)))
                self._awaiting.pop(work.item.key, None)
                self._set_planned(work, 0)
                self._engine.drop((work.item.key, address) for address in work.decisions)
                self._fingerprint.drop([work.item.key])

    # --- In ------------------------------------------------------------------------------------------------------

    def _pull(self, items: Iterator[Item | None]) -> bool:
        """Take items while there is room. False once there are no more, or none now and nothing under way."""
        while self._has_room() and self._may_ask():
            item = next(items, _END)
            if item is None:
                self._pull_at = time.monotonic() + PULL_AGAIN_SECONDS
                return bool(self._works)
            if not isinstance(item, Item):
                return False
            self._start(item)
            if self._ready:
                break  # refusals and the like leave before more come in
        return True

    def _has_room(self) -> bool:
        """For one more; always for one that the others must not keep waiting."""
        has_room = len(self._works) < MAX_ITEMS and self._planned < self._max_probes and not self._is_behind
        return self._is_urgent() or has_room

    def _may_ask(self) -> bool:
        """Not so soon after "nothing now"; but with nothing under way there is nothing else to wait for either."""
        return not self._works or time.monotonic() >= self._pull_at

    def _start(self, item: Item) -> None:
        work = _Work(item=item, started_at=self._begins_at(item.key), notes=item.notes)
        self._works[item.key] = work
        self._set_planned(work, len(item.all_ports))
        if item.known:
            self._admit(work, tuple(item.known))
        elif item.target.address is not None:
            self._admit(work, (item.target.address,))
        else:
            self._resolver.start(item.target.host, partial(self._answered, item.key))

    def _answered(self, key: Hashable, answer: Resolution | ResolveError) -> None:
        """Called by the resolver's thread."""
        self._events.put((key, answer))

    def _resolved(self, key: Hashable, answer: Resolution | ResolveError) -> None:
        work = self._works.get(key)
        if work is None:  # dropped
            return
        if isinstance(answer, ResolveError):
            ended = failure(work.item.target, "resolve_failed", str(answer), started_at=work.started_at, pack=self._pack)
            self._leave(work, ended)
            return
        if self._is_ending:  # too late for probes: it is handed back, and asked again by the next run
            return
        if answer.dropped:
            work.notes = (f"{len(answer.dropped)} more addresses of this name were not scanned",)
        self._admit(work, answer.addresses, not_scanned=answer.dropped)

    def _admit(self, work: _Work, addresses: Sequence[IPAddress], *, not_scanned: Sequence[IPAddress] = ()) -> None:
        """Judge every address, pin those to scan, and send them to the probe and intel lanes."""
        decisions = {address: self._policy.check(address) for address in (*addresses, *not_scanned)}
        if not all(decision.allowed for decision in decisions.values()):
            self._leave(
                work, refusal(work.item.target, work.item.all_ports, decisions, started_at=work.started_at, pack=self._pack)
            )
            return
        work.decisions = {address: decisions[address] for address in addresses}
        work.admitted_at = time.monotonic()
        plans = [self._plan(work, address) for address in addresses]
        self._set_planned(work, sum(len(plan.ports) for plan in plans))
        for plan in plans:
            self._engine.submit(plan)
        if self._intel:
            self._intel.ask((a for a, d in work.decisions.items() if d.is_global), now=time.monotonic())
            self._intel.not_applicable(a for a, d in work.decisions.items() if not d.is_global)

    def _plan(self, work: _Work, address: IPAddress) -> HostPlan:
        known = {probe.port for probe in work.item.known.get(address, ())}
        ports = [port for port in work.item.all_ports if port not in known]
        return HostPlan(
            key=(work.item.key, address),
            address=address,
            ports=ports,
            is_paced=work.decisions[address].is_global,
            keep_open=self._tools.options.fingerprint.is_on,
        )

    def _set_planned(self, work: _Work, probes: int) -> None:
        """How many probes of this item are still to come, as far as one can tell.

        One giant takes up no more than a quarter of the room, so that it does not keep the others out.
        """
        probes = min(probes, max(1, self._max_probes // 4))
        self._planned += probes - work.planned
        work.planned = probes

    # --- Events --------------------------------------------------------------------------------------------------

    def _take_events(self, *, seconds: float = 0) -> None:
        """Wait so long for one event, then take all that are there."""
        try:
            event = self._events.get(timeout=seconds) if seconds else self._events.get_nowait()
            while True:
                self._take(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _take(self, event: _Event) -> None:
        if isinstance(event, BaseException):
            raise event
        if isinstance(event, HostResult):
            self._probed(event)
        elif isinstance(event, HostServices):
            self._identified(event)
        elif isinstance(event, tuple):
            self._resolved(*event)
        else:
            event()

    def _probed(self, result: HostResult) -> None:
        key, _ = cast(tuple[Hashable, IPAddress], result.key)
        work = self._works.get(key)
        if work is None:  # dropped
            _close(result)
            return
        known = work.item.known.get(result.address, ())
        work.probes[result.address] = tuple(sorted((*known, *result.probes))) if known else result.probes
        work.answers_everywhere[result.address] = result.answers_everywhere
        self._ask_services(work, result)
        if len(work.probes) == len(work.decisions) and not _is_cut_short(work):
            self._set_planned(work, 0)
            work.probed_at = time.monotonic()
            self._awaiting[key] = work
            self._is_intel_urgent = True

    def _ask_services(self, work: _Work, result: HostResult) -> None:
        """Hand an address and its open connections on, if all of its ports have their state."""
        probes, target = work.probes[result.address], work.item.target
        is_cut = any(probe.state is PortState.NOT_TESTED for probe in probes)
        open_probes = [probe for probe in probes if probe.state is PortState.OPEN]
        if is_cut or not open_probes or self._is_ending or not self._tools.options.fingerprint.is_on:
            _close(result)
            return
        work.asked.add(result.address)
        work.services_due_at = time.monotonic() + self._fingerprint.host_seconds + FINGERPRINT_GRACE_SECONDS
        self._fingerprint.ask(
            HostQuestion(
                key=work.item.key,
                address=result.address,
                is_paced=work.decisions[result.address].is_global,
                open_probes=open_probes,
                connections=result.connections,
                answers_everywhere=result.answers_everywhere,
                name=target.host if target.address is None else None,
                scheme=target.scheme,
                url_port=target.port,
                path=asked_path(target),
            )
        )

    def _identified(self, found: HostServices) -> None:
        work = self._works.get(found.key)
        if work is not None:
            work.services[found.address] = found.services
            work.asked.discard(found.address)

    # --- Out -----------------------------------------------------------------------------------------------------

    def _finish_complete(self) -> None:
        """Let those go that have what every lane can still say, or have waited for it long enough."""
        now = time.monotonic()
        grace_seconds = self._tools.options.intel.grace_seconds
        self._is_intel_urgent = self._is_behind = False
        for work in _in_turns(self._awaiting.values()):
            if len(self._ready) >= MAX_AT_ONCE and not self._is_ending:
                self._is_behind = True
                break
            has_intel = not self._intel or all(self._intel.has_all(address, now=now) for address in work.decisions)
            self._is_intel_urgent = self._is_intel_urgent or not has_intel
            is_late = work.probed_at is not None and now - work.probed_at >= grace_seconds
            has_services = not work.asked or now >= work.services_due_at
            if (has_intel or is_late) and has_services and self._has_scores(work, now=now):
                self._leave(work, self._report(work, now=now))

    def _has_scores(self, work: _Work, *, now: float) -> bool:
        """Ask the NVD, once all is known that it is asked about, and wait as long as for any source."""
        if self._nvd is None or self._subjects is None or self._is_ending:
            return True
        if work.subjects is None:
            work.subjects = {
                address: self._subjects(work.services.get(address, ()), self._sources(address, now=now))
                for address, decision in work.decisions.items()
                if decision.is_global  # what others run stays here
            }
            work.scores_due_at = now + self._tools.options.intel.grace_seconds
            self._nvd.ask(subject for each in work.subjects.values() for subject in each)
        due = work.scores_due_at
        return now >= due or all(self._nvd.has_all(each, until=due) for each in work.subjects.values())

    def _leave(self, work: _Work, result: Report | Interrupted) -> None:
        del self._works[work.item.key]
        self._set_planned(work, 0)
        self._awaiting.pop(work.item.key, None)
        told = self._told(work)
        self._ready.append((work.item.key, replace(result, told=told) if told else result))

    def _told(self, work: _Work) -> tuple[Told, ...]:
        """Who was told about this item in this run. What came from the cache told nobody."""
        told: Counter[tuple[str, str]] = Counter()
        if work.item.target.address is None and not work.item.known:
            told[ASKED_NAMES, SYSTEM_DNS] += 1
        now = time.monotonic()
        for address in work.decisions:
            for result in self._sources(address, now=now):
                told.update((result.source, host) for host in result.contacted)
            if self._nvd and work.subjects:
                told.update((self._nvd.name, host) for host in self._nvd.told(work.subjects.get(address, ())))
        return tuple(Told(source, host, n) for (source, host), n in told.items())

    def _report(self, work: _Work, *, now: float) -> Report:
        found = tuple(self._address_report(work, address, now=now) for address in work.decisions)
        addresses, (verdict, words) = self._alike.rated(found, partial(self._rate, work.item.target))
        return Report(
            target=replace(work.item.target, notes=(*work.item.target.notes, *work.notes)),
            outcome=Outcome.DONE,
            addresses=addresses,
            verdict=verdict,
            summary=words,
            started_at=work.started_at,
            finished_at=datetime.now(UTC),
        )

    def _rate(self, target: Target, addresses: Sequence[AddressReport]) -> Rated:
        verdict = risk.rate(risk.gather(addresses), self._pack)
        return verdict, summary.summarise(target, addresses, verdict)

    def _address_report(self, work: _Work, address: IPAddress, *, now: float) -> AddressReport:
        sources = self._sources(address, now=now)
        services = work.services.get(address) or _unanswered(work, address)
        asked = (work.subjects or {}).get(address, ())
        scores = self._nvd.scores(asked) if self._nvd else {}
        day = work.started_at.date()
        known = self._known_against(services, sources, day=day, scores=scores) if self._known_against else None
        if self._nvd:
            sources = (*sources, self._nvd.result(asked))
        return AddressReport(
            address=address,
            is_global=work.decisions[address].is_global,
            probes=work.probes[address],
            sources=sources,
            answers_everywhere=work.answers_everywhere.get(address),
            services=services,
            vulnerabilities=known.vulnerabilities if known else None,
            end_of_life=known.end_of_life if known else None,
        )

    def _sources(self, address: IPAddress, *, now: float) -> tuple[SourceResult, ...]:
        """What they said of an address by now; nothing where none is asked."""
        return self._intel.results(address, now=now) if self._intel else ()

    def _hand_back(self) -> Iterator[Ready]:
        """Cancel the probes and the questions, and give every unfinished item back with what is known of it."""
        self._is_ending = True
        self._engine.cancel()
        self._prober.join()
        self._fingerprint.close()
        while not self._events.empty():
            self._take_events()
        self._finish_complete()
        yield from self._ready
        for key, work in self._works.items():
            known = {
                address: tuple(probe for probe in probes if probe.state is not PortState.NOT_TESTED)
                for address, probes in work.probes.items()
            }
            before = sum(map(len, work.item.known.values()))
            yield (
                key,
                Interrupted(
                    known=known,
                    has_progress=sum(map(len, known.values())) > before,
                    notes=work.notes,
                    probing_seconds=time.monotonic() - work.admitted_at if work.admitted_at else 0,
                    told=self._told(work),
                ),
            )

    def _run_engine(self) -> None:
        try:
            for batch in self._engine.run():
                for result in batch:
                    self._events.put(result)
        except BaseException as error:  # noqa: BLE001 - the thread's edge: the caller's thread raises it
            self._events.put(error)


def _in_turns(works: Iterable[_Work]) -> list[_Work]:
    """The first of each group, then the second of each, and so on."""
    groups: dict[Hashable, list[_Work]] = {}
    for work in works:
        groups.setdefault(work.item.group, []).append(work)
    return [work for turn in zip_longest(*groups.values()) for work in turn if work is not None]


def _unanswered(work: _Work, address: IPAddress) -> tuple[Service, ...]:
    """What is said of the open ports of an address whose questions were not waited for any longer."""
    if address not in work.asked:
        return ()
    reason = "the questions to this address were not answered in time"
    is_open = [probe.port for probe in work.probes[address] if probe.state is PortState.OPEN]
    return tuple(Service(port=port, state=ServiceState.TIMED_OUT, reason=reason) for port in is_open[:MAX_SERVICES])


def _close(result: HostResult) -> None:
    """Close the connections that nobody will use."""
    for connection in result.connections.values():
        connection.close()


def _is_cut_short(work: _Work) -> bool:
    """By a stop: such an item is handed back, not reported."""
    return any(probe.state is PortState.NOT_TESTED for probes in work.probes.values() for probe in probes)
