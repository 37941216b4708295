"""Replaying: lanes that answer from a recording, and the usual parsers, rules and pipeline over them. Nothing goes out.

Compared is what the evidence and the verdict say, to the last byte, but for TIMES, which are of the day of the replay.
"""

from __future__ import annotations

import base64
import json
import queue
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import IO, Any, TypeVar, cast

from scans.core import pipeline, wire
from scans.core.dns import Dns, DnsState, Question, Records
from scans.core.egress import Egress, EgressRefusedError, Gate
from scans.core.fingerprint import FingerprintLane, HostQuestion, HostServices
from scans.core.http import Call, Http, HttpFailedError, Reply, headers_of
from scans.core.intel import SOURCES, IntelLane, Outside, RemoteSource, Source, check_choice, consult
from scans.core.options import FingerprintOptions, IntelOptions, OptionError, Options, RiskOptions, ScopeOptions
from scans.core.pipeline import Item, Stages
from scans.core.ports import count_ports, expand
from scans.core.probe import HostPlan, HostResult, ProbeEngine
from scans.core.recording.lines import (
    NO_KEY,
    AnswerLine,
    DnsExchange,
    Head,
    HttpExchange,
    Lines,
    NameLine,
    ProbesLine,
    RecordingError,
    ReportLine,
    RequestLine,
    ServicesLine,
    TargetLine,
    read_lines,
)
from scans.core.recording.record import full_url
from scans.core.resolve import Outcome as Resolved
from scans.core.resolve import Resolution, ResolveError, Resolver
from scans.core.tools import Tools
from scans.core.types import IPAddress, PortState, Probe, Report

TIMES = ("finished_at", "observed_at", "elapsed_ms")
MAX_DIFFERENCES = 20  # of one target
_PORTS = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", re.ASCII)
Exchange = TypeVar("Exchange", HttpExchange, DnsExchange)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A place where the replay says something else than the recording."""

    number: int
    where: str  # /evidence/addresses/0/sources/1/state
    recorded: str  # as JSON; "" where there was nothing
    replayed: str


def read_recording(file: IO[str]) -> Lines:
    """Read it, and check that it can be replayed. Raises RecordingError, naming the line."""
    lines = read_lines(file)
    _options(lines.head, rules_file="", directory="")
    targets = [line.number for _, line in lines.of.get(TargetLine, ())]
    if targets != list(range(len(targets))):
        raise RecordingError("The targets are not numbered from 0 on.")
    checks: dict[type[Any], Callable[[Any], object]] = {
        TargetLine: lambda line: _ports(line.ports),
        NameLine: _resolution,
        ProbesLine: _probes,
        RequestLine: lambda line: ([_body(one) for one in line.http], [DnsState(one.state) for one in line.dns]),
    }
    for kind, read in checks.items():
        for number, line in lines.of.get(kind, ()):
            try:
                read(line)
            except ValueError as error:
                raise RecordingError(f"Line {number}: {error}.") from error
    return lines


def replay(
    lines: Lines, *, options: Options, sources: Sequence[type[Source]] = SOURCES
) -> Iterator[tuple[int, list[Difference]]]:
    """Scan again by what the recording says; yields for each target what differs. Raises RecordingError.

    Of `options` only the rules and the directory of list files are used; all else is as it was recorded.
    """
    made = _options(lines.head, rules_file=options.risk.rules_file, directory=options.intel.directory)
    try:
        check_choice(made.intel, sources)
    except OptionError as error:
        raise RecordingError(f"It was made with sources that are not here: {error}") from error
    kinds = [kind for kind in sources if kind.name in lines.head.sources]  # if there are none, the default is not meant
    recorded = {line.number: line for _, line in lines.of.get(ReportLine, ())}
    items = [Item(key=line.number, target=line.target, ports=_ports(line.ports)) for _, line in lines.of.get(TargetLine, ())]
    stages = Stages(
        resolver=lambda options: _Resolver(options, lines),
        engine=lambda *given, **named: _Engine(lines, *given, **named),
        intel=lambda *given: _Intel(lines, *given),
        fingerprint=lambda options, **named: _Fingerprint(lines, options, **named),
        begins_at=lambda key: recorded[cast(int, key)].started_at if key in recorded else datetime.now(UTC),
    )
    for key, report in pipeline.scan(items, Tools(options=made), sources=kinds, stages=stages):
        number = int(str(key))
        if number not in recorded or not isinstance(report, Report):
            raise RecordingError(f"There is no report of target {number}.")
        yield number, _differences(recorded[number], report)


def _options(head: Head, *, rules_file: str, directory: str) -> Options:
    """The options that the recording was made by. A key is none, but looks like one to a source that wants it."""
    try:
        scope = ScopeOptions(
            allow=tuple(map(ip_network, head.allow)),
            deny=tuple(map(ip_network, head.deny)),
            treat_as_global=tuple(map(ip_network, head.treat_as_global)),
        )
    except ValueError as error:
        raise RecordingError(f"Line 1: {error}.") from error
    intel = IntelOptions(
        offline=head.offline,
        sources=head.sources,
        keys=dict.fromkeys(head.keyed, NO_KEY),
        urls=dict(head.urls),
        directory=directory,
    )
    fingerprint = FingerprintOptions(is_on=head.fingerprint)
    return Options(scope=scope, intel=intel, fingerprint=fingerprint, risk=RiskOptions(rules_file=rules_file))


def _ports(text: str) -> tuple[int, ...]:
    """What compact() wrote. Raises ValueError for anything else."""
    ends = [int(end) for part in text.split(",") for end in part.split("-")] if re.fullmatch(_PORTS, text) else [0]
    if ends != sorted(ends) or not all(1 <= end <= 65535 for end in ends):
        raise ValueError(f"{text[:40]!r} are no ports")
    return expand(text)


# --- The lanes -----------------------------------------------------------------------------------------------------


class _Resolver(Resolver):
    def __init__(self, options: Any, lines: Lines) -> None:
        super().__init__(options)
        self._said: dict[str, deque[NameLine]] = {}
        for _, line in sorted(lines.of.get(NameLine, ()), key=lambda pair: pair[1].n):
            self._said.setdefault(line.name, deque()).append(line)

    def start(self, name: str, done: Callable[[Resolved], None]) -> None:
        """See Resolver."""
        if not self._said.get(name):
            raise RecordingError(f"There is no answer of the resolver about {name}.")
        done(_resolution(self._said[name].popleft()))


def _resolution(line: NameLine) -> Resolution | ResolveError:
    if line.error or not line.addresses:
        return ResolveError(line.name, line.error)
    return Resolution(addresses=tuple(map(ip_address, line.addresses)), dropped=tuple(map(ip_address, line.dropped)))


class _Engine(ProbeEngine):
    """Every host is finished as soon as it is submitted."""

    def __init__(self, lines: Lines, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._probed = {(line.number, line.address): line for _, line in lines.of.get(ProbesLine, ())}
        self._done: queue.SimpleQueue[HostResult | None] = queue.SimpleQueue()

    def submit(self, plan: HostPlan) -> None:
        """See ProbeEngine."""
        number, address = cast(tuple[int, IPAddress], plan.key)
        line = self._probed.get((number, address))
        probes = _probes(line) if line else ()
        if line is None or {probe.port for probe in probes} != set(plan.ports):
            raise RecordingError(f"There are no probes of just these ports of target {number} at {address}.")
        now = datetime.now(UTC)
        everywhere = line.answers_everywhere
        result = HostResult(
            key=plan.key, address=address, probes=probes, started_at=now, finished_at=now, answers_everywhere=everywhere
        )
        self._done.put(result)

    def run(self, *_: Any, **__: Any) -> Iterator[list[HostResult]]:
        """See ProbeEngine. The pipeline hands plans in, and has none to be pulled."""
        while (result := self._done.get()) is not None:
            yield [result]

    def cancel(self) -> None:
        """See ProbeEngine."""
        self._done.put(None)


def _probes(line: ProbesLine) -> tuple[Probe, ...]:
    """Raises ValueError; each port stands there once, so a short line cannot stand for more than there are."""
    if sum(count_ports(ports) for ports, *_ in line.probes) > 65535:
        raise ValueError("it holds more ports than there are")
    return tuple(
        sorted(
            Probe(port, PortState(state), reason, attempts, latency_ms)
            for ports, state, reason, attempts, latency_ms in line.probes
            for port in _ports(ports)
        )
    )


class _Fingerprint(FingerprintLane):
    def __init__(self, lines: Lines, options: FingerprintOptions, **named: Any) -> None:
        super().__init__(options, **named)
        self._found = {(line.number, line.address): line.services for _, line in lines.of.get(ServicesLine, ())}

    def ask(self, host: HostQuestion) -> None:
        """See FingerprintLane. What was not there in time is not there now."""
        found = self._found.get((cast(int, host.key), host.address))
        if found is not None:
            self._emit(HostServices(key=host.key, address=host.address, services=found))

    def drop(self, keys: Iterable[Hashable]) -> None:
        """See FingerprintLane."""


class _Intel(IntelLane):
    """Every answer is there as soon as it is asked for: of a line of its own, or read anew from what a look-up got."""

    def __init__(self, lines: Lines, sources: Sequence[Source], tools: Tools, egress: Egress, *given: Any) -> None:
        super().__init__(sources, tools, egress, *given)
        self._answers = {(line.result.source, line.address): line.result for _, line in lines.of.get(AnswerLine, ())}
        self._lines = {(line.source, a): (n, line) for n, line in lines.of.get(RequestLine, ()) for a in line.addresses}

    def ask(self, addresses: Iterable[IPAddress], *, now: float) -> None:
        """See IntelLane."""
        for address in addresses:
            for name in self._names:
                about = (name, address)
                if about in self._answers:
                    self._results[about] = self._answers[about]
                elif about not in self._results:
                    self._read_again(name, address)

    def turn(self, *, now: float, is_urgent: bool) -> None:
        """See IntelLane."""

    def has_all(self, address: IPAddress, *, now: float) -> bool:
        """See IntelLane."""
        return True

    def _read_again(self, name: str, address: IPAddress) -> None:
        if (name, address) not in self._lines or not isinstance(source := self._services.get(name), RemoteSource):
            raise RecordingError(f"There is no answer of {name} about {address}.")
        number, line = self._lines[name, address]
        options = self._tools.options.intel
        outside = Outside(self._egress, options)
        outside.gate = _Gate(line.contacted)
        outside.http, outside.dns = http, dns = _Http(line), _Dns(line)
        found = consult(source, line.addresses, self._egress, options, outside=outside)
        if problem := http.problem or dns.problem:
            raise RecordingError(f"Line {number}: {problem}.")
        for one, result in found.results.items():
            self._results.setdefault((name, one), result)


class _Gate(Gate):
    """Knows who was contacted then, and lets nobody out."""

    def __init__(self, contacted: tuple[str, ...]) -> None:
        self._contacted = contacted


class _Http(Http):
    """Answers from a line, whatever is asked in whatever order, each exchange once."""

    def __init__(self, line: RequestLine) -> None:
        self._left = list(line.http)
        self.problem = ""

    def exchange(self, call: Call) -> Reply:
        """See Http."""
        asked = full_url(call.url, call.params)
        known = _taken(self._left, lambda one: (one.method, one.url) == (call.method, asked))
        if known is None:
            self.problem = self.problem or f"there is no reply to {call.method} {asked}"
            raise HttpFailedError("not recorded")
        if known.was_refused:
            raise EgressRefusedError(known.failure)
        if known.failure:
            raise HttpFailedError(known.failure)
        return Reply(status=known.status, headers=headers_of(known.headers), body=_body(known))


def _body(exchange: HttpExchange) -> bytes:
    return base64.b64decode(exchange.body, validate=True) if exchange.is_base64 else exchange.body.encode()


class _Dns(Dns):
    """The same for questions to DNS."""

    def __init__(self, line: RequestLine) -> None:
        self._left = list(line.dns)
        self.problem = ""

    def ask(self, questions: Sequence[Question], **_: Any) -> list[Records]:
        """See Dns."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Records:
        found = _taken(self._left, lambda one: (one.name, one.type) == question)
        if found is None:
            self.problem = self.problem or f"there is no answer to {question.kind} {question.name}"
            return Records(state=DnsState.FAILED, reason="not recorded")
        return Records(state=DnsState(found.state), texts=found.texts, reason=found.reason)


def _taken(left: list[Exchange], is_it: Callable[[Exchange], bool]) -> Exchange | None:
    found = next((one for one in left if is_it(one)), None)
    if found is not None:
        left.remove(found)
    return found


# --- Comparing -----------------------------------------------------------------------------------------------------


def _differences(recorded: ReportLine, report: Report) -> list[Difference]:
    now = {"evidence": wire.evidence_dict(report), "verdict": wire.verdict_dict(report.verdict)}
    then = {"evidence": recorded.evidence, "verdict": recorded.verdict}
    found: list[Difference] = []
    for where, before, after in _unequal("", then, json.loads(json.dumps(now))):
        found.append(Difference(number=recorded.number, where=where, recorded=_short(before), replayed=_short(after)))
        if len(found) == MAX_DIFFERENCES:
            break
    return found


_NOTHING = object()


def _unequal(where: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places where two values of JSON differ, the times aside."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            if name not in TIMES:
                yield from _unequal(f"{where}/{name}", before.get(name, _NOTHING), after.get(name, _NOTHING))
    elif isinstance(before, list) and isinstance(after, list):
        for n in range(max(len(before), len(after))):
            pair = [each[n] if n < len(each) else _NOTHING for each in (before, after)]
            yield from _unequal(f"{where}/{n}", *pair)
    elif before is _NOTHING or after is _NOTHING or json.dumps(before) != json.dumps(after):
        yield where, before, after


def _short(value: Any) -> str:
    text = "" if value is _NOTHING else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
