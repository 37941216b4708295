"""What a job's page shows of its targets, arranged for reading; the words are in the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import template

from scans.core.ports import count_ports, expand
from scans.core.types import PortState
from scans.selectors import MAX_PORTS_CHARS, MAX_STRIP_PORTS
from scans.templatetags.services import telling_words
from scans.web.job_rows import RowLinks

register = template.Library()

MAX_FIRST_PORTS = 10
STRIP_PITCH = 5
STRIP_HEIGHT = 16
TALL, LOW = "v16h3v-16z", "v2h3v-2z"
DASHES = ((4, "v2h3v-2z"), (9, "v2h3v-2z"), (14, "v2h3v-2z"))


@dataclass(frozen=True, kw_only=True, slots=True)
class StripPath:
    """All ticks of one look in one path: a strip of 24 ports in three elements, a hundred of which weigh little."""

    look: str
    d: str


@register.simple_tag
def list_url(links: RowLinks, **changes: Any) -> str:
    """The address of this list with something changed."""
    return links.url(**changes)


@register.filter
def tens(percent: int) -> int:
    """Rounded down to tens: what is read aloud, ten times at most."""
    return percent // 10 * 10


@register.filter
def rate(per_second: float) -> str:
    """0.73 is "0.7 targets/s", 0.02 is "1.2 targets/min"."""
    return f"{per_second:.1f} targets/s" if per_second >= 0.1 else f"{per_second * 60:.1f} targets/min"


@register.filter
def first_ports(compact: str | None) -> str:
    """The first few of a list of ports that may have been cut off by the database."""
    parts = (compact or "").split(",")
    is_cut = len(compact or "") >= MAX_PORTS_CHARS
    if is_cut:
        parts = parts[:-1]  # half a number is a wrong one
    return ", ".join(parts[:MAX_FIRST_PORTS]) + (", …" if is_cut or len(parts) > MAX_FIRST_PORTS else "")


@register.filter
def silence(row: Any) -> str:
    """What the probes of a target came to, on which no rule fired. The values come as text on one database."""
    answered, tested = int(row.answered), int(row.tested)
    if not answered:
        return f"None of {tested:,} probes was answered"
    if answered < tested:
        return f"{tested - answered:,} of {tested:,} probes without an answer"
    return "No rule fired" if row.open_ports else f"{tested:,} of {tested:,} probes answered, none open"


@register.filter
def row_services(row: Any) -> str:
    """The most telling of what the services of a row's first address are; "" if none was asked, or none is known."""
    stored = getattr(row, "services", None)
    return telling_words(json.loads(stored)) if stored else ""


@register.inclusion_tag("scans/_job_strip.html")
def row_strip(row: Any) -> dict[str, Any]:
    """One tick per probed port in port order, for a row that has few enough of them. Each look is one path."""
    stored = getattr(row, "port_states", None)
    states: Mapping[str, str] = json.loads(stored) if stored else {}
    if sum(map(count_ports, states.values())) > MAX_STRIP_PORTS:
        states = {}
    looks = {port: state for state, ports in states.items() for port in expand(ports)}
    ticks: dict[str, list[str]] = {"open": [], "closed": [], "doubt": []}
    for index, port in enumerate(sorted(looks)):
        x = index * STRIP_PITCH
        if looks[port] == PortState.OPEN:
            ticks["open"].append(f"M{x} 0{TALL}")
        elif looks[port] == PortState.CLOSED:
            ticks["closed"].append(f"M{x} 14{LOW}")
        else:
            ticks["doubt"] += [f"M{x} {y}{shape}" for y, shape in DASHES]
    counts = {name: sum(_look(state) == name for state in looks.values()) for name in ticks}
    words = {"open": "open", "closed": "closed", "doubt": "without an answer"}
    return {
        "paths": [StripPath(look=look, d="".join(parts)) for look, parts in ticks.items() if parts],
        "width": len(looks) * STRIP_PITCH,
        "height": STRIP_HEIGHT,
        "label": ", ".join(f"{n} {words[name]}" for name, n in counts.items() if n),
        "unanswered": counts["doubt"],
    }


def _look(state: str) -> str:
    return state if state in (PortState.OPEN, PortState.CLOSED) else "doubt"
