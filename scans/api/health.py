"""Is the process up, and can the installation do its work?"""

from __future__ import annotations

from django.db import DatabaseError
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scans import selectors
from scans.api.documents import HealthSerializer


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

    @extend_schema(tags=["health"], operation_id="readyz", responses={200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        """200, or 503 with every reason and its remedy."""
        try:
            reasons = selectors.unready_reasons()
        except DatabaseError:
            reasons = ["The database does not answer."]
        return Response({"status": "unready" if reasons else "ok", "reasons": reasons}, status=503 if reasons else 200)
