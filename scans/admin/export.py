"""The results of several jobs as one file, NDJSON or CSV, written piece by piece: many jobs need no more memory than one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from scans import selectors
from scans.core.output import CSV_FIELDS, CSV_TYPE, NDJSON_TYPE, csv_lines, ndjson_lines
from scans.models import ScanJob

Results = Iterator[dict[str, Any]]


def export_response(jobs: QuerySet[ScanJob], extension: str) -> StreamingHttpResponse:
    """The file as an attachment."""
    write, content_type = FORMATS[extension]
    tokens = list(jobs.values_list("token", flat=True))
    headers = {"Content-Disposition": f'attachment; filename="scans.{extension}"', "Cache-Control": "private, no-store"}
    return StreamingHttpResponse(write(_results(tokens)), headers=headers, content_type=content_type)


def _results(tokens: list[str]) -> Results:
    """Job by job, so that no cursor stays open for a slow client; a job deleted meanwhile is left out."""
    for token in tokens:
        job = ScanJob.objects.filter(token=token).first()
        if job is not None:
            yield from ({"job": token, **result} for result in selectors.streamed_results(job))


def _csv(results: Results) -> Iterator[str]:
    return csv_lines(results, ("job", "ordinal", *CSV_FIELDS))


FORMATS: dict[str, tuple[Callable[[Results], Iterator[str]], str]] = {
    "ndjson": (ndjson_lines, NDJSON_TYPE),
    "csv": (_csv, CSV_TYPE),
}
