"""What an input expands to, line by line: the sum, and for each line what it was read as or why it cannot be scanned."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scans.core.policy import Decision
from scans.core.types import Target, TargetKind
from scans.services.jobs import ScanRequest
from scans.services.preview import InputPreview, ReadItem, preview_input
from scans.services.problems import InvalidSubmissionError, Problem

SHOWN_LINES = 100  # above this only the lines that something is wrong with stand in the table
SHOWN_REFUSALS = 100  # and of the refused ones the first
LIVE_LINES = 200  # while somebody types; a thousand bad lines are 0.8 MB of table, at every pause
SHOWN_NOTES = 3
_LINE_END = re.compile(r"\r\n|\r|\n")
_LINE_POINTER = re.compile(r"/lines/([0-9]{1,9})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Addresses of one line that one rule keeps out of scope."""

    rule: str
    count: int
    reason: str  # of the first of them
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MarkedLine:
    """A line as typed, what it was read as, and what is wrong with it."""

    number: int
    text: str
    read_as: str = ""
    notes: tuple[str, ...] = ()
    targets: int = 0
    names: int = 0
    refused: tuple[Refused, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def refused_targets(self) -> int:
        """How many of the line's targets are out of scope."""
        return sum(refused.count for refused in self.refused)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expansion:
    """What an input expands to. Without a preview nothing of it can be scanned, and `lines` or `problems` say why."""

    preview: InputPreview | None = None
    lines: tuple[MarkedLine, ...] = ()  # those that hold something, or of a long list those with something wrong
    all_lines: int = 0
    wrong_lines: int = 0  # cannot be scanned, or not whole, or hold addresses out of scope
    bad: tuple[MarkedLine, ...] = ()
    good_lines: int = 0  # with at least one item that can be scanned
    mixed_lines: int = 0  # with such an item and a bad one
    problems: tuple[str, ...] = ()

    @property
    def hidden_lines(self) -> int:
        """Lines that hold something and do not stand in the table."""
        return self.all_lines - len(self.lines)

    @property
    def about(self) -> str:
        """How long the scan takes, in words."""
        if self.preview is None or not self.preview.probes:
            return ""
        quickest, slowest = _duration(self.preview.quickest_seconds), _duration(self.preview.slowest_seconds)
        return f"about {quickest}" if quickest == slowest else f"about {quickest}; {slowest} if nothing answers"


def split_numbered(text: str) -> list[tuple[int, str]]:
    """The lines with their numbers, as editors count them."""
    return list(enumerate(_LINE_END.split(text), 1))


def line_of(pointer: str) -> int | None:
    """The line that a problem points at; None if it is about the whole."""
    match = _LINE_POINTER.fullmatch(pointer)
    return int(match[1]) if match else None


def expand_input(text: str, request: ScanRequest) -> Expansion:
    """Read an input without storing or resolving anything. `request` holds the items of `text`."""
    preview: InputPreview | None = None
    try:
        preview = preview_input(request)
        problems = preview.rejected
    except InvalidSubmissionError as error:
        problems = error.problems
    items: dict[int, list[ReadItem]] = defaultdict(list)
    for item in preview.items if preview else ():
        items[line_of(item.pointer) or 0].append(item)
    reasons: dict[int, list[str]] = defaultdict(list)
    for problem in problems:
        if (number := _line_to_mark(problem)) is not None:
            reasons[number].append(problem.detail)
    lines = [
        _marked(n, line.strip(), items.get(n, ()), reasons.get(n, ()))
        for n, line in split_numbered(text)
        if line.strip() or n in reasons  # a control character may be all there is, and strip() takes some for white space
    ]
    return Expansion(
        preview=preview,
        lines=tuple(_shown(lines)),
        all_lines=len(lines),
        wrong_lines=sum(bool(line.reasons or line.refused) for line in lines),
        bad=tuple(line for line in lines if line.reasons),
        good_lines=len(items),
        mixed_lines=len(items.keys() & reasons.keys()),
        problems=_of_the_whole(problems),
    )


def _of_the_whole(problems: Iterable[Problem]) -> tuple[str, ...]:
    return tuple(problem.detail for problem in problems if _line_to_mark(problem) is None)


def _line_to_mark(problem: Problem) -> int | None:
    """The line to blame. That the rest was not read points at a line, but is no fault of it."""
    return None if problem.code == "not_read" else line_of(problem.pointer)


def _shown(lines: Sequence[MarkedLine]) -> list[MarkedLine]:
    if len(lines) <= SHOWN_LINES:
        return list(lines)
    refused = [line.number for line in lines if line.refused][:SHOWN_REFUSALS]
    numbers = {*refused, *(line.number for line in lines if line.reasons)}
    return [line for line in lines if line.number in numbers]


def _marked(number: int, text: str, items: Sequence[ReadItem], reasons: Sequence[str]) -> MarkedLine:
    targets = [target for item in items for target in item.targets]
    return MarkedLine(
        number=number,
        text=text,
        read_as=", ".join(dict.fromkeys(_read_as(item) for item in items)),
        notes=tuple(dict.fromkeys(note for target in targets for note in target.notes))[:SHOWN_NOTES],
        targets=len(targets),
        names=sum(target.address is None for target in targets),
        refused=tuple(_by_rule(decision for item in items for decision in item.refusals)),
        reasons=tuple(reasons),
    )


def _by_rule(refusals: Iterable[Decision]) -> list[Refused]:
    """The rules that refuse, each with its first reason: a network of refused addresses is one mistake."""
    found = list(refusals)
    counts = Counter(decision.rule for decision in found)
    firsts = {decision.rule: decision for decision in reversed(found)}
    return [
        Refused(rule=rule, count=count, reason=firsts[rule].reason, remedy=firsts[rule].remedy)
        for rule, count in counts.items()
    ]


def _read_as(item: ReadItem) -> str:
    first: Target = item.targets[0]
    if first.kind is TargetKind.NAME:
        return "name, resolved when scanned"
    if first.kind is TargetKind.URL:
        return f"URL, port {first.port}"
    family = f"IPv{first.address.version}" if first.address else "IP"
    if "/" in item.text:
        return f"{family} network"
    return f"{family} range" if "-" in item.text else f"{family} address"


def _duration(seconds: float) -> str:
    """Rounded to what such an estimate is good for."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 100:
        return f"{round(seconds / 5) * 5} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
