"""The hidden field by which a form makes one job only."""

from __future__ import annotations

import secrets

from django import template

from scans.web.once import FIELD

register = template.Library()


@register.inclusion_tag("scans/_once.html")
def once_key() -> dict[str, str]:
    """A new key for each form that is rendered."""
    return {"name": FIELD, "key": secrets.token_urlsafe(16)}
