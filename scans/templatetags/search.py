"""`where_else`: a word of what was found, as a link to the history of all hosts that it was found at."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from scans.web.search import search_text

register = template.Library()


@register.simple_tag
def where_else(kind: str, shown: str, value: str | None = None) -> SafeString:
    """The text that is shown, isolated; a link if it can be searched for, by another value if one is given."""
    query = search_text(kind, shown if value is None else value)
    if query is None:
        return format_html("<bdi>{}</bdi>", shown)
    url = f"{reverse('history')}?{urlencode({'q': query})}"
    return format_html('<a class="else" href="{}" title="Where else?"><bdi>{}</bdi></a>', url, shown)
