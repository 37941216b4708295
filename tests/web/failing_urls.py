"""The project's routes and three more that fail, for the tests of error pages."""

from __future__ import annotations

from typing import NoReturn

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest
from django.urls import path

from ipscanner.urls import handler400, handler403, handler404, handler500
from ipscanner.urls import urlpatterns as project

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


def broken(request: HttpRequest) -> NoReturn:
    raise ZeroDivisionError("a secret detail")


def forbidden(request: HttpRequest) -> NoReturn:
    raise PermissionDenied("a secret detail")


def suspicious(request: HttpRequest) -> NoReturn:
    raise SuspiciousOperation("a secret detail")


urlpatterns = [
    path("broken", broken),
    path("forbidden", forbidden),
    path("suspicious", suspicious),
    path("api/broken", broken),
    *project,
]
