"""The one error shape: RFC 9457 problem+json, for every failure under the API.

{"type": "about:blank", "title": …, "status": …, "detail": …, "code": …, "errors": [{"pointer", "code", "detail"}]}
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DatabaseError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from scans.core.targets import MAX_REJECTED
from scans.core.text import clean_text
from scans.services.admission import AdmissionRefusedError
from scans.services.idempotency import IdempotencyInFlightError, IdempotencyMismatchError
from scans.services.problems import InvalidSubmissionError

log = logging.getLogger(__name__)

MAX_ERRORS = MAX_REJECTED + 1  # in one reply; the last may say that the rest was not read
MAX_DETAIL_CHARS = 1000
NOTHING_STORED = "The submission was refused; nothing was stored."


class BodyTooLargeError(exceptions.APIException):
    """413."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"


class ConflictError(exceptions.APIException):
    """409: the job's state allows no such thing."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class GoneError(exceptions.APIException):
    """410: there was such a job, and whoever asks may know it."""

    status_code = status.HTTP_410_GONE
    default_code = "deleted"
    default_detail = "This job has been deleted."


class BadQueryError(exceptions.APIException):
    """422: parameters of the address or headers that cannot be meant, each with a pointer like /limit."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "invalid_parameter"
    default_detail = "A parameter cannot be meant."

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__()
        self.errors = errors


class LengthRequiredError(exceptions.APIException):
    """411."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"


class ComeBackError(exceptions.APIException):
    """429 or 503: a submission at a bad time, as the service has decided."""

    def __init__(self, refused: AdmissionRefusedError) -> None:
        super().__init__(f"{refused.detail} Nothing was stored.", refused.code)
        self.status_code = refused.status
        self.wait = refused.retry_after_seconds


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: every exception of a view becomes a problem, also the unexpected one."""
    set_rollback()
    if isinstance(error, InvalidSubmissionError):
        return _problem(422, "invalid_input", NOTHING_STORED, errors=_listed(error))
    if isinstance(error, exceptions.ValidationError):
        return _problem(422, "invalid_input", NOTHING_STORED, errors=list(flat_errors(error.get_full_details())))
    if isinstance(error, IdempotencyMismatchError):
        return _problem(422, "idempotency_mismatch", f"This Idempotency-Key was used for another body. {NOTHING_STORED}")
    if isinstance(error, IdempotencyInFlightError):
        error = ConflictError("The first request with this Idempotency-Key is not answered yet: repeat it.", "in_flight")
    if isinstance(error, AdmissionRefusedError):
        error = ComeBackError(error)
    if isinstance(error, RequestDataTooBig):
        error = BodyTooLargeError("The body is too large.")
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _known(error)
    log.error("unexpected error in %s", type(context.get("view")).__name__, exc_info=error)
    if isinstance(error, DatabaseError):
        return _problem(503, "database", "The database did not answer. Nothing is known to be lost; try again.")
    return _problem(500, "internal", "Something went wrong here; the log has the reason.")


def _known(error: exceptions.APIException) -> Response:
    errors = getattr(error, "errors", ())
    response = _problem(error.status_code, str(error.get_codes()), str(error.detail), errors=errors)
    if auth_header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = auth_header
    if wait := getattr(error, "wait", None):
        response["Retry-After"] = str(int(wait))
    return response


def _problem(code: int, slug: str, detail: str, *, errors: Sequence[Mapping[str, str]] = ()) -> Response:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "detail": _said(detail),
        "code": slug,
    }
    if errors:
        body["errors"] = [{name: _said(text) for name, text in item.items()} for item in errors[:MAX_ERRORS]]
    return Response(body, status=code, content_type="application/problem+json")


def _said(text: str) -> str:
    """Some messages repeat the input, which may hold what no JSON in UTF-8 can: a lone surrogate."""
    return clean_text(text, limit=MAX_DETAIL_CHARS)


def _listed(error: InvalidSubmissionError) -> list[dict[str, str]]:
    return [{"pointer": p.pointer, "code": p.code, "detail": p.detail} for p in error.problems]


def flat_errors(details: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """DRF's tree of errors as a list, each with a JSON pointer."""
    if isinstance(details, Mapping) and set(details) == {"message", "code"}:
        yield {"pointer": pointer, "code": str(details["code"]), "detail": str(details["message"])}
    elif isinstance(details, Mapping):
        for name, inner in details.items():
            yield from flat_errors(inner, pointer if name == "non_field_errors" else pointer + pointer_to(name))
    elif isinstance(details, Sequence):
        for inner in details:
            yield from flat_errors(inner, pointer)


def pointer_to(name: object) -> str:
    """One step of a JSON pointer (RFC 6901, section 3)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")
