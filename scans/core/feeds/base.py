"""A feed: one file that somebody publishes, and how it is read.

FeedError ─┬─ what is wrong with a file, and in which line
           └─ FeedMissingError: there is no file, and none comes with the program
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

Table = TypeVar("Table")

DAY_SECONDS = 24 * 3600
MAX_BYTES = 20 << 20
SEEDS = Path(__file__).parent / "seed"


class FeedError(Exception):
    """A file that cannot be used: the text names the line, where there is one, and what is wrong."""


class FeedMissingError(FeedError):
    """There is no file for this feed; the text says how to get one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents(Generic[Table]):
    """What a file holds, ready to be asked."""

    table: Table
    entries: int
    dated: datetime | None = None  # by the file's own words, with a time zone; None: it does not say
    left_out: int = 0  # entries that could not be read
    first_left_out: str = ""  # the first of them: its line and what is wrong


@dataclass(frozen=True, kw_only=True)
class Feed(Generic[Table]):
    """One published file. `read` raises FeedError for one that cannot be used; whatever else it raises counts as that."""

    name: str  # in commands and settings: "drop-v4"
    title: str
    terms: str  # one line: what its terms ask
    file_name: str
    read: Callable[[bytes], Contents[Table]]
    url: str = ""  # where it is published; empty: only by `manage.py feeds import`
    homepage: str = ""  # where a person finds it
    refresh_seconds: int = DAY_SECONDS  # how often it is worth asking for a newer one
    max_bytes: int = MAX_BYTES
    is_default: bool = True  # whether `manage.py feeds update` without a name asks for it

    @property
    def seed(self) -> Path | None:
        """The file that comes with the program, if one does."""
        path = SEEDS / self.file_name
        return path if path.is_file() else None

    def open(self, path: Path) -> Contents[Table]:
        """Read a file. Raises FeedError, and OSError if it cannot be read at all."""
        if path.stat().st_size > self.max_bytes:
            raise FeedError(f"it is larger than {self.max_bytes >> 20} MiB")
        try:
            return self.read(path.read_bytes())
        except (FeedError, OSError):
            raise
        except Exception as error:  # the edge: what somebody else wrote may be anything
            raise FeedError(f"it is not in the format of {self.title} ({type(error).__name__})") from error


AnyFeed = Feed[Any]
