"""The stored evidence itself: as JSON to read, short enough for a page, and the digest that names all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django import template

register = template.Library()

MAX_SHOWN_CHARS = 12_000  # some 250 lines, four pages of paper
MAX_LINE_CHARS = 400


@register.filter
def evidence_digest(evidence: Mapping[str, Any]) -> str:
    """SHA-256 of the evidence as JSON with sorted keys and no spaces: the same from either database and from an export."""
    text = json.dumps(evidence, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@register.filter
def evidence_text(evidence: Mapping[str, Any]) -> str:
    """The evidence as JSON, a list of plain values on one line; cut where it grows too long, and it says so."""
    shown: list[str] = []
    size = 0
    for line in _lines(evidence, indent=""):
        size += min(len(line), MAX_LINE_CHARS) + 1
        if size > MAX_SHOWN_CHARS:
            return "\n".join([*shown, "… cut here; the JSON of the job has the rest"])
        shown.append(line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]}…")
    return "\n".join(shown)


def _lines(value: Any, *, indent: str, name: str = "", end: str = "") -> Iterator[str]:
    """One value as lines, made as they are asked for, so that what is cut was never built."""
    start = f"{indent}{json.dumps(name)}: " if name else indent
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        yield start + "{"
        last = len(value) - 1
        for at, (key, part) in enumerate(value.items()):
            yield from _lines(part, indent=inner, name=key, end="" if at == last else ",")
        yield f"{indent}}}{end}"
    elif isinstance(value, list) and any(isinstance(part, list | Mapping) for part in value):
        yield start + "["
        last = len(value) - 1
        for at, part in enumerate(value):
            yield from _lines(part, indent=inner, end="" if at == last else ",")
        yield f"{indent}]{end}"
    else:
        yield f"{start}{json.dumps(value, ensure_ascii=False)}{end}"
