"""A submission that comes at a bad time, as a page: 429 or 503, why, and when to come back."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template import loader

from scans.services.admission import AdmissionRefusedError
from scans.web.frame import Frame


class ComeBackLater:
    """Middleware: answers for every page whose action was refused by admission. The API's errors have their own way."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Nothing to do unless something is raised."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The page. Without the workers in its frame, since the service may be overloaded."""
        if not isinstance(exception, AdmissionRefusedError):
            return None
        context = {"frame": Frame(request, is_bare=True), "refused": exception}
        page = loader.get_template("scans/come_back.html").render(context)
        headers = {"Retry-After": str(exception.retry_after_seconds), "Cache-Control": "private, no-store"}
        return HttpResponse(page, status=exception.status, headers=headers)
