"""Is the process up, and can the installation do its work?"""

from __future__ import annotations

from django.conf import settings
from django.db import DatabaseError
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scans import selectors
from scans.api.documents import HealthSerializer
from scans.models import clock
from scans.selectors.metrics import queue_age_seconds
from scans.services.admission import full_disks


class ReadySerializer(HealthSerializer):
    """A probe's answer, and what will become a problem."""

    warnings = serializers.ListField(child=serializers.CharField(), required=False)


class HealthView(APIView):
    """The process answers."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()

    @extend_schema(tags=["health"], operation_id="healthz", responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        """200 as long as the process lives."""
        return Response({"status": "ok"})


class ReadyView(APIView):
    """Database, migrations and workers are there."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()

    @extend_schema(tags=["health"], operation_id="readyz", responses={200: ReadySerializer, 503: ReadySerializer})
    def get(self, request: Request) -> Response:
        """200, or 503 with every reason and its remedy. Warnings change nothing: reading works, and jobs go on."""
        warnings = _disk_warnings()
        try:
            reasons = selectors.unready_reasons()
            if not reasons:
                warnings += _queue_warnings()
        except DatabaseError:
            reasons = ["The database does not answer."]
        answer = {"status": "unready" if reasons else "ok", "reasons": reasons}
        answer |= {"warnings": warnings} if warnings else {}
        return Response(answer, status=503 if reasons else 200)


def _disk_warnings() -> list[str]:
    """Without numbers, which are for the operator (manage.py doctor): anybody may ask here."""
    remedy = "make room, or run manage.py purge."
    return [f"New jobs are refused, the disk of the {name} is nearly full: {remedy}" for name in full_disks()]


def _queue_warnings() -> list[str]:
    waited = queue_age_seconds(clock.now())
    if not 0 < settings.MAX_QUEUE_AGE_SECONDS < waited:
        return []
    return [f"New jobs are refused, the oldest has waited {int(waited):,} s for a worker: start more workers."]
