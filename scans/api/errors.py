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

from scans.services.problems import InvalidSubmissionError

log = logging.getLogger(__name__)

MAX_ERRORS = 1000  # in one reply


class BodyTooLargeError(exceptions.APIException):
    """413."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "body_too_large"


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: every exception of a view becomes a problem, also the unexpected one."""
    set_rollback()
    if isinstance(error, InvalidSubmissionError):
        return _problem(422, "invalid_input", "The submission was refused; nothing was stored.", errors=_listed(error))
    if isinstance(error, exceptions.ValidationError):
        errors = list(_flattened(error.get_full_details()))
        return _problem(422, "invalid_input", "The submission was refused; nothing was stored.", errors=errors)
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
    response = _problem(error.status_code, str(error.get_codes()), str(error.detail))
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
        "detail": detail,
        "code": slug,
    }
    if errors:
        body["errors"] = list(errors[:MAX_ERRORS])
    return Response(body, status=code, content_type="application/problem+json")


def _listed(error: InvalidSubmissionError) -> list[dict[str, str]]:
    return [{"pointer": p.pointer, "code": p.code, "detail": p.detail} for p in error.problems]


def _flattened(details: Any, pointer: str = "") -> Iterator[dict[str, str]]:
    """DRF's tree of errors as a list, each with a JSON pointer."""
    if isinstance(details, Mapping) and set(details) == {"message", "code"}:
        yield {"pointer": pointer, "code": str(details["code"]), "detail": str(details["message"])}
    elif isinstance(details, Mapping):
        for name, inner in details.items():
            yield from _flattened(inner, pointer if name == "non_field_errors" else f"{pointer}/{name}")
    elif isinstance(details, Sequence):
        for inner in details:
            yield from _flattened(inner, pointer)
