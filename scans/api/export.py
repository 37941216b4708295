"""A job as a file: JSON, one JSON object a line, or CSV. Written piece by piece, so a large job needs no more memory.

What the CSV holds is a choice of columns; the other two hold everything. A job that still runs gives the results so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from scans import selectors
from scans.core.output import CSV_TYPE, NDJSON_TYPE, csv_lines, json_text, ndjson_lines
from scans.models import ScanJob

CSV_COLUMNS = (
    "ordinal", "target", "ip_address", "addresses", "outcome", "error", "risk_level", "risk_score", "publicly_exposed",
    "open_ports", "findings", "country", "provider", "service_category", "risk_summary", "recommendation", "finished_at",
    "waived", "services", "certificates", "organisation", "asn", "network", "host_names", "cloud", "reputation", "sources",
    "vulnerabilities", "end_of_life", "answers_everywhere",
)  # fmt: skip


def export_response(job: ScanJob, extension: str, *, is_head: bool = False) -> HttpResponseBase:
    """The file as an attachment. Its name holds no text of anybody's, and not the whole token."""
    write, content_type = FORMATS[extension]
    headers = {"Content-Disposition": f'attachment; filename="scan-{job.token[:8]}.{extension}"'}
    if is_head:
        return HttpResponse(headers=headers, content_type=content_type)
    return StreamingHttpResponse(write(job), headers=headers, content_type=content_type)


def _json_pieces(job: ScanJob) -> Iterator[str]:
    """One document. The job's own fields come last, because only then it is known how many results there are."""
    yield '{"results": ['
    done = 0
    for result in selectors.streamed_results(job):
        yield (",\n" if done else "\n") + json_text(result)
        done += 1
    yield "\n], " + json_text(selectors.job_head(job, done=done))[1:] + "\n"


def _ndjson_pieces(job: ScanJob) -> Iterator[str]:
    return ndjson_lines(selectors.streamed_results(job))


def _csv_pieces(job: ScanJob) -> Iterator[str]:
    return csv_lines(selectors.streamed_results(job), CSV_COLUMNS)


FORMATS: dict[str, tuple[Callable[[ScanJob], Iterator[str]], str]] = {
    "json": (_json_pieces, "application/json"),
    "ndjson": (_ndjson_pieces, NDJSON_TYPE),
    "csv": (_csv_pieces, CSV_TYPE),
}
