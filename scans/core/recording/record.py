"""Recording: the usual lanes, and a tee at each place where something comes in from outside."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, Any, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from scans.core import pipeline, wire
from scans.core.dns import Dns, Question, Records
from scans.core.egress import EgressRefusedError
from scans.core.fingerprint import FingerprintLane, HostServices
from scans.core.http import Call, Http, HttpFailedError, Reply
from scans.core.intel import SOURCES, Consultation, IntelLane, Outside, RemoteSource, Source, switched_on
from scans.core.options import Options
from scans.core.pipeline import Item, Stages
from scans.core.ports import compact
from scans.core.probe import HostResult, ProbeEngine
from scans.core.recording.lines import (
    SCHEMA,
    AnswerLine,
    DnsExchange,
    Head,
    HttpExchange,
    Line,
    NameLine,
    ProbesLine,
    ReportLine,
    RequestLine,
    ServicesLine,
    TargetLine,
    Writer,
    scrubbed,
    secret_forms,
)
from scans.core.resolve import Outcome as Resolved
from scans.core.resolve import Resolution, ResolveError, Resolver
from scans.core.tools import MemoryCache, Tools
from scans.core.types import IPAddress, Report, SourceResult

NOT_KEPT_HEADERS = frozenset({"set-cookie", "cookie", "authorization"})


def record(
    items: Sequence[Item], tools: Tools, file: IO[str], *, sources: Sequence[type[Source]] = SOURCES
) -> Iterator[Report]:
    """Scan every item and write down all that came from outside; yields the reports as they are ready.

    Keys of items are their numbers. The cache is a fresh one: what is asked is asked anew. Raises RecordingError; a
    recording that was stopped has no last line.
    """
    tape = _Tape(Writer(file, tools.options), tools.options)
    tape.write(head_of(tools.options, sources))
    for item in items:
        tape.write(TargetLine(number=int(str(item.key)), target=item.target, ports=compact(item.ports)))
    stages = Stages(
        resolver=lambda options: _Resolver(options, tape),
        engine=lambda *given, **named: _Engine(tape, *given, **named),
        intel=lambda *given: _Intel(tape, *given),
        fingerprint=lambda options, may_connect, emit, pace: FingerprintLane(
            options, may_connect=may_connect, emit=tape.services(emit), pace=pace
        ),
    )
    fresh = replace(tools, cache=MemoryCache())
    for key, report in pipeline.scan(items, fresh, sources=sources, stages=stages):
        if not isinstance(report, Report):
            return
        tape.report(key, report)
        yield report
    tape.end()


def head_of(options: Options, sources: Sequence[type[Source]]) -> Head:
    """The settings that decide what a scan finds, without keys."""
    chosen = [source.name for source in switched_on(options.intel, sources)]
    return Head(
        schema=SCHEMA,
        made_at=datetime.now(UTC),
        offline=options.intel.offline,
        fingerprint=options.fingerprint.is_on,
        allow=tuple(map(str, options.scope.allow)),
        deny=tuple(map(str, options.scope.deny)),
        treat_as_global=tuple(map(str, options.scope.treat_as_global)),
        sources=tuple(chosen),
        keyed=tuple(name for name in chosen if options.intel.keys.get(name)),
        urls=tuple((name, without_user(url)) for name, url in options.intel.urls.items() if name in chosen),
    )


def without_user(url: str) -> str:
    """The address without name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def full_url(url: str, params: Mapping[str, str] | None) -> str:
    """The address as it is asked."""
    return without_user(url) + (f"?{urlencode(params)}" if params else "")


class _Tape:
    """Writes lines from whatever thread, and knows which answers have a look-up behind them."""

    def __init__(self, writer: Writer, options: Options) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._told: dict[tuple[str, IPAddress], SourceResult] = {}  # by look-ups
        self._answered: set[tuple[str, IPAddress]] = set()  # by a line of their own
        self._has_ended = False
        self._forms = secret_forms(options)
        self._problem: Exception | None = None

    def write(self, line: Line) -> None:
        with self._lock:
            if not self._has_ended:  # what a slow source says then is in no report
                self._writer.write(line)

    def write_from_lane(self, line: Line) -> None:
        """A lane must not die of it: whoever reads the reports is told."""
        try:
            self.write(line)
        except Exception as error:  # noqa: BLE001 - the edge of a lane's thread: raised again by report() and end()
            self._problem = self._problem or error

    def end(self) -> None:
        self._raise_problem()
        with self._lock:
            self._writer.end()
            self._has_ended = True

    def services(self, emit: Callable[[HostServices], None]) -> Callable[[HostServices], None]:
        def tee(found: HostServices) -> None:
            self.write_from_lane(ServicesLine(number=int(str(found.key)), address=found.address, services=found.services))
            emit(found)

        return tee

    def body(self, body: bytes) -> tuple[str, bool]:
        """A body as text, or else in base64, where a key could not be seen any more: it is taken out before."""
        for form in self._forms:
            body = body.replace(form.encode(), b"KEY-NOT-KEPT")
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            return base64.b64encode(body).decode(), True

    def clean(self, text: str) -> str:
        return scrubbed(text, self._forms)

    def request(self, line: RequestLine, consultation: Consultation) -> None:
        self.write_from_lane(line)
        with self._lock:
            self._told.update({(line.source, address): result for address, result in consultation.results.items()})

    def report(self, key: Hashable, report: Report) -> None:
        self._raise_problem()
        for place in (place for place in report.addresses if place.is_global):
            for result in place.sources:
                about = (result.source, place.address)
                if self._told.get(about) == result or about in self._answered:
                    continue
                self._answered.add(about)
                self.write(AnswerLine(address=place.address, result=result))
        self.write(
            ReportLine(
                number=int(str(key)),
                started_at=report.started_at,
                evidence=wire.evidence_dict(report),
                verdict=wire.verdict_dict(report.verdict),
            )
        )

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem


class _Resolver(Resolver):
    """Names are numbered in the order asked for: the same name may have another answer the second time."""

    def __init__(self, options: Any, tape: _Tape) -> None:
        super().__init__(options)
        self._tape = tape
        self._asked = 0

    def start(self, name: str, done: Callable[[Resolved], None]) -> None:
        """See Resolver."""
        n, self._asked = self._asked, self._asked + 1

        def tee(outcome: Resolved) -> None:
            self._tape.write_from_lane(_name_line(n, name, outcome))
            done(outcome)

        super().start(name, tee)


def _name_line(n: int, name: str, outcome: Resolution | ResolveError) -> NameLine:
    if isinstance(outcome, ResolveError):
        return NameLine(n=n, name=name, error=outcome.detail)
    return NameLine(n=n, name=name, addresses=tuple(map(str, outcome.addresses)), dropped=tuple(map(str, outcome.dropped)))


class _Engine(ProbeEngine):
    def __init__(self, tape: _Tape, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._tape = tape

    def run(self, *given: Any, **named: Any) -> Iterator[list[HostResult]]:
        """See ProbeEngine."""
        for batch in super().run(*given, **named):
            for result in batch:
                self._tape.write_from_lane(_probes_line(result))
            yield batch


def _probes_line(result: HostResult) -> ProbesLine:
    key, _ = cast(tuple[Hashable, IPAddress], result.key)
    alike: dict[tuple[str, str, int, float | None], list[int]] = {}
    for probe in result.probes:
        alike.setdefault((probe.state.value, probe.reason, probe.attempts, probe.latency_ms), []).append(probe.port)
    return ProbesLine(
        number=int(str(key)),
        address=result.address,
        probes=tuple((compact(ports), *rest) for rest, ports in alike.items()),
        answers_everywhere=result.answers_everywhere,
    )


class _Intel(IntelLane):
    def __init__(self, tape: _Tape, *given: Any) -> None:
        super().__init__(*given)
        self._tape = tape

    def _consult(self, source: RemoteSource, batch: Sequence[IPAddress], outside: Outside) -> Consultation:
        http, dns = _Http(outside.http, self._tape), _Dns(outside.dns)
        outside.http, outside.dns = http, dns
        consultation = super()._consult(source, batch, outside)
        line = RequestLine(
            source=source.name,
            addresses=tuple(batch),
            contacted=outside.gate.contacted,
            http=tuple(http.exchanges),
            dns=tuple(dns.exchanges),
        )
        self._tape.request(line, consultation)
        return consultation


class _Http(Http):
    """The client that it is made of, and what it was told."""

    def __init__(self, usual: Http, tape: _Tape) -> None:
        self._usual = usual
        self._tape = tape
        self.exchanges: list[HttpExchange] = []

    def exchange(self, call: Call) -> Reply:
        """See Http."""
        asked = self._tape.clean(full_url(call.url, call.params))
        try:
            reply = self._usual.exchange(call)
        except (HttpFailedError, EgressRefusedError) as error:
            is_refused = isinstance(error, EgressRefusedError)
            self.exchanges.append(HttpExchange(method=call.method, url=asked, failure=str(error), was_refused=is_refused))
            raise
        text, is_base64 = self._tape.body(reply.body)
        kept = tuple((name, value) for name, value in reply.headers.items() if name.lower() not in NOT_KEPT_HEADERS)
        self.exchanges.append(
            HttpExchange(method=call.method, url=asked, status=reply.status, headers=kept, body=text, is_base64=is_base64)
        )
        return reply


class _Dns(Dns):
    """The same for questions to DNS."""

    def __init__(self, usual: Dns) -> None:
        self._usual = usual
        self.exchanges: list[DnsExchange] = []

    def ask(self, questions: Sequence[Question], **more: Any) -> list[Records]:
        """See Dns."""
        answers = self._usual.ask(questions, **more)
        for question, said in zip(questions, answers, strict=True):
            self.exchanges.append(
                DnsExchange(
                    name=question.name, type=question.kind, state=said.state.value, texts=said.texts, reason=said.reason
                )
            )
        return answers
