"""How values look: levels, states, times and ports, each always as a word and a shape before it is a colour.

Larger pieces render through templates; the smallest, of which a page has hundreds, are made by format_html(), which
escapes as they do, at a twentieth of the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ipscanner.version import version
from scans.conf import risk_pack, scanner_options
from scans.core.ports import count_ports, profile_of
from scans.core.risk.words import MAX_NAMES
from scans.core.types import PortState, ServiceState, SourceState
from scans.models import JobState, TargetState
from scans.selectors import Progress

register = template.Library()

MAX_PARTS = 60  # of a list of ports; a host may have thousands, and the JSON has them all
LEAST_SHARE = 2.0  # percent: one critical host among a thousand is still seen
Look = tuple[str, str, str]  # class, icon, word

TARGET_LOOKS: dict[str, Look] = {
    TargetState.PENDING: ("absent", "hollow", "waiting"),
    TargetState.LEASED: ("active", "half", "in work"),
    TargetState.SCANNED: ("active", "half", "awaits words"),
    TargetState.DONE: ("known", "solid", "done"),
    TargetState.ERROR: ("doubt", "hatched", "failed"),
    TargetState.REFUSED: ("doubt", "refused", "refused"),
    TargetState.CANCELLED: ("doubt", "hatched", "cancelled"),
    "resolve_failed": ("doubt", "hatched", "unresolved"),
}
JOB_LOOKS: dict[str, Look] = {
    JobState.QUEUED: ("absent", "hollow", "Waiting"),
    JobState.RUNNING: ("active", "half", "Running"),
    "complete": ("known", "solid", "Complete"),
    "partial": ("doubt", "hatched", "Complete in part"),
    "cancelled": ("doubt", "hatched", "Cancelled"),
}
PORT_LOOKS: dict[str, Look] = {
    PortState.OPEN: ("known", "solid", "open"),
    PortState.CLOSED: ("absent", "hollow", "closed"),
    PortState.FILTERED: ("doubt", "hatched", "filtered"),
    PortState.UNREACHABLE: ("doubt", "hatched", "unreachable"),
    PortState.ERROR: ("fault", "fault", "error here"),
    PortState.NOT_TESTED: ("doubt", "hatched", "not tested"),
    PortState.REFUSED: ("doubt", "refused", "refused"),
}
SERVICE_LOOKS: dict[str, Look] = {
    ServiceState.IDENTIFIED: ("known", "solid", "identified"),
    ServiceState.UNRECOGNISED: ("doubt", "hatched", "not recognised"),
    ServiceState.SILENT: ("doubt", "hatched", "said nothing"),
    ServiceState.FAILED: ("doubt", "hatched", "no answer"),
    ServiceState.TIMED_OUT: ("doubt", "hatched", "out of time"),
    ServiceState.NOT_ASKED: ("doubt", "hatched", "not asked"),
}
SOURCE_LOOKS: dict[str, Look] = {
    SourceState.OK: ("known", "solid", "ok"),
    SourceState.EMPTY: ("absent", "hollow", "nothing known"),
    SourceState.STALE: ("doubt", "hatched", "old answer"),
    SourceState.RATE_LIMITED: ("doubt", "hatched", "rate limited"),
    SourceState.UNAUTHORIZED: ("fault", "fault", "unauthorized"),
    SourceState.FAILED: ("fault", "fault", "failed"),
    SourceState.SKIPPED: ("doubt", "hatched", "skipped"),
    SourceState.NOT_APPLICABLE: ("absent", "hollow", "not applicable"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a stacked bar, in percent of its width."""

    look: str
    start: str
    width: str


@register.simple_tag
def networks_treated_as_global() -> str:
    """The loopback ranges that count as public here, for the banner; empty in normal running."""
    return ", ".join(str(network) for network in scanner_options().scope.treat_as_global)


@register.simple_tag
def product_versions() -> dict[str, str]:
    """Of the product, and of the rules that new results are rated by; for the footer, so without a request."""
    return {"product": version(), "rules": risk_pack().version}


@register.simple_tag
@lru_cache(maxsize=64, typed=True)  # typed: text that is safe is no key to equal text that is not
def level(value: str, shape: str = "plate") -> SafeString:
    """A risk level. `shape` is plate, plain or big."""
    shaped = "" if shape == "plate" else f" level--{shape}"
    icon = '<svg class="icon" aria-hidden="true"><use href="#i-{0}"></use></svg>'
    return format_html(f'<span class="level level--{{0}}{{1}}">{icon}{{2}}</span>', value, shaped, value.capitalize())


@register.simple_tag
def target_state(row: Any) -> SafeString:
    """The state of a target of a job."""
    return state_look(TARGET_LOOKS.get(row.error_code) or TARGET_LOOKS[row.state])


@register.simple_tag
def job_state(job: Any) -> SafeString:
    """The state of a job, or how it ended."""
    return state_look(JOB_LOOKS[job.outcome or job.state])


@register.simple_tag
def port_state(value: str) -> SafeString:
    """What one probe found."""
    return state_look(PORT_LOOKS[value])


@register.simple_tag
def source_state(value: str) -> SafeString:
    """What became of the question to a source."""
    return state_look(SOURCE_LOOKS[value])


@cache
def state_look(look: Look) -> SafeString:
    """Icon and word of a state."""
    state = '<span class="state state--{}"><svg class="icon" aria-hidden="true"><use href="#i-{}"></use></svg>{}</span>'
    return format_html(state, *look)


@register.inclusion_tag("scans/_time.html")
def moment(value: datetime | str, form: str = "full") -> dict[str, Any]:
    """A time in UTC, from a column or from stored JSON. `form` is full, or clock for the time of day alone."""
    when = datetime.fromisoformat(value) if isinstance(value, str) else value
    return {"when": when, "format": "H:i:s" if form == "clock" else "j M Y, H:i:s"}


@register.filter
def duration(seconds: float) -> str:
    """8 is "8 s", 200 is "3 min", 9000 is "2.5 h"."""
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@register.filter
def elapsed(job: Any, until: datetime) -> str:
    """How long a job has been running."""
    return duration((until - (job.started_at or job.created_at)).total_seconds())


@register.filter
def latency(milliseconds: float | None) -> str:
    """The round trip of the probe that was answered."""
    if milliseconds is None:
        return "no answer"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


@register.filter
def port_list(compact: str | None) -> str:
    """ "22,80-82" with room to wrap; a very long list ends with how much is left out."""
    return _first_parts(compact or "", MAX_PARTS)


@register.filter
def short_port_list(compact: str | None) -> str:
    """The first few, for a row among a thousand."""
    return _first_parts(compact or "", 2 * MAX_NAMES)


def _first_parts(compact: str, most: int) -> str:
    more = compact.count(",") + 1 - most
    return ", ".join(compact.split(",", most)[:most]) + (f" and {more:,} more" if more > 0 else "")


@register.filter
def port_count(compact: str) -> int:
    """How many ports such a list holds."""
    return count_ports(compact)


@register.filter
def port_profile(compact: str) -> str | None:
    """The profile that these ports are, if they are one's."""
    return profile_of(compact)


@register.inclusion_tag("scans/_bar.html")
def progress_bar(progress: Progress) -> dict[str, Any]:
    """Done, without a full result, in work, waiting."""
    parts = {"done": progress.done, "doubt": progress.without_result, "run": progress.in_work, "wait": progress.waiting}
    label = f"{parts['done']} done, {parts['doubt']} without a full result, {parts['run']} in work, {parts['wait']} waiting"
    return {"kind": "progress", "segments": _segments(parts), "label": label}


@register.inclusion_tag("scans/_bar.html")
def level_bar(levels: Mapping[str, int]) -> dict[str, Any]:
    """How the levels are distributed."""
    label = ", ".join(f"{n} {name}" for name, n in levels.items())
    return {"kind": "tally", "segments": _segments(levels), "label": label}


def _segments(parts: Mapping[str, int]) -> list[Segment]:
    """Side by side over the whole width; a part that is not zero is never too thin to be seen."""
    shown = {look: n for look, n in parts.items() if n}
    total = sum(shown.values())
    wide = {look: max(LEAST_SHARE, n * 100 / total) for look, n in shown.items()}
    scale = 100 / sum(wide.values()) if wide else 1
    segments, start = [], 0.0
    for look, width in wide.items():
        segments.append(Segment(look=look, start=f"{start:.2f}%", width=f"{width * scale:.2f}%"))
        start += width * scale
    return segments
