"""What the admin's index shows beside the list of models."""

from __future__ import annotations

from django import template

from scans.admin.overview import Overview
from scans.admin.overview import overview as read_overview

register = template.Library()


@register.simple_tag
def overview() -> Overview:
    """The numbers of scans/admin/overview.py."""
    return read_overview()
