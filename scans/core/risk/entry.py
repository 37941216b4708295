"""One mapping of a rule file, read field by field; every complaint names the line, the entry and the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from scans.core.risk.yaml_lines import Lined
from scans.core.text import clean_text
from scans.core.types import Level

MAX_POINTS = 100  # the end of the scale
MAX_ENTRIES = 500
MAX_TEXT_CHARS = 500
MAX_SHOWN_CHARS = 60  # of a bad value, in a complaint


class RuleError(ValueError):
    """A pack that cannot be meant; the text names the line, the rule, the field and what is wrong with it."""


class Entry:
    """A mapping by its name: a rule by its id, another part by where it stands."""

    def __init__(self, name: str, raw: object) -> None:
        self.name = name
        if not isinstance(raw, dict):
            raise RuleError(f"{name}: is not a mapping.")
        self.raw: Mapping[str, object] = raw

    def wrong(self, field: str, problem: str) -> RuleError:
        """The complaint about one field."""
        return RuleError(f"{self._line(field)}{self.name}: {clean_text(field, limit=MAX_SHOWN_CHARS)}: {problem}.")

    def check_fields(self, *, required: AbstractSet[str], optional: AbstractSet[str] = frozenset()) -> None:
        """Refuse what is missing and what is not known."""
        if missing := sorted(required - self.raw.keys()):
            raise self.wrong(missing[0], "is missing")
        if unknown := sorted(self.raw.keys() - required - optional):
            raise self.wrong(unknown[0], f"is not a field of this kind of entry, which has {_words(required | optional)}")

    def text(self, field: str) -> str:
        """One line of text."""
        value = self.raw[field]
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(field, f"{shown(value)} is not text")
        if len(value) > MAX_TEXT_CHARS:
            raise self.wrong(field, f"is longer than {MAX_TEXT_CHARS} characters")
        return clean_text(value, limit=MAX_TEXT_CHARS)

    def whole(self, field: str) -> int:
        """A whole number from 0 to the end of the scale."""
        value = self.raw[field]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(field, f"{shown(value)} is not a whole number")
        if value < 0:
            raise self.wrong(field, f"{shown(value)} is below 0: rules only add")
        if value > MAX_POINTS:
            raise self.wrong(field, f"{shown(value)} is above {MAX_POINTS}, the end of the scale")
        return value

    def number(self, field: str) -> float:
        """Any number but those that are none."""
        value = self.raw[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self.wrong(field, f"{shown(value)} is not a number")
        return value

    def values(self, field: str) -> list[object]:
        """A list with something in it."""
        value = self.raw[field]
        if not isinstance(value, list) or not value:
            raise self.wrong(field, "is not a list with something in it")
        if len(value) > MAX_ENTRIES:
            raise self.wrong(field, f"holds {len(value):,} entries, more than {MAX_ENTRIES}")
        return value

    def entries(self, field: str) -> list[Entry]:
        """The mappings of a list."""
        return [Entry(self._entry_name(field, n, raw), raw) for n, raw in enumerate(self.values(field), 1)]

    def level(self, field: str) -> Level:
        """A level that a score can reach."""
        value = self.raw[field]
        known = [level.value for level in Level if level is not Level.UNKNOWN]
        if value not in known:
            raise self.wrong(field, f"{shown(value)} is none of {', '.join(known)}")
        return Level(str(value))

    def _line(self, field: str) -> str:
        """Where the field stands, if it came from a file; where its entry begins, if the field is not there."""
        return f"line {self.raw.lines.get(field, self.raw.line)}: " if isinstance(self.raw, Lined) and self.raw.line else ""

    def _entry_name(self, field: str, number: int, raw: object) -> str:
        if field == "rules" and isinstance(raw, dict) and isinstance(raw.get("id"), str):
            return clean_text(str(raw["id"]), limit=MAX_SHOWN_CHARS)
        return f"{self.name}: {field} {number}"


def shown(value: object) -> str:
    """A value in a complaint: as it is written in Python, and not all of a long one."""
    if isinstance(value, int) and abs(value) > 10**MAX_SHOWN_CHARS:
        return "a number of many digits"  # which Python refuses to write out
    return clean_text(repr(value), limit=MAX_SHOWN_CHARS)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of four hundred digits
        return False


def _words(names: AbstractSet[str]) -> str:
    return ", ".join(sorted(names))
