"""The project's routes and some more that fail, for the tests of error pages."""

from __future__ import annotations

from typing import NoReturn

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.csrf import csrf_failure

from ipscanner.urls import handler400, handler403, handler404, handler500
from ipscanner.urls import urlpatterns as project
from scans.web.login import locked_out

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


def broken(request: HttpRequest) -> NoReturn:
    raise ZeroDivisionError("a secret detail")


def forbidden(request: HttpRequest) -> NoReturn:
    raise PermissionDenied("a secret detail")


def suspicious(request: HttpRequest) -> NoReturn:
    raise SuspiciousOperation("a secret detail")


def too_large(request: HttpRequest) -> NoReturn:
    raise RequestDataTooBig("a secret detail")


def locked(request: HttpRequest) -> HttpResponse:
    return locked_out(request, None, None)


urlpatterns = [
    path("broken", broken),
    path("forbidden", forbidden),
    path("suspicious", suspicious),
    path("too-large", too_large),
    path("stale-form", csrf_failure),
    path("locked", locked),
    path("api/broken", broken),
    *project,
]
