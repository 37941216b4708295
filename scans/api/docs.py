"""The API's documentation, served from files in the Python packages: it works offline."""

from __future__ import annotations

from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class SwaggerView(SpectacularSwaggerSplitView):
    """Swagger without inline script; its icons are data: images."""


class UnknownView(APIView):
    """Any other address under the API: a problem, not a page."""

    permission_classes = (AllowAny,)
    schema = None

    def _unknown(self, request: Request, **_: str) -> Response:
        raise NotFound("There is nothing at this address.")

    get = post = put = patch = delete = _unknown
