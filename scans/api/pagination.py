"""Cursors: a page ends at a row, and the next one begins behind it, however many rows have come or gone meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from rest_framework.request import Request
from rest_framework.response import Response

from scans.selectors import JobPosition

DEFAULT_LIMIT, MAX_LIMIT = 50, 200
JOB_CURSOR = r"^[0-9]{1,16}-[0-9]{1,18}$"  # microseconds since 1970, and the job's id
RESULT_CURSOR = r"^[0-9]{1,9}$"  # a result's ordinal
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def job_cursor(position: JobPosition) -> str:
    """A position as clients carry it."""
    return f"{(position.created_at - EPOCH) // timedelta(microseconds=1)}-{position.id}"


def job_position(cursor: str) -> JobPosition:
    """The position of a cursor that matches JOB_CURSOR."""
    microseconds, _, job_id = cursor.partition("-")
    return JobPosition(created_at=EPOCH + timedelta(microseconds=int(microseconds)), id=int(job_id))


def page_response(request: Request, document: dict[str, Any], *, cursor: str | None) -> Response:
    """A page with its `next` link, in the body and as a header. Relative, like `status_url`: proxies rename hosts."""
    if cursor is None:
        return Response(document | {"next": None})
    url = f"{request.path}?{urlencode({**request.query_params.dict(), 'cursor': cursor})}"
    return Response(document | {"next": url}, headers={"Link": f'<{url}>; rel="next"'})
