"""The geometry of the charts: numbers become places and lengths here, words and colours stay in the templates.

Bars have their x and width in percent and their y and height in pixels, so that one drawing fits every window and text in it
is never scaled. Lengths are text with a point, whatever the language of the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

from django import template

from scans.selectors.countries import Country, countries
from scans.selectors.dashboard import Dashboard, DayJobs, SourceHealth

register = template.Library()

LEAST_SHARE = 1.5  # percent: what is not zero is seen
PLOT_TOP, PLOT_HEIGHT = 10, 130
MAX_LINES = 3  # of the grid, beside the axis
DATE_LABELS = 5
BAR_SHARE = 0.76  # of a day's slot; the rest is the gap to the next
LEAST_HEIGHT = 3.0  # of a part of a column that is not zero
MAP_NORTH, MAP_SOUTH = 84, -60  # nobody lives beyond, but for a few in the Antarctic, who are drawn at the edge
MAP_SMALLEST, MAP_LARGEST = 1.4, 8.0  # radius of a dot, in degrees
NICE = (1, 2, 5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of the grid, with what it stands for."""

    y: str
    text_y: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a column or of a bar."""

    look: str
    x: str
    width: str
    y: str = "0"
    height: str = "10"


@dataclass(frozen=True, kw_only=True, slots=True)
class DateLabel:
    """A day under the axis."""

    x: str
    anchor: str
    day: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """A country on the map, in degrees; y grows downwards."""

    x: int
    y: int
    radius: str
    label: str


@register.inclusion_tag("scans/_chart_days.html")
def jobs_per_day(board: Dashboard) -> dict[str, Any]:
    """A column for each day, stacked by how the jobs ended."""
    highest = max((day.total for day in board.jobs), default=0)
    step = _step(highest)
    top = step * max(1, -(-highest // step))
    lines = [_line(value, top) for value in range(0, top + 1, step)]
    slot = 100 / len(board.jobs)
    parts = [part for n, day in enumerate(board.jobs) for part in _column(day, n * slot, slot * BAR_SHARE, top)]
    sums = {name: sum(getattr(day, name) for day in board.jobs) for name in ("complete", "partial", "cancelled")}
    return {"board": board, "lines": lines, "parts": parts, "labels": _date_labels(board.jobs, slot), "sums": sums,
            "highest": highest}  # fmt: skip


def _step(highest: int) -> int:
    """The distance of the lines of the grid: a round number, so that there are few of them."""
    size = 1
    while True:
        for nice in NICE:
            if nice * size * MAX_LINES >= highest:
                return nice * size
        size *= 10


def _line(value: int, top: int) -> Line:
    y = PLOT_TOP + PLOT_HEIGHT * (1 - value / top)
    return Line(y=f"{y:.1f}", text_y=f"{y + 4:.1f}", label=f"{value:,}")


def _column(day: DayJobs, x: float, width: float, top: int) -> Iterator[Part]:
    y = float(PLOT_TOP + PLOT_HEIGHT)
    for look, n in (("1", day.complete), ("2", day.partial), ("hatch", day.cancelled)):
        if n:
            height = max(LEAST_HEIGHT, PLOT_HEIGHT * n / top)
            y -= height
            yield Part(look=look, x=f"{x:.2f}%", width=f"{width:.2f}%", y=f"{y:.1f}", height=f"{max(1.0, height - 1):.1f}")


def _date_labels(days: Sequence[DayJobs], slot: float) -> list[DateLabel]:
    last = len(days) - 1
    chosen = sorted({round(last * n / (DATE_LABELS - 1)) for n in range(DATE_LABELS)})
    return [
        DateLabel(x="100%" if n == last else f"{n * slot:.2f}%", anchor="end" if n == last else "start", day=days[n].day)
        for n in chosen
    ]


@register.filter
def bar_width(n: int, most: int) -> str:
    """A length among others, of which the longest fills the row."""
    return f"{max(LEAST_SHARE, 100 * n / most):.1f}%" if n and most else "0%"


@register.filter
def percent(n: int, whole: int) -> str:
    """A share in words."""
    return f"{100 * n / whole:.1f} %" if whole else "0 %"


@register.filter
def most(rows: Any) -> int:
    """The largest number of a mapping, or of rows that have an `n`."""
    return max(rows.values() if hasattr(rows, "values") else (row.n for row in rows), default=0)


@register.filter
def numbered(n: int) -> str:
    """A number with its thousands apart."""
    return f"{n:,}"


@register.filter
def long_time(milliseconds: int) -> str:
    """Milliseconds as people say them."""
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


@register.filter
def source_parts(source: SourceHealth) -> list[Part]:
    """What was answered, and what was not though it should have been, side by side."""
    total = source.answered + source.failed + source.other
    parts, x = [], 0.0
    for look, n in (("1", source.answered), ("hatch", source.failed)):
        if n:
            width = max(LEAST_SHARE, 100 * n / total)
            x = min(x, 100 - width)
            parts.append(Part(look=look, x=f"{x:.1f}%", width=f"{width:.1f}%"))
            x += width
    return parts


@register.inclusion_tag("scans/_chart_map.html")
def country_map(board: Dashboard) -> dict[str, Any]:
    """A dot for each country, sized by its results; the faint ones are all others, which draw the world without outlines."""
    counted = [count for count in board.countries if count.country]
    highest = most(counted)
    return {
        "board": board,
        "counted": counted,
        "dots": [_dot(count.country, count.n, highest) for count in counted if count.country],
        "ground": _ground(),
        "meridians": range(-150, 180, 30),
        "parallels": (-60, -30, 30),
        "top": -MAP_NORTH,
        "bottom": -MAP_SOUTH,
        "height": MAP_NORTH - MAP_SOUTH,
    }


@cache
def _ground() -> str:
    """All countries as one path of strokes without length; their round ends are the dots."""
    return "".join(f"M{country.longitude} {_y(country.latitude)}h0" for country in countries().values())


def _dot(country: Country, n: int, highest: int) -> Dot:
    """The area grows with the number."""
    radius = max(MAP_SMALLEST, MAP_LARGEST * sqrt(n / highest))
    return Dot(x=country.longitude, y=_y(country.latitude), radius=f"{radius:.1f}", label=f"{country.name}: {n:,}")


def _y(latitude: int) -> int:
    return -max(MAP_SOUTH + 2, latitude)
