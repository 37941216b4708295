"""Quotas at the API's door: 429 with Retry-After, and RateLimit headers on every reply that drew on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from scans.services import quotas

if TYPE_CHECKING:
    from rest_framework.views import APIView  # it imports this module, by the settings

MAKES_NO_WORK = ("cancel",)  # by POST, but it must not wait for the quota of submissions


class QuotaThrottle(BaseThrottle):
    """Submissions draw on one quota, everything else on another: reading is never blocked by having submitted much."""

    allowance: quotas.Allowance | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether there is one left."""
        is_work = request.method == "POST" and getattr(view, "action", "") not in MAKES_NO_WORK
        kind = "submit" if is_work else "read"
        self.allowance = quotas.draw(kind, request._request, user=request.user)
        return self.allowance is None or self.allowance.is_granted

    def wait(self) -> float | None:
        """Seconds until it is worth asking again."""
        return float(self.allowance.resets_in_seconds) if self.allowance else None


class RateLimitHeaders:
    """Middleware: tells every client what is left of the quota that its request drew on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and add the headers."""
        response = self.get_response(request)
        allowance: quotas.Allowance | None = getattr(request, "allowance", None)
        if allowance is not None:
            response["RateLimit-Limit"] = str(allowance.limit)
            response["RateLimit-Remaining"] = str(allowance.remaining)
            response["RateLimit-Reset"] = str(allowance.resets_in_seconds)
        return response
