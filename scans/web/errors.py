"""Error pages for browsers: the code small, the sentence large, always a next step.

A client of the API never gets a page: what fails before its views are reached is told in the API's own error shape.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import loader

from scans import selectors
from scans.web.frame import Frame
from scans.web.htmx import STOP_POLLING, wants_fragment

log = logging.getLogger(__name__)

_API_PATHS = re.compile(r"/(?:scans?|ai-agent|api|healthz|readyz|metrics|openapi\.json|sources\.json)(?:/|$)")
PRIVATE = "private, no-store"  # who asks decides between 404 and 410, and a 404 may come true: a cache may keep neither
_LAST_RESORT = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Error</title>"
    "<h1>Something failed here</h1><p>The server's log has the reason. <a href=/>Back to the form</a>"
)


class GoneError(Http404):
    """There was such a job, and whoever asks may know it: answered with 410. Where pages are of no use it is a plain 404."""


def gone(request: HttpRequest, token: str) -> None:
    """Raise GoneError if this job was deleted and the user may know that; for all others it never was."""
    if selectors.was_deleted(token, request.user):
        raise GoneError("This job was deleted.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, and what a form that is too large looks like."""
    if isinstance(exception, RequestDataTooBig):
        return _answer(request, 413, "scans/413.html", "The body is too large.")
    return _answer(request, 400, "400.html", "The request could not be read.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(request, 403, "403.html", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, or 410 for a job that was deleted. An open page that polls for it is told once, above what it shows."""
    if isinstance(exception, GoneError):
        if wants_fragment(request):
            headers = {"HX-Retarget": "#main", "HX-Reswap": "afterbegin show:top", "Cache-Control": PRIVATE}
            return HttpResponse(loader.get_template("scans/_gone.html").render(), status=STOP_POLLING, headers=headers)
        return _answer(request, 410, "scans/410.html", "This job was deleted.")
    return _answer(request, 404, "404.html", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500. Whatever failed, this page must not: no database, no context processors, and at last no template."""
    try:
        return _answer(request, 500, "500.html", "Something went wrong here; the log has the reason.")
    except Exception:  # the edge: behind this page there is none, and static files may be what is missing
        log.exception("the error page failed")
        return HttpResponse(_LAST_RESORT, status=500)


def _answer(request: HttpRequest, status: int, template: str, detail: str) -> HttpResponse:
    """The page, rendered without the request but for its theme, so that nothing can fail; or the same for a program."""
    if _API_PATHS.match(request.path_info):
        phrase = HTTPStatus(status).phrase
        body = {
            "type": "about:blank",
            "title": phrase,
            "status": status,
            "detail": detail,
            "code": phrase.lower().replace(" ", "_"),
        }
        return JsonResponse(body, status=status, content_type="application/problem+json", headers={"Cache-Control": PRIVATE})
    context = {"frame": Frame(request, is_bare=True)}
    page = loader.get_template(template).render(context)
    return HttpResponse(page, status=status, headers={"Cache-Control": PRIVATE})
