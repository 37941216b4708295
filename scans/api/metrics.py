"""GET /metrics: the numbers of selectors/metrics.py in the text form of OpenMetrics 1.0, for Prometheus and its kin.

Who may read: anybody in the local profile; in the server profile staff by session, a key with the scope `admin`, and whoever
presents METRICS_TOKEN as `Authorization: Bearer …`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from scans import selectors
from scans.api.auth import SCHEME, ClientKeyAuthentication
from scans.selectors.metrics import Family, Sample, metric_families

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
UNITS = ("seconds",)
SUFFIXES = {"counter": "_total", "info": "_info", "gauge": ""}
MONITOR = "monitor"  # request.auth of whoever has the token
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


class MetricsTokenAuthentication(BaseAuthentication):
    """By METRICS_TOKEN. Anything else is left to those who come after."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, str] | None:
        """Nobody's account, and the word for it; None if the request has not this token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        expected = settings.METRICS_TOKEN
        if not expected or scheme.lower() != SCHEME.lower() or not constant_time_compare(token.strip(), expected):
            return None
        return AnonymousUser(), MONITOR

    def authenticate_header(self, request: Request) -> str:
        """For WWW-Authenticate, which makes a missing token a 401."""
        return f'{SCHEME} realm="metrics"'


class MayReadMetrics(BasePermission):
    """The numbers are about everybody's jobs."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """See the module."""
        return settings.IS_LOCAL or request.auth == MONITOR or selectors.sees_all_jobs(request.user)


class MetricsView(APIView):
    """How this installation does."""

    authentication_classes = (MetricsTokenAuthentication, ClientKeyAuthentication, SessionAuthentication)
    permission_classes = (MayReadMetrics,)
    throttle_classes = ()
    schema = None  # not JSON, and not for the API's clients

    def get(self, request: Request) -> HttpResponse:
        """All families, as text."""
        return HttpResponse(exposition(metric_families()), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def exposition(families: Iterable[Family]) -> str:
    """The text of some families, to the line that says that nothing is missing."""
    return "".join(f"{line}\n" for family in families for line in _lines(family)) + "# EOF\n"


def _lines(family: Family) -> Iterator[str]:
    yield f"# TYPE {family.name} {family.kind}"
    if unit := next((unit for unit in UNITS if family.name.endswith(f"_{unit}")), None):
        yield f"# UNIT {family.name} {unit}"
    yield f"# HELP {family.name} {_escaped(family.help)}"
    for sample in family.samples:
        yield f"{family.name}{SUFFIXES[family.kind]}{_labels(sample)} {_number(sample.value)}"


def _labels(sample: Sample) -> str:
    pairs: Mapping[str, Any] = sample.labels
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return re.sub(r'[\\"\n]', lambda found: _ESCAPES[found[0]], text)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
