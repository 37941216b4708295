"""Words of the page of waivers."""

from __future__ import annotations

from collections.abc import Mapping

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from scans.models import Waiver
from scans.templatetags.looks import Look, state_look

register = template.Library()

HINTS = {
    "rule_id": "The rule that fired, as it stands on the host's page.",
    "scope": "An address, a network like 192.0.2.0/24, or a host name. A host with several addresses must lie in it whole.",
    "port": "Empty: whichever ports the finding names. Only findings that name ports can be narrowed to one.",
    "owner": "Who answers for it: a person or a team.",
    "reason": "Why it is accepted, for whoever reads it in a year.",
    "last_day": "{max_days} days at most. Then the finding is an open one again.",
}
WAIVER_LOOKS: dict[str, Look] = {
    "expired": ("absent", "hollow", "expired"),
    "withdrawn": ("absent", "hollow", "withdrawn"),
}


@register.simple_tag
def field_hint(name: str, max_days: int) -> str:
    """What to write into a field."""
    return HINTS[name].format(max_days=max_days)


@register.filter
def title_of(titles: Mapping[str, str], rule_id: str) -> str:
    """A rule by its title; a rule that is no longer there has none."""
    return titles.get(rule_id, "A rule of an earlier version")


@register.filter
def days_left(waiver: Waiver) -> str:
    """How long it still holds: "89 days left"."""
    days = (waiver.expires_at - timezone.now()).days
    return "less than a day left" if days < 1 else f"{days} day{'s' if days > 1 else ''} left"


@register.simple_tag
def waiver_state(name: str) -> SafeString:
    """How a waiver ended."""
    return state_look(WAIVER_LOOKS[name])
