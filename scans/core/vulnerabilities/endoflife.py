"""endoflife.date: until when the makers of a product repair a release. One JSON file with all products, MIT licence.

    {"total": …, "result": [{"name": "nginx", "label": "nginx",
     "identifiers": [{"type": "cpe", "id": "cpe:2.3:a:f5:nginx"}, …],
     "releases": [{"name": "1.18", "isEol": true, "eolFrom": "2021-04-20"}, …]}, …]}

Format: its OpenAPI document 1.2, https://endoflife.date/docs/api/v1/. The date is compared with the day of a scan, and not
the file's own `isEol`, so that an old file stays right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from scans.core.feeds import Contents, Feed, FeedError, Sieve, json_object
from scans.core.feeds.text import moment
from scans.core.text import clean_text
from scans.core.vulnerabilities.products import cpe_name

MAX_RELEASES = 500  # of one product
_NUMBERS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}")  # names of releases that versions can be compared with


class _EntryError(ValueError):
    """A part of an entry that cannot be meant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One line of development: 1.18, 22.04, 8."""

    name: str
    ends: date | None
    is_over: bool  # by the file; of use only where it names no date

    def has_ended(self, day: date) -> bool:
        """Whether it was no longer repaired on that day."""
        return self.ends <= day if self.ends else self.is_over


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """A product and its releases, by their numbers."""

    label: str
    releases: Mapping[tuple[int, ...], Release]

    def release_of(self, version: str) -> Release | None:
        """The release that a version belongs to: 1.18 for 1.18.0, and 10.11 rather than 10. None: it is not listed."""
        match = _NUMBERS.match(version)
        numbers = _numbers(match[0]) if match else ()
        parts = (numbers[:length] for length in range(len(numbers), 0, -1))
        return next((self.releases[part] for part in parts if part in self.releases), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndOfLifeTable:
    """Products by their CPE name ("a:f5:nginx") and by what people call them, in lower case."""

    by_cpe: Mapping[str, Product]
    by_name: Mapping[str, Product]


def read_endoflife(body: bytes) -> Contents[EndOfLifeTable]:
    """All products. Raises FeedError for what is no such file, and for one whose `total` is not that of its products."""
    said = json_object(body)
    listed = said.get("result")
    if not isinstance(listed, list):
        raise FeedError("there is no list of products in it: the file of /products/full is wanted")
    if (total := said.get("total", len(listed))) != len(listed):
        raise FeedError(f"it holds {len(listed)} products, and its total is {str(total)[:20]!r}")
    sieve = Sieve()
    by_cpe: dict[str, Product] = {}
    by_name: dict[str, Product] = {}
    count = 0
    for number, entry in enumerate(listed, 1):
        try:
            product, names, cpes = _product(entry)
        except _EntryError as error:
            sieve.leave_out(f"product {number}", error, "what is wanted there")
            continue
        count += 1
        by_name.update({name.casefold(): product for name in names})
        by_cpe.update(dict.fromkeys(cpes, product))
    dated = moment(str(said.get("generated_at"))[:10], "%Y-%m-%d")
    return sieve.contents(EndOfLifeTable(by_cpe=by_cpe, by_name=by_name), count, dated=dated)


def _product(entry: object) -> tuple[Product, list[str], list[str]]:
    """A product, its names and its CPE names."""
    if not isinstance(entry, dict):
        raise _EntryError(str(entry))
    name, label, listed = entry.get("name"), entry.get("label"), entry.get("releases")
    if not isinstance(name, str) or not isinstance(label, str) or not isinstance(listed, list):
        raise _EntryError(f"{name}: name, label or releases")
    releases = {_numbers(release.name): release for release in map(_release, listed[:MAX_RELEASES]) if release}
    return Product(label=clean_text(label, limit=60), releases=releases), [name, label], list(_cpes(entry))


def _release(raw: Any) -> Release | None:
    """A release; None for one whose name is no version (2019-SP1, focal)."""
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        raise _EntryError(f"a release: {raw}")
    ends, is_over = raw.get("eolFrom"), raw.get("isEol")
    day = moment(ends, "%Y-%m-%d") if isinstance(ends, str) else None
    if not isinstance(is_over, bool) or (ends is not None and day is None):
        raise _EntryError(f"the end of {raw['name']}: {is_over}, {ends}")
    if not _NUMBERS.fullmatch(raw["name"]):
        return None
    return Release(name=raw["name"], ends=day.date() if day else None, is_over=is_over)


def _cpes(entry: Mapping[str, Any]) -> Iterator[str]:
    given = entry.get("identifiers")
    for each in given if isinstance(given, list) else ():
        if isinstance(each, dict) and each.get("type") == "cpe" and (name := cpe_name(each.get("id"))):
            yield name[0]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


ENDOFLIFE: Feed[EndOfLifeTable] = Feed(
    name="endoflife",
    title="endoflife.date",
    terms="MIT licence",
    file_name="endoflife_products.json",
    url="https://endoflife.date/api/v1/products/full/",
    homepage="https://endoflife.date/",
    read=read_endoflife,
)
