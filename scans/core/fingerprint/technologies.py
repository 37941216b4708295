"""What a page is made with, by the signs that `technologies.yaml` beside this file lists.

The signs are plain text: whatever stands in a page, a look through it takes the same time. What they show is what the page
says of itself, and a proxy in front may have added or removed some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import yaml

from scans.core.fingerprint.http_reply import MAX_VALUE_CHARS, Reply
from scans.core.types import Technology

MAX_TECHNOLOGIES = 20
_KINDS = {"headers", "cookies", "generator", "html"}
_META = re.compile(r"<meta\s[^<>]{0,400}>", re.IGNORECASE)
_IS_GENERATOR = re.compile(r"\bname\s{0,5}=\s{0,5}[\"']?generator\b", re.IGNORECASE)
_CONTENT = re.compile(r"\bcontent\s{0,5}=\s{0,5}(?:\"([^\"]{0,300})\"|'([^']{0,300})')", re.IGNORECASE)
_VERSION = re.compile(r"[ /]?v?([0-9]{1,6}(?:\.[0-9]{1,6}){0,3})(?![0-9])")  # directly after the sign
# An empty sign is a header that is there: of these the whole value is a version.
_IS_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){1,3}")


class TechnologyError(ValueError):
    """An entry that cannot be meant; the text names it and what is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """One entry of the file."""

    name: str
    headers: Mapping[str, str]
    cookies: tuple[str, ...]
    generator: tuple[str, ...]
    html: tuple[str, ...]


def technologies(reply: Reply, page: str) -> tuple[Technology, ...]:
    """Those that show, in the order of the file; the best sign of each, which is the first that has a version."""
    cookies, generator = reply.cookie_names(), _generator(page)
    found = []
    for signs in known():
        seen = list(_seen(signs, reply, cookies, generator, page))
        if seen:
            found.append(next((each for each in seen if each.version), seen[0]))
    return tuple(found[:MAX_TECHNOLOGIES])


def _seen(signs: Signs, reply: Reply, cookies: list[str], generator: str, page: str) -> Iterator[Technology]:
    for header, sign in signs.headers.items():
        value = (reply.first(header) or "")[:MAX_VALUE_CHARS]
        if value and value.startswith(sign):
            version = _version(value, len(sign)) if sign else _whole_version(value)
            yield Technology(name=signs.name, version=version, sign=f"header {header}")
    for sign in signs.generator:
        if generator.startswith(sign):
            yield Technology(name=signs.name, version=_version(generator, len(sign)), sign="meta generator")
    for sign in signs.html:
        if (at := page.find(sign)) >= 0:
            yield Technology(name=signs.name, version=_version(page, at + len(sign)), sign="page")
    for sign in signs.cookies:
        if any(name.startswith(sign) for name in cookies):
            yield Technology(name=signs.name, version=None, sign=f"cookie {sign}")


def _version(text: str, at: int) -> str | None:
    found = _VERSION.match(text, at)
    return found[1] if found else None


def _whole_version(value: str) -> str | None:
    return value if _IS_VERSION.fullmatch(value) else None


def _generator(page: str) -> str:
    """What the page names as its generator; empty if it names none."""
    for tag in _META.findall(page):
        if _IS_GENERATOR.search(tag) and (content := _CONTENT.search(tag)):
            return unescape(content[1] or content[2] or "").strip()
    return ""


@cache
def known() -> tuple[Signs, ...]:
    """The entries of the file."""
    return load((Path(__file__).parent / "technologies.yaml").read_text(encoding="utf-8"))


def load(text: str) -> tuple[Signs, ...]:
    """Entries as they stand in such a file. Raises TechnologyError for one that cannot be meant."""
    raw = yaml.safe_load(text)
    if not isinstance(raw, list):
        raise TechnologyError("technologies.yaml: a list of entries is wanted")
    entries = tuple(_entry(each) for each in raw)
    names = [entry.name for entry in entries]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise TechnologyError(f"technologies.yaml: {', '.join(repeated)}: listed more than once")
    return entries


def _entry(raw: Any) -> Signs:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise TechnologyError(f"technologies.yaml: {raw!r}: an entry is a name and its signs")
    name = raw["name"]
    if strange := sorted(raw.keys() - _KINDS - {"name"}):
        raise TechnologyError(f"technologies.yaml: {name}: unknown: {', '.join(strange)}")
    headers = raw.get("headers", {})
    if not isinstance(headers, dict) or not all(_is_header(*each) for each in headers.items()):
        raise TechnologyError(f"technologies.yaml: {name}: headers: names in lower case and the text of each are wanted")
    lists = {kind: raw.get(kind, []) for kind in ("cookies", "generator", "html")}
    for kind, signs in lists.items():
        if not isinstance(signs, list) or not all(isinstance(sign, str) and len(sign) > 2 for sign in signs):
            raise TechnologyError(f"technologies.yaml: {name}: {kind}: a list of texts of three letters or more is wanted")
    if not headers and not any(lists.values()):
        raise TechnologyError(f"technologies.yaml: {name}: it has no sign")
    return Signs(name=name, headers=headers, **{kind: tuple(signs) for kind, signs in lists.items()})


def _is_header(name: object, text: object) -> bool:
    return isinstance(name, str) and isinstance(text, str) and name == name.lower() and name != ""
