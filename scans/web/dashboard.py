"""Door for browsers: the dashboard. Every number on it is one that the reader may see; the workers are for staff."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

from scans import selectors
from scans.selectors.dashboard import PERIODS
from scans.selectors.dashboard import dashboard as read_dashboard
from scans.selectors.sources import source_statuses
from scans.selectors.workers import workers

DEFAULT_DAYS = 30


@cache_control(private=True, no_store=True)
@require_GET
def dashboard(request: HttpRequest) -> HttpResponse:
    """The last 7, 30 or 90 days; another period is refused in words, and the usual one shown."""
    asked = request.GET.get("days", str(DEFAULT_DAYS))
    is_known = asked in {str(days) for days in PERIODS}
    board = read_dashboard(request.user, days=int(asked) if is_known else DEFAULT_DAYS)
    everybody = workers()
    may_see_workers = settings.IS_LOCAL or selectors.sees_all_jobs(request.user)
    silent = [worker for worker in everybody if worker.is_silent] if may_see_workers else []
    supervisors = sum(worker.kind == "supervisor" and not worker.is_silent for worker in everybody)
    context = {
        "board": board,
        "periods": PERIODS,
        "refused_period": None if is_known else asked[:20],
        "asked": [source for source in source_statuses(counts_cached=False) if source.is_on and source.quotas],
        "workers": everybody,
        "supervisors": supervisors,
        "silent": silent,
        "is_calm": bool(supervisors) and not (board.worst or board.failing or silent),
        "may_see_workers": may_see_workers,
        "now": timezone.now(),
    }
    return render(request, "scans/dashboard.html", context, status=200 if is_known else 422)
