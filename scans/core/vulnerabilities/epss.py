"""FIRST's Exploit Prediction Scoring System (EPSS): how likely each CVE is exploited within 30 days. One CSV a day, gzipped.

    #model_version:v2025.03.14,score_date:2026-11-23T12:55:00Z
    cve,epss,percentile
    CVE-2021-23017,0.76021,0.98932

Some 300,000 lines, so the table is two arrays (16 bytes a CVE) and not a dict (more than 100).
"""

from __future__ import annotations

import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime

from scans.core.feeds import Contents, Feed, FeedError, Sieve, numbered_lines
from scans.core.feeds.text import moment
from scans.core.vulnerabilities.cve import CVE_YEAR, cve_number

MAX_UNPACKED_BYTES = 64 << 20  # of text; today's has some 10 MB
_GZIP = b"\x1f\x8b"
# A number is never signed, endless or none: digits, perhaps with a fraction and an exponent below 1 (9.1e-05).
_ENTRY = re.compile(r"CVE-([0-9]{4})-([0-9]{4,7}),([0-9]{1,3}(?:\.[0-9]{0,20})?(?:[eE]-[0-9]{1,2})?)(?:,.{0,40})?")
_SCORE_DATE = re.compile(r"score_date:([0-9]{4}-[0-9]{2}-[0-9]{2})")


class Epss:
    """Scores by CVE id."""

    def __init__(self, scores: list[tuple[int, float]]) -> None:
        scores.sort()
        self._numbers = array("Q", (number for number, _ in scores))
        self._scores = array("d", (score for _, score in scores))

    def score(self, cve: str) -> float | None:
        """0.0 to 1.0; None for a CVE without a score."""
        number = cve_number(cve)
        at = bisect_left(self._numbers, number)
        is_there = at < len(self._numbers) and self._numbers[at] == number
        return self._scores[at] if is_there else None


def read_epss(body: bytes) -> Contents[Epss]:
    """The scores. Raises FeedError for what is no such list, and for one that unpacks to more than MAX_UNPACKED_BYTES."""
    lines = numbered_lines(_unpacked(body) if body.startswith(_GZIP) else body)
    dated = _before_entries(lines)
    sieve, scores = Sieve(), []
    for number, line in lines:
        match = _ENTRY.fullmatch(line)
        score = float(match[3]) if match else 2.0
        if match and score <= 1:
            scores.append((int(match[1]) * CVE_YEAR + int(match[2]), score))
        else:
            sieve.leave_out(f"line {number}", line, "a CVE id and a score from 0 to 1")
    return sieve.contents(Epss(scores), len(scores), dated=dated)


def _before_entries(lines: Iterator[tuple[int, str]]) -> datetime | None:
    """Read up to the names of the columns; the day of the scores, if a comment before them says it. Raises FeedError."""
    dated = None
    for number, line in lines:
        if line.startswith("cve,epss"):
            return dated
        if not line.startswith("#"):
            raise FeedError(f"line {number}: the columns cve,epss are wanted here")
        if match := _SCORE_DATE.search(line[:200]):
            dated = moment(match[1], "%Y-%m-%d")
    raise FeedError("there are no columns cve,epss in it")


def _unpacked(body: bytes) -> bytes:
    """The text of a gzip file, at most MAX_UNPACKED_BYTES of it: a bomb is noticed before it bursts."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        text = unpack.decompress(body, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise FeedError("its gzip data is damaged") from error
    if unpack.unconsumed_tail:
        raise FeedError(f"it unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")
    if not unpack.eof:
        raise FeedError("its gzip data is cut off")
    return text


EPSS: Feed[Epss] = Feed(
    name="epss",
    title="FIRST EPSS",
    terms="free to use; FIRST asks to be named as the source",
    file_name="epss_scores-current.csv.gz",
    url="https://epss.empiricalsecurity.com/epss_scores-current.csv.gz",
    homepage="https://www.first.org/epss/",
    read=read_epss,
)
