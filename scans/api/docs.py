"""The API's documentation, served from files in the Python packages: it works offline."""

from __future__ import annotations

from typing import Any

from csp.decorators import csp_update
from django.contrib.auth.views import redirect_to_login
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.exceptions import NotAuthenticated, NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scans.models import KEY_PREFIX


@method_decorator(csp_update({"img-src": ["'self'", "data:"]}), name="dispatch")
class SwaggerView(SpectacularSwaggerSplitView):
    """Swagger without inline script, in the frame of the other pages; its icons are data: images."""

    template_name = "scans/api_docs.html"

    def handle_exception(self, exc: Exception) -> HttpResponseBase:  # type: ignore[override] # a redirect is none of DRF's
        """Lead a stranger with a browser to the login; a program gets the problem, as everywhere."""
        if isinstance(exc, NotAuthenticated) and "text/html" in self.request.headers.get("Accept", ""):
            return redirect_to_login(self.request.get_full_path())
        return super().handle_exception(exc)


class UnknownView(APIView):
    """Any other address under the API: a problem, not a page."""

    permission_classes = (AllowAny,)
    throttle_classes = ()
    schema = None

    def _unknown(self, request: Request, **_: str) -> Response:
        raise NotFound("There is nothing at this address.")

    get = post = put = patch = delete = _unknown


class ClientKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # the package has no types
    """How the schema describes API keys: two headers, either of which will do."""

    target_class = "scans.api.auth.ClientKeyAuthentication"
    name = ["apiKey", "apiKeyHeader"]  # noqa: RUF012 - the package asks for a list

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """The two."""
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": f"{KEY_PREFIX}…"},
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either."""
        return [{name: []} for name in self.name]
