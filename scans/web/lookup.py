"""The job that a page's address names, for those who may see it."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from scans import selectors
from scans.models import ScanJob
from scans.web.errors import gone


def job_or_404(request: HttpRequest, token: str) -> ScanJob:
    """The job; 404 alike where there is none and where it is another's, 410 for those who may know of a deleted one."""
    found = selectors.job_by_token(token, request.user)
    if found is None:
        gone(request, token)
        raise Http404("There is no job with this token.")
    return found
