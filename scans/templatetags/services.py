"""What a service is, in a few words, wherever there is room for no more: a host's table, a job's row, the admin.

Services come as they are stored, without what they leave unsaid, or as on the wire, with nulls (scans/core/wire.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django import template

from scans.core.types import ServiceState

register = template.Library()

Json = Mapping[str, Any]

MAX_TELLING = 3
MAX_WORD_CHARS = 40  # of what one service says in such a line
NO_CREDENTIALS = "answers without credentials"


@register.filter
def product_words(service: Json) -> str:
    """Product and version as the service says them; "" if it does not."""
    return " ".join(filter(None, (service.get("product"), service.get("version"))))


def is_over_tls(service: Json) -> bool:
    """Whether to say that it speaks inside TLS; of what is known as TLS alone the name says it."""
    return bool(service["is_tls"]) and service.get("protocol") != "TLS"


@register.filter
def service_line(service: Json) -> str:
    """One service in a line of a list: "443 HTTP over TLS, nginx 1.24.0"; of one that is not known, why."""
    port, name = service["port"], service.get("protocol")
    if service["state"] != ServiceState.IDENTIFIED:
        return f"{port} {service['state'].replace('_', ' ')}: {service.get('reason') or 'no reason given'}"
    over = " over TLS" if is_over_tls(service) else ""
    access = f"{NO_CREDENTIALS} ({service['access']})" if service.get("access") else ""
    return ", ".join(filter(None, (f"{port} {name}{over}", product_words(service), access)))


@register.filter
def telling_words(services: Sequence[Json]) -> str:
    """The most telling of what a host's services are: open doors, then products, then protocols; each once."""
    words = list(dict.fromkeys(_by_weight(services)))
    more = len(words) - MAX_TELLING
    return ", ".join(words[:MAX_TELLING]) + (f" and {more} more" if more > 0 else "")


def _by_weight(services: Sequence[Json]) -> Iterator[str]:
    known = [service for service in services if service["state"] == ServiceState.IDENTIFIED]
    open_doors = [service for service in known if service.get("access")]
    yield from (f"{_short(service.get('product') or service['protocol'])} {NO_CREDENTIALS}" for service in open_doors)
    quiet = [service for service in known if not service.get("access")]
    yield from (_short(product_words(service)) for service in quiet if service.get("product"))
    yield from (service["protocol"] for service in quiet if not service.get("product"))


def _short(words: str) -> str:
    return words if len(words) <= MAX_WORD_CHARS else f"{words[: MAX_WORD_CHARS - 1]}…"
