"""The file of a recording: one JSON object a line, each of one of these kinds; docs/recording.md describes it.

A recording never holds a key: those that are set are taken out of every line before it is written. One that comes back may
have been edited by anybody: what is not as it must be raises RecordingError with the number of the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any
from urllib.parse import quote, quote_plus

from scans.core.options import Options
from scans.core.recording.codec import decoded, encoded
from scans.core.types import IPAddress, Service, SourceResult, Target

SCHEMA = 1
MAX_LINE_CHARS = 16 << 20
MAX_LINES = 1_000_000
LEAST_KEY_CHARS = 8  # a shorter "key" occurs in a text by chance
NO_KEY = "KEY-NOT-KEPT"  # stands where one stood; it looks the same in an address


class RecordingError(ValueError):
    """The recording cannot be made, or not be read; the text says why, and where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """By what the scan was made: the settings that decide what it finds. First line."""

    schema: int
    made_at: datetime
    offline: bool = False
    fingerprint: bool = True
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    treat_as_global: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # that were on
    keyed: tuple[str, ...] = ()  # those of them that had a key
    urls: tuple[tuple[str, str], ...] = ()  # in place of their own


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetLine:
    """What was to be scanned."""

    number: int
    target: Target
    ports: str  # 22,80-90


@dataclass(frozen=True, kw_only=True, slots=True)
class NameLine:
    """What the system's resolver said; of the n-th name that was asked for."""

    n: int
    name: str
    addresses: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbesLine:
    """The ports of one address of a target; those with all else in common stand together."""

    number: int
    address: IPAddress
    probes: tuple[tuple[str, str, str, int, float | None], ...]  # ports, state, reason, attempts, latency in milliseconds
    answers_everywhere: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicesLine:
    """What stands behind the open ports of one address of a target."""

    number: int
    address: IPAddress
    services: tuple[Service, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpExchange:
    """A request of a source, and its reply or why there was none. Headers of the request are not kept: they hold keys."""

    method: str
    url: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    is_base64: bool = False  # the body is not UTF-8
    failure: str = ""
    was_refused: bool = False  # by the gate


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsExchange:
    """A question of a source, and its answer."""

    name: str
    type: str
    state: str
    texts: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLine:
    """What one look-up of a source got from outside."""

    source: str
    addresses: tuple[IPAddress, ...]
    contacted: tuple[str, ...] = ()
    http: tuple[HttpExchange, ...] = ()
    dns: tuple[DnsExchange, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerLine:
    """What a report holds of a source without a look-up of its own: a file's answer, a neighbour's, or that none came."""

    address: IPAddress
    result: SourceResult


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportLine:
    """What came of a target."""

    number: int
    started_at: datetime
    evidence: dict[str, Any]
    verdict: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """Last line: a recording without it was cut short."""

    lines: int


Line = Head | TargetLine | NameLine | ProbesLine | ServicesLine | RequestLine | AnswerLine | ReportLine | End
KINDS: dict[str, type[Any]] = {
    "head": Head,
    "target": TargetLine,
    "name": NameLine,
    "probes": ProbesLine,
    "services": ServicesLine,
    "request": RequestLine,
    "answer": AnswerLine,
    "report": ReportLine,
    "end": End,
}
NAMES = {kind: name for name, kind in KINDS.items()}


class Writer:
    """Writes lines, and counts them."""

    def __init__(self, file: IO[str], options: Options) -> None:
        self._file = file
        self._forms = secret_forms(options)
        self._lines = 0

    def write(self, line: Line) -> None:
        """One line, without keys. Raises RecordingError for one that could not be read again."""
        text = json.dumps({"kind": NAMES[type(line)], **encoded(line)}, ensure_ascii=False, separators=(",", ":"))
        text = scrubbed(text, self._forms)
        if len(text) > MAX_LINE_CHARS or self._lines >= MAX_LINES:
            raise RecordingError("The job is too large to be recorded: record a part of it.")
        self._file.write(text + "\n")
        self._lines += 1

    def end(self) -> None:
        """The last line."""
        self.write(End(lines=self._lines))


@dataclass(slots=True)
class Lines:
    """A whole recording: its lines by kind, each with its number in the file."""

    head: Head
    of: dict[type[Any], list[tuple[int, Any]]] = field(default_factory=dict)


def read_lines(file: IO[str]) -> Lines:
    """Read a recording. Raises RecordingError, naming the line."""
    lines: Lines | None = None
    for number, line in _parsed(file):
        if lines is None:
            if not isinstance(line, Head) or line.schema != SCHEMA:
                raise RecordingError(f"Line {number}: this is no recording, or one of another version.")
            lines = Lines(line)
        elif isinstance(line, End):
            if line.lines != number - 1 or file.read(1):
                raise RecordingError(f"Line {number}: the end is not where it was: lines were added or taken out.")
            return lines
        else:
            lines.of.setdefault(type(line), []).append((number, line))
    raise RecordingError("The recording has no end: it was cut short.")


def _parsed(file: IO[str]) -> Iterator[tuple[int, Line]]:
    for number in range(1, MAX_LINES + 2):
        try:
            text = file.readline(MAX_LINE_CHARS + 1)
        except UnicodeDecodeError as error:
            raise RecordingError(f"Line {number}: it is not UTF-8.") from error
        if not text:
            return
        if len(text) > MAX_LINE_CHARS:
            raise RecordingError(f"Line {number}: it is longer than {MAX_LINE_CHARS:,} characters.")
        try:
            said = json.loads(text)
            if not isinstance(said, dict) or said.get("kind") not in KINDS:
                raise ValueError("it is of no known kind")
            yield number, decoded(KINDS[said.pop("kind")], said)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise RecordingError(f"Line {number}: {error}.") from error
    raise RecordingError(f"The recording has more than {MAX_LINES:,} lines.")


def secret_forms(options: Options) -> tuple[str, ...]:
    """The keys that are set, in every form that they may have in a line. Raises RecordingError for one too short to find."""
    keys = [*options.intel.keys.values(), options.ai.api_key]
    forms: dict[str, None] = {}
    for key in filter(None, keys):
        if len(key) < LEAST_KEY_CHARS:
            raise RecordingError(f"A key that is set has fewer than {LEAST_KEY_CHARS} characters: it cannot be taken out.")
        in_json = (json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1])
        forms |= dict.fromkeys((key, quote(key, safe=""), quote_plus(key), *in_json))
    return tuple(sorted(forms, key=len, reverse=True))


def scrubbed(text: str, forms: Sequence[str]) -> str:
    """The text without these."""
    for form in forms:
        text = text.replace(form, NO_KEY)
    return text
