"""The countries by their ISO 3166-1 codes, each with about the middle of its land, in whole degrees: enough for a dot."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Country:
    """One line of countries.csv."""

    code: str
    name: str
    latitude: int
    longitude: int


@cache
def countries() -> Mapping[str, Country]:
    """All of them by code."""
    with (Path(__file__).parent / "countries.csv").open(newline="", encoding="utf-8") as lines:
        return {
            row["code"]: Country(
                code=row["code"], name=row["name"], latitude=int(row["latitude"]), longitude=int(row["longitude"])
            )
            for row in csv.DictReader(lines)
        }


def clean_code(said: object) -> str:
    """A country code as a source said it, or nothing: what is not in the table is no country."""
    code = said.strip().upper() if isinstance(said, str) and said.isascii() else ""  # "ß" becomes "SS", South Sudan
    return code if code in countries() else ""
