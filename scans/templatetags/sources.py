"""How the page of sources puts states, keys, quotas and lifetimes."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from scans.core.intel.base import KeyUse
from scans.selectors.sources import QuotaLeft, SourceDoing, SourceFile, SourceStatus
from scans.templatetags.hosts import age
from scans.templatetags.looks import Look, state_look

register = template.Library()

LOOKS: dict[str, Look] = {
    SourceDoing.ANSWERS: ("known", "solid", "answers"),
    SourceDoing.FAILING: ("fault", "fault", "failing"),
    SourceDoing.ON_HOLD: ("doubt", "hatched", "on hold"),
    SourceDoing.NOT_ASKED: ("absent", "hollow", "not asked yet"),
    SourceDoing.HERE: ("known", "solid", "on this machine"),
    SourceDoing.MISSING: ("doubt", "hatched", "no file here"),
}
UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@register.simple_tag
def doing(source: SourceStatus) -> SafeString:
    """How a source is doing."""
    return state_look(LOOKS[source.doing])


@register.simple_tag
def file_state(file: SourceFile) -> SafeString:
    """Whether a list is on this machine."""
    return state_look(LOOKS[SourceDoing.HERE if file.is_here else SourceDoing.MISSING])


@register.filter
def key_words(source: SourceStatus) -> str:
    """Whether it wants a key, and has one; never the key."""
    if source.key is KeyUse.NONE:
        return "it takes none"
    wish = "it needs one" if source.key is KeyUse.REQUIRED else "optional"
    return f"{wish}; {'one is set' if source.has_key else 'none is set'}"


@register.filter
def files_words(source: SourceStatus) -> str:
    """How many files it has here, and how long ago the oldest of those that were fetched came."""
    here = [file for file in source.files if file.is_here]
    if not here:
        return ""
    count = f"{len(here)} file{'' if len(here) == 1 else 's'}"
    arrived = [file.arrived_at for file in here if file.arrived_at]
    if not arrived:
        return f"{count}, as the program brings {'it' if len(here) == 1 else 'them'}"
    return f"{count}, the oldest fetched {age(min(arrived))} ago"


@register.filter
def left_share(quota: QuotaLeft) -> str:
    """What is left as the width of a bar."""
    return f"{min(100.0, 100 * quota.left / quota.limit.at_most):.1f}%"


@register.filter
def lasting(seconds: int) -> str:
    """A lifetime in words: "24 hours", "7 days"."""
    size, unit = next((size, unit) for size, unit in UNITS if seconds % size == 0 and (seconds >= 2 * size or size == 1))
    return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
