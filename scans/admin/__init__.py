"""Door for staff: review, act on jobs, purge. One module a subject; `base.py` holds what all lists have in common."""

from __future__ import annotations

from django.contrib import admin

from scans.admin import access, accounts, jobs, ops, rescores

__all__ = ["access", "accounts", "jobs", "ops", "rescores"]

admin.site.site_header = admin.site.site_title = "IP Intelligence Scanner"
admin.site.index_title = "Review and purge"
admin.site.enable_nav_sidebar = False  # the index, one link away on every page, lists the same
