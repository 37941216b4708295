"""Door for clients: submit a scan, read it back."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import viewsets
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from scans import selectors
from scans.api.parsers import LimitedJSONParser
from scans.api.serializers import AcceptedSerializer, ProblemSerializer, ScanDocumentSerializer, ScanRequestSerializer
from scans.models import Mode
from scans.services.jobs import submit_scan
from scans.services.reaper import reap

MESSAGES = {
    Mode.STANDARD: "Scan accepted. Poll the status endpoint for results.",
    Mode.AI: "AI-powered assessment started. Use the scan status endpoint to check the audit.",
}
POLL_SECONDS = 2
SUBMIT_RESPONSES = {
    202: OpenApiResponse(AcceptedSerializer, description="Stored and queued; poll `Location`."),
    400: OpenApiResponse(ProblemSerializer, description="Not JSON"),
    413: OpenApiResponse(ProblemSerializer, description="Body too large"),
    415: OpenApiResponse(ProblemSerializer, description="Not application/json"),
    422: OpenApiResponse(ProblemSerializer, description="Bad items, each with a pointer"),
}
EXAMPLES = [
    OpenApiExample("Addresses and names", {"ip_addresses": ["127.0.0.1"], "endpoints": ["localhost"]}, request_only=True),
    OpenApiExample(
        "Chosen ports, no model",
        {"ip_addresses": ["127.0.0.0/30"], "ports": "22,80,8000-8100", "generate_ai_summary": False},
        request_only=True,
    ),
]


@extend_schema(tags=["scan"])
class ScanViewSet(viewsets.ViewSet):
    """Jobs."""

    parser_classes = (LimitedJSONParser,)

    @extend_schema(request=ScanRequestSerializer, responses=SUBMIT_RESPONSES, examples=EXAMPLES, operation_id="scan_submit")
    def create(self, request: Request) -> Response:
        """Submit targets to scan."""
        return self._submit(request, Mode.STANDARD)

    @extend_schema(
        request=ScanRequestSerializer, responses=SUBMIT_RESPONSES, examples=EXAMPLES, operation_id="ai_agent_submit"
    )
    def create_ai(self, request: Request) -> Response:
        """Submit targets to scan, and have the model explain each verdict."""
        return self._submit(request, Mode.AI)

    @extend_schema(responses={200: ScanDocumentSerializer, 404: ProblemSerializer}, operation_id="scan_read")
    def retrieve(self, request: Request, token: str) -> Response:
        """Read a job: its progress and the results so far."""
        job = selectors.job_by_token(token)
        if job is None:
            raise NotFound("Token not found.")
        if selectors.needs_reaping(job):  # the one read that may write: without a supervisor nobody else would
            reap()
            job.refresh_from_db()
        headers = {"Cache-Control": "private, no-store"}
        if not job.is_finished:
            headers["Retry-After"] = str(POLL_SECONDS)
        return Response(selectors.job_document(job), headers=headers)

    def _submit(self, request: Request, mode: Mode) -> Response:
        serializer = ScanRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        job = submit_scan(serializer.scan_request(mode))
        status_url = f"/scan/{job.token}"
        body: dict[str, Any] = {"token": job.token, "status_url": status_url, "message": MESSAGES[mode]}
        headers = {
            "Location": status_url,
            "Retry-After": str(POLL_SECONDS),
            "Link": f'<{job.get_absolute_url()}>; rel="alternate"; type="text/html"',
        }
        return Response(body, status=202, headers=headers)
