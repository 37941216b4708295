"""The rows of a job's page: targets as <tr>, each word of which that others said is escaped.

Not by a template: a hundred rows of fifty small nodes took three quarters of the page's time, five times what this takes.
Every piece is made by format_html(), which escapes whatever is not such a piece itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from scans.core.ports import count_ports, expand
from scans.core.types import PortState
from scans.models import ScanJob
from scans.selectors import MAX_PORTS_CHARS, MAX_STRIP_PORTS, ListedTarget
from scans.templatetags.looks import level, target_state
from scans.templatetags.services import telling_words

register = template.Library()

ROW = """<tr id="r{number}"{swap}>
      <td class="is-first">{level}</td>
      <th scope="row" class="is-row"><a class="mono" id="t{number}" href="{link}"><bdi>{target}</bdi></a>{address}</th>
      <td class="is-row" data-label="Exposure">{exposure}</td>
      <td class="is-row" data-label="First reason">{reason}</td>
      <td class="is-row" data-label="Network">{network}</td>
      <td class="num is-end" data-label="Answered">{answered}</td>
      <td class="is-end is-second" data-label="State">{state}</td>
    </tr>
"""
MAX_FIRST_PORTS = 10
MAX_ERROR_CHARS = 200
STRIP_PITCH, STRIP_HEIGHT = 5, 16
LOW = "v2h3v-2z"
SHAPES = {"open": ((0, "v16h3v-16z"),), "closed": ((14, LOW),), "doubt": ((4, LOW), (9, LOW), (14, LOW))}  # top and outline
TICKS = {  # of each look, from left to right
    look: ["".join(f"M{n * STRIP_PITCH} {top}{outline}" for top, outline in shape) for n in range(MAX_STRIP_PORTS)]
    for look, shape in SHAPES.items()
}
TICK_WORDS = {"open": "open", "closed": "closed", "doubt": "without an answer"}


@register.simple_tag
def job_rows(rows: Iterable[ListedTarget], job: ScanJob, *, is_change: bool = False) -> SafeString:
    """The rows of the table; as a change each takes the place of its namesake."""
    swap = format_html(' hx-swap-oob="{}"', "true") if is_change else ""
    links = reverse("host", args=[job.token, 0]).removesuffix("0")  # asked for once: it takes as long as half a row
    return format_html_join("", ROW, (_cells(row, links=links, swap=swap) for row in rows))


def _cells(row: ListedTarget, *, links: str, swap: str) -> dict[str, object]:
    number = row.ordinal + 1
    return {
        "number": number,
        "swap": swap,
        "level": level(row.risk_level) if row.risk_level else _muted("not yet"),
        "link": f"{links}{number}",
        "target": row.target,
        "address": _address(row),
        "exposure": _exposure(row),
        "reason": _reason(row),
        "network": _network(row),
        "answered": _answered(row),
        "state": target_state(row),
    }


def _muted(words: str) -> SafeString:
    return format_html('<span class="muted">{}</span>', words)


def _address(row: ListedTarget) -> str:
    if not row.ip_address or row.ip_address == row.target:
        return ""
    return format_html('<span class="sub mono">{}</span>', f"{row.ip_address}{' and more' if row.second_address else ''}")


def _exposure(row: ListedTarget) -> str:
    if row.error:
        return _muted("not probed")
    if not row.risk_level:
        return ""
    known = telling_words(json.loads(row.services)) if row.services else ""
    services = format_html('<span class="sub"><bdi>{}</bdi></span>', known) if known else ""
    strip = _strip(row.port_states) if row.port_states else ""
    return format_html('<div>{}<span class="sub mono">{}</span>{}</div>', strip, _open_ports(row), services)


@lru_cache(maxsize=500)  # some kB each at most; most hosts of a network look like another
def _strip(port_states: str) -> str:
    """One tick per probed port in port order, unless they are too many. Each look is one path: a strip of 24 ports in
    three elements, a hundred of which weigh little."""
    states: Mapping[str, str] = json.loads(port_states)
    if not 0 < sum(map(count_ports, states.values())) <= MAX_STRIP_PORTS:
        return ""
    looks = {port: _look(state) for state, ports in states.items() for port in expand(ports)}
    drawn: dict[str, list[str]] = {look: [] for look in TICKS}
    for place, port in enumerate(sorted(looks)):
        drawn[looks[port]].append(TICKS[looks[port]][place])
    return format_html(
        '<svg class="strip" width="{}" height="{}" role="img" aria-label="{}">{}</svg>',
        len(looks) * STRIP_PITCH,
        STRIP_HEIGHT,
        ", ".join(f"{len(ticks)} {TICK_WORDS[look]}" for look, ticks in drawn.items() if ticks),
        format_html_join(
            "", '<path class="strip__{}" d="{}"/>', ((look, "".join(ticks)) for look, ticks in drawn.items() if ticks)
        ),
    )


def _look(state: str) -> str:
    return state if state in (PortState.OPEN, PortState.CLOSED) else "doubt"


def _open_ports(row: ListedTarget) -> str:
    if not row.open_ports:
        return "none open"
    if row.answers_everywhere:
        return "the first address answers everywhere" if row.second_address else "answers everywhere"
    if row.second_address:
        return f"{row.open_ports} open on several addresses"
    few = _first_ports(row.first_ports or "")
    return f"{row.open_ports} open: {few}" if row.open_ports > MAX_FIRST_PORTS else few


def _first_ports(compact: str) -> str:
    """The first few of a list of ports that may have been cut off by the database."""
    parts = compact.split(",")
    is_cut = len(compact) >= MAX_PORTS_CHARS
    if is_cut:
        parts = parts[:-1]  # half a number is a wrong one
    return ", ".join(parts[:MAX_FIRST_PORTS]) + (", …" if is_cut or len(parts) > MAX_FIRST_PORTS else "")


def _reason(row: ListedTarget) -> str:
    said = Truncator(row.error).chars(MAX_ERROR_CHARS) if row.error else row.worst_finding
    if said:
        return format_html("<bdi>{}</bdi>", said)
    return _muted(_silence(row)) if row.tested else ""


def _silence(row: ListedTarget) -> str:
    """What the probes of a target came to, on which no rule fired."""
    answered, tested = row.answered or 0, row.tested or 0
    if not answered:
        return f"None of {tested:,} probes was answered"
    if answered < tested:
        return f"{tested - answered:,} of {tested:,} probes without an answer"
    return "No rule fired" if row.open_ports else f"{tested:,} of {tested:,} probes answered, none open"


def _network(row: ListedTarget) -> str:
    who, country = row.organisation or row.isp or "", row.country
    if not who and not country:
        return ""
    where = format_html('<span class="sub"><bdi>{}</bdi></span>', country) if country else ""
    return format_html("<div><bdi>{}</bdi>{}</div>", who, where)


def _answered(row: ListedTarget) -> str:
    if not row.tested or row.error:
        return ""
    return format_html('<span class="nowrap">{}</span>', f"{row.answered} of {row.tested}")
