"""What htmx asks and what it is told: every page works without it, so only these few words of its own."""

from __future__ import annotations

from django.http import HttpRequest

STOP_POLLING = 286  # htmx's own status: show this answer and ask no more


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks, which takes a part of the page."""
    return request.headers.get("HX-Request") == "true"


def asked_part(request: HttpRequest) -> str:
    """The id of the element that htmx wants to replace; empty if it does not say, or is not who asks."""
    return request.headers.get("HX-Target", "") if wants_fragment(request) else ""
