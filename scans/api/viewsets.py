"""Door for clients: submit a scan, follow it, read it, stop it, take it away. operations.py describes it for OpenAPI."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase
from django.urls import reverse
from django.utils.http import parse_etags
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from scans import selectors
from scans.api import operations
from scans.api.errors import BadQueryError, ConflictError, GoneError
from scans.api.export import export_response
from scans.api.pagination import job_cursor, job_position, page_response
from scans.api.parsers import LimitedJSONParser
from scans.api.serializers import (
    JobListQuery,
    PromptListQuery,
    ReadQuery,
    RerunQuery,
    ResultListQuery,
    SubmissionSerializer,
)
from scans.api.waiting import wait_for_change
from scans.core.summary import INSTRUCTION, PROMPT_VERSION
from scans.models import Mode, ScanJob
from scans.services.access import origin, submitter
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from scans.services.idempotency import body_digest, submit_once
from scans.services.jobs import submit_scan
from scans.services.preview import preview_scan
from scans.services.reaper import reap
from scans.services.rerun import NothingToRerunError, rerun_job

MESSAGES = {
    Mode.STANDARD: "Scan accepted. Poll the status endpoint for results.",
    Mode.AI: "AI-powered assessment started. Use the scan status endpoint to check the audit.",
}
CANCELLED = "Scan cancelled. What was found is kept."
POLL_SECONDS = 2
_IDEMPOTENCY_KEY = re.compile("[ -~]{1,255}")


class JsonForEveryone(DefaultContentNegotiation):
    """There is one form of each reply, whatever a client would prefer."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first, which is JSON."""
        return renderers[0], renderers[0].media_type


@extend_schema(tags=["scan"])
class ScanViewSet(viewsets.ViewSet):
    """Jobs."""

    parser_classes = (LimitedJSONParser,)
    content_negotiation_class = JsonForEveryone

    @operations.submission("scan_submit")
    def create(self, request: Request) -> Response:
        """Submit targets to scan."""
        return self._submit(request, Mode.STANDARD)

    @operations.submission("ai_agent_submit")
    def create_ai(self, request: Request) -> Response:
        """Submit targets to scan, and have the model explain each verdict."""
        return self._submit(request, Mode.AI)

    @operations.LIST
    def list(self, request: Request) -> Response:
        """List your jobs, newest first."""
        query = JobListQuery.read(request)
        if "owner" in query and not (settings.IS_LOCAL or selectors.sees_all_jobs(request.user)):
            raise PermissionDenied("Only staff may ask for somebody's jobs.")
        after = job_position(query["cursor"]) if "cursor" in query else None
        scans, end = selectors.listed_jobs(request.user, JobListQuery.filters(query), after=after, limit=query["limit"])
        return page_response(request, {"scans": scans}, cursor=job_cursor(end) if end else None)

    @operations.READ
    def retrieve(self, request: Request, token: str) -> Response:
        """Read a job: its progress and the results so far."""
        query = ReadQuery.read(request)
        job = self._job(request, token)
        mark = selectors.waivers_mark()  # older than the document, if in doubt: then it is asked for once more
        if selectors.needs_reaping(job):  # the one read that may write: without a supervisor nobody else would
            reap()
            job = self._job(request, token)
        if query["wait"] and not job.is_finished and _is_known(request, job, mark, else_=True):
            wait_for_change(job, seconds=query["wait"])
            job = self._job(request, token)
        headers = {"ETag": _etag(job, mark), "Cache-Control": "private, no-cache"}
        if not job.is_finished:
            headers["Retry-After"] = str(POLL_SECONDS)
        if _is_known(request, job, mark):
            return Response(status=304, headers=headers)
        return Response(selectors.job_document(job), headers=headers)

    @operations.RESULTS
    def results(self, request: Request, token: str) -> Response:
        """Read the results of a large job page by page. While it runs, a page holds what is finished by then."""
        query = ResultListQuery.read(request)
        job = self._job(request, token)
        after = int(query["cursor"]) if "cursor" in query else -1
        results, end = selectors.listed_results(job, ResultListQuery.filters(query), after=after, limit=query["limit"])
        facts = {"token": job.token, "status": selectors.job_status(job), "total_targets": job.total_targets}
        return page_response(request, facts | {"results": results}, cursor=None if end is None else str(end))

    @operations.EGRESS
    def egress(self, request: Request, token: str) -> Response:
        """Read who was told about the job's targets: every service and resolver, and how often."""
        return Response(selectors.egress_document(self._job(request, token)))

    @operations.PROMPTS
    def prompts(self, request: Request, token: str) -> Response:
        """Read what the model was told about the targets of a job, word for word, page by page."""
        query = PromptListQuery.read(request)
        job = self._job(request, token)
        after = int(query["cursor"]) if "cursor" in query else -1
        prompts, end = selectors.listed_questions(job, after=after, limit=query["limit"])
        told = {"token": job.token, "prompt_version": PROMPT_VERSION, "instruction": INSTRUCTION, "prompts": prompts}
        return page_response(request, told, cursor=None if end is None else str(end))

    @operations.EXPORT_JSON
    def export_json(self, request: Request, token: str) -> HttpResponseBase:
        """Download a job and its results as one JSON document."""
        return self._export(request, token, "json")

    @operations.EXPORT_NDJSON
    def export_ndjson(self, request: Request, token: str) -> HttpResponseBase:
        """Download the results as one JSON object a line."""
        return self._export(request, token, "ndjson")

    @operations.EXPORT_CSV
    def export_csv(self, request: Request, token: str) -> HttpResponseBase:
        """Download the results as CSV."""
        return self._export(request, token, "csv")

    @operations.CANCEL
    def cancel(self, request: Request, token: str) -> Response:
        """Stop a job. What was found is kept."""
        if not cancel_job(self._job(request, token), by=origin(request)):
            raise ConflictError("The job is final: there is nothing left to cancel.")
        return self._accepted(token, CANCELLED)

    @operations.RERUN
    def rerun(self, request: Request, token: str) -> Response:
        """Scan the same targets again as a new job, or only those without a full result."""
        query = RerunQuery.read(request)
        job = self._job(request, token)
        if not job.is_finished:
            raise ConflictError("The job still runs: cancel it first, or wait for its end.")
        only_failed = query.get("only") == "failed"
        try:
            again = rerun_job(job, only_failed=only_failed, owner=request.user.pk, by=origin(request))
        except NothingToRerunError as error:
            raise ConflictError("Every target of the job has a full result.") from error
        return self._accepted(again.token, MESSAGES[Mode(again.mode)])

    @operations.DELETE
    def destroy(self, request: Request, token: str) -> Response:
        """Delete a job and all its results. Doing so again is no error."""
        with suppress(GoneError):
            delete_job(self._job(request, token), by=origin(request))
        return Response(status=204)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """No cache keeps a reply unless it says so itself."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def _job(self, request: Request, token: str) -> ScanJob:
        """The job. Raises GoneError where this client may know that it has been deleted, NotFound otherwise."""
        job = selectors.job_by_token(token, request.user)
        if job is None and selectors.was_deleted(token, request.user):
            raise GoneError
        if job is None:
            raise NotFound("Token not found.")
        return job

    def _submit(self, request: Request, mode: Mode) -> Response:
        key = _idempotency_key(request)
        serializer = SubmissionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        scan_request = serializer.scan_request(mode, **submitter(request))
        if serializer.is_dry_run:
            return Response(preview_scan(scan_request))
        if key is None:
            return self._accepted(submit_scan(scan_request).token, MESSAGES[mode])
        accepted = submit_once(
            owner=request.user.pk,
            key=key,
            digest=body_digest(mode, request.data),
            submit=lambda: submit_scan(scan_request),
        )
        return self._accepted(accepted.token, MESSAGES[mode], is_replayed=accepted.is_replayed)

    def _accepted(self, token: str, message: str, *, is_replayed: bool = False) -> Response:
        """202 as clients know it: a flat object of strings, everything else in headers."""
        status_url = f"/scan/{token}"
        headers = {
            "Location": status_url,
            "Retry-After": str(POLL_SECONDS),
            "Link": f'<{reverse("job", args=[token])}>; rel="alternate"; type="text/html"',
        }
        if is_replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response({"token": token, "status_url": status_url, "message": message}, status=202, headers=headers)

    def _export(self, request: Request, token: str, extension: str) -> HttpResponseBase:
        return export_response(self._job(request, token), extension, is_head=request.method == "HEAD")


def _etag(job: ScanJob, mark: str) -> str:
    """Weak, since the same version may say another `eta_seconds`. Waivers begin and end without touching the job."""
    return f'W/"{selectors.SCHEMA_VERSION}.{job.version}.{mark}"'


def _is_known(request: Request, job: ScanJob, mark: str, *, else_: bool = False) -> bool:
    """Whether the client holds this version already; `else_` if it does not say what it holds."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return else_
    current = {"*", _etag(job, mark), _etag(job, mark).removeprefix("W/")}  # compared weakly (RFC 9110, 13.1.2)
    return not current.isdisjoint(parse_etags(header))


def _idempotency_key(request: Request) -> str | None:
    """The header's value. Raises BadQueryError for one that cannot be meant."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        detail = "A key is 1 to 255 printable ASCII characters."
        raise BadQueryError([{"pointer": "/Idempotency-Key", "code": "bad_key", "detail": detail}])
    return key
