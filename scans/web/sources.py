"""Door for browsers: every intelligence source. Everybody may read of it; what went wrong last is for staff."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from scans import selectors
from scans.conf import scanner_options
from scans.selectors.sources import MAX_COUNTED, product_files, source_statuses


@cache_control(private=True, no_store=True)
@require_GET
def sources(request: HttpRequest) -> HttpResponse:
    """Those that are on, and those that are not and why."""
    found = source_statuses()
    context = {
        "on": [source for source in found if source.is_on],
        "off": [source for source in found if not source.is_on],
        "files": product_files(),
        "is_offline": scanner_options().intel.offline,
        "may_see_errors": settings.IS_LOCAL or selectors.sees_all_jobs(request.user),
        "max_counted": MAX_COUNTED,
        "now": timezone.now(),
    }
    return render(request, "scans/sources.html", context)
