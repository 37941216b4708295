"""What is wrong with a submission: every bad item at once, each with a pointer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One bad item. `pointer` is a JSON pointer (RFC 6901) into the body."""

    pointer: str
    code: str
    detail: str


class InvalidSubmissionError(Exception):
    """The submission was refused as a whole; nothing was stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.detail for problem in problems[:3]))
        self.problems = tuple(problems)
