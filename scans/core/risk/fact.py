"""One named fact that rules look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """What is stated, and who said it. A fact that nobody stated is not there at all."""

    value: bool | float | tuple[str, ...]
    sources: tuple[str, ...] = ()
