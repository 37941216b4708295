"""What a job's page says of its progress and of its list; the rows are in job_rows."""

from __future__ import annotations

from typing import Any

from django import template

from scans.web.job_rows import RowLinks

register = template.Library()


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
