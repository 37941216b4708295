"""What sources share in reading replies: values of hostile JSON by type and size, and what a status means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from scans.core.budgets import Quota
from scans.core.http import Reply
from scans.core.intel.base import SourceError
from scans.core.text import clean_text
from scans.core.types import IPAddress, SourceState

MAX_TEXT_CHARS = 120
MAX_ITEMS = 100
LONGEST_RESET_SECONDS = 24 * 3600.0


def text(said: Mapping[str, Any], name: str, *, limit: int = MAX_TEXT_CHARS) -> str | None:
    """A text, cleaned and capped; None if it is missing, empty or none."""
    value = said.get(name)
    return clean_text(value, limit=limit) or None if isinstance(value, str) else None


def flag(said: Mapping[str, Any], name: str) -> bool | None:
    """True or false; None for everything else."""
    value = said.get(name)
    return value if isinstance(value, bool) else None


def whole(said: Mapping[str, Any], name: str, *, low: int = 0, high: int = 2**31 - 1) -> int | None:
    """A whole number within bounds; None for everything else, and true is not one."""
    value = said.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else None


def number(said: Mapping[str, Any], name: str, *, low: float, high: float) -> float | None:
    """A number within bounds; None for everything else."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None  # neither NaN nor infinity is


def texts(
    said: Mapping[str, Any], name: str, *, limit: int = MAX_TEXT_CHARS, most: int = MAX_ITEMS
) -> tuple[str, ...] | None:
    """A list's texts, each once; None if it is missing or has none."""
    value = said.get(name)
    found = (
        (clean_text(item, limit=limit) for item in value[:most] if isinstance(item, str)) if isinstance(value, list) else ()
    )
    return tuple(dict.fromkeys(filter(None, found))) or None


def wholes(said: Mapping[str, Any], name: str, *, low: int, high: int, most: int = MAX_ITEMS) -> tuple[int, ...] | None:
    """A list's whole numbers within bounds, each once, ascending; None if it is missing or has none."""
    value = said.get(name)
    listed = value if isinstance(value, list) else []
    found = {item for item in listed if isinstance(item, int) and not isinstance(item, bool) and low <= item <= high}
    return tuple(sorted(found)[:most]) or None


def network(said: Mapping[str, Any], name: str) -> str | None:
    """A network in its usual spelling; None for everything else."""
    value = said.get(name)
    try:
        return str(ip_network(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def as_number(said: Mapping[str, Any], name: str) -> int | None:
    """The number of a text that begins like "AS64500"; None for everything else."""
    found = re.match(r"AS(\d{1,10})\b", text(said, name) or "", re.ASCII)
    return int(found[1]) if found and int(found[1]) < 2**32 else None


def is_about(said: object, address: IPAddress) -> bool:
    """Whether it is this address, however it is spelt."""
    try:
        return isinstance(said, str) and ip_address(said) == address
    except ValueError:
        return False


def another_address() -> SourceError:
    """What becomes of an answer that is not about the address that was asked about."""
    return SourceError(SourceState.FAILED, "the answer is about another address")


def lacks(what: str) -> SourceError:
    """What becomes of an answer without that for which the source is asked: it is no answer, and not "nothing known"."""
    return SourceError(SourceState.FAILED, f"the answer has no {what}")


def is_unknown(reply: Reply) -> bool:
    """Of a service that says "nothing known" by a 404: whether this is one, and no page about a wrong URL."""
    return reply.status == 404 and isinstance(reply.json, dict)


def mapping(value: object) -> Mapping[str, Any]:
    """An object of JSON; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def the_object(reply: Reply, *, quota: Quota | None = None) -> Mapping[str, Any]:
    """The object that a reply of status 200 holds. Raises SourceError for any other status and any other body."""
    check_status(reply, quota=quota)
    if not isinstance(value := reply.json, dict):
        raise SourceError(SourceState.FAILED, "the reply is not an object", quota=quota)
    return value


def check_status(reply: Reply, *, quota: Quota | None = None) -> None:
    """Raises SourceError unless the status is 200. A 404 that means "not known" is the source's own affair: before this."""
    if reply.status == 429:
        raise SourceError(SourceState.RATE_LIMITED, "too many requests", quota=used_up(reply, quota))
    if reply.status in (401, 403):
        raise SourceError(SourceState.UNAUTHORIZED, f"the service refused the request (HTTP {reply.status})", quota=quota)
    if reply.status != 200:
        raise SourceError(SourceState.FAILED, f"HTTP {reply.status}", quota=quota)


def used_up(reply: Reply, quota: Quota | None) -> Quota | None:
    """Of a 429: when to ask again, by Retry-After or what was known before; None if nobody says."""
    asked = reply.headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,6}", asked, re.ASCII):
        return Quota(remaining=0, resets_in_seconds=min(LONGEST_RESET_SECONDS, max(1.0, float(asked))))
    return Quota(remaining=0, resets_in_seconds=quota.resets_in_seconds) if quota else None
