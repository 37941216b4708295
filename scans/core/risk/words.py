"""Short lists for people: ports and names, cut where they would no longer be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scans.core.ports import compact, service_name

MAX_LIST_CHARS = 120
MAX_NAMES = 5


def port_list(ports: Iterable[int]) -> str:
    """(25, 3306, 3307) is "25, 3306-3307"; a list that grows too long ends in an ellipsis."""
    shown = ""
    for part in compact(ports).split(","):
        if len(shown) + len(part) > MAX_LIST_CHARS:
            return f"{shown}, …"
        shown = f"{shown}, {part}" if shown else part
    return shown


def name_list(names: Iterable[str]) -> str:
    """The first few different names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - MAX_NAMES
    return ", ".join(distinct[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def service_list(ports: Sequence[int]) -> str:
    """The names of the services that usually stand behind these ports."""
    return name_list(service_name(port) for port in ports)
