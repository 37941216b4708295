"""A job as a file: JSON, one JSON object a line, or CSV. Written piece by piece, so a large job needs no more memory.

The CSV is that of RFC 4180 with every cell quoted and a header; no cell begins as a spreadsheet's formula does. What it
holds is a choice of columns; the other two hold everything. A job that still runs gives the results so far.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from scans import selectors
from scans.core.output import inert
from scans.models import ScanJob

CSV_COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ordinal": lambda result: result["ordinal"],
    "target": lambda result: result["target"],
    "ip_address": lambda result: result["ip_address"],
    "addresses": lambda result: " ".join(address["address"] for address in result["addresses"]),
    "outcome": lambda result: result["outcome"],
    "error": lambda result: result["error"]["detail"] if result["error"] else "",
    "risk_level": lambda result: result["risk_level"],
    "risk_score": lambda result: result["risk_score"],
    "publicly_exposed": lambda result: "yes" if result["publicly_exposed"] else "no",
    "open_ports": lambda result: " ".join(map(str, result["open_ports"])),
    "findings": lambda result: "; ".join(finding["title"] for finding in result["findings"]),
    "country": lambda result: result["country"],
    "provider": lambda result: result["provider"],
    "service_category": lambda result: result["service_category"],
    "risk_summary": lambda result: result["risk_summary"],
    "recommendation": lambda result: result["recommendation"],
    "finished_at": lambda result: result["finished_at"],
}


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
        yield (",\n" if done else "\n") + _dumped(result)
        done += 1
    yield "\n], " + _dumped(selectors.job_head(job, done=done))[1:] + "\n"


def _ndjson_pieces(job: ScanJob) -> Iterator[str]:
    return (_dumped(result) + "\n" for result in selectors.streamed_results(job))


def _csv_pieces(job: ScanJob) -> Iterator[str]:
    write = csv.writer(_Echo(), quoting=csv.QUOTE_ALL).writerow
    yield write(CSV_COLUMNS)
    for result in selectors.streamed_results(job):
        yield write(_cells(cell(result) for cell in CSV_COLUMNS.values()))


def _cells(values: Iterable[Any]) -> list[str]:
    return ["" if value is None else inert(str(value)) for value in values]


def _dumped(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


class _Echo:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


FORMATS: dict[str, tuple[Callable[[ScanJob], Iterator[str]], str]] = {
    "json": (_json_pieces, "application/json"),
    "ndjson": (_ndjson_pieces, "application/x-ndjson"),
    "csv": (_csv_pieces, "text/csv; charset=utf-8; header=present"),
}
