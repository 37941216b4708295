"""What OpenAPI says of each operation: parameters, every reply, examples. viewsets.py holds what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from scans.api import documents as out
from scans.api import serializers as into

PROBLEM = "application/problem+json"
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 # an example
HEADER: Final[Literal["header"]] = "header"
Handler = TypeVar("Handler", bound=Callable[..., Any])
REASONS = {
    400: "Not JSON, or an API key in the address",
    401: "No key, or one that is not valid",
    403: "The key lacks the scope, or the session's CSRF token is missing",
    404: "There is no such job, or it is somebody else's",
    409: "The job's state does not allow it, or the first request with this Idempotency-Key is not answered yet",
    410: "The job has been deleted",
    411: "The body came in chunks, without a Content-Length",
    413: "The body is too large",
    415: "Not application/json",
    422: "Bad input: `errors` names each with a pointer",
    429: "Too many requests, or too much open already; `Retry-After` says when to come back",
    503: "The database did not answer, or no new jobs are taken right now",
}
ALWAYS = (400, 401, 403, 429, 503)
MESSAGE = "Scan accepted. Poll the status endpoint for results."
ACCEPTED = {"token": TOKEN, "status_url": f"/scan/{TOKEN}", "message": MESSAGE}
PREVIEW = {
    "dry_run": True,
    "counts": {"targets": 1, "allowed": 0, "refused": 1, "judged_later": 0, "folded": 0, "rejected": 0},
    "ports": "22",
    "probes": 0,
    "targets": [
        {
            "text": "10.0.0.1",
            "kind": "ip",
            "host": "10.0.0.1",
            "port": None,
            "key": "ip|10.0.0.1|||",
            "notes": [],
            "policy": {
                "allowed": False,
                "rule": "private",
                "reason": "10.0.0.1 is a private address.",
                "remedy": "Set SCAN_ALLOW_NETWORKS=10.0.0.1, or networks that hold it, to allow it.",
            },
        }
    ],
    "rejected": [],
    "warnings": [],
}
JOB = {
    "token": TOKEN,
    "total_targets": 4,
    "completed_targets": 0,
    "status": "queued",
    "mode": "standard",
    "started_at": "2026-01-31T12:00:00.000Z",
    "finished_at": None,
    "state": "queued",
    "outcome": None,
    "progress": {"done": 0, "total": 4, "percent": 0},
    "label": "Office",
    "tags": ["weekly"],
    "owner": "alice",
    "scanner_version": None,
    "rerun_of": None,
}
DOCUMENT = JOB | {
    "results": [],
    "schema_version": 1,
    "eta_seconds": None,
    "ports": "22,80",
    "rejected": [],
    "warnings": [],
}
PROBLEMS: dict[int, dict[str, Any]] = {
    404: {"title": "Not Found", "code": "not_found", "detail": "Token not found."},
    409: {"title": "Conflict", "code": "conflict", "detail": "The job is final: there is nothing left to cancel."},
    410: {"title": "Gone", "code": "deleted", "detail": "This job has been deleted."},
    422: {
        "title": "Unprocessable Entity",
        "code": "invalid_input",
        "detail": "The submission was refused; nothing was stored.",
        "errors": [
            {
                "pointer": "/ip_addresses/1",
                "code": "bad_address",
                "detail": "203.0.113.300 is not an address: the last part is larger than 255.",
            }
        ],
    },
}


def problems(*codes: int) -> dict[Any, OpenApiResponse]:
    """These errors, and those that any operation may answer."""
    return {(code, PROBLEM): _problem(code) for code in sorted({*codes, *ALWAYS})}


def _problem(code: int) -> OpenApiResponse:
    examples = []
    if code in PROBLEMS:
        value = {"type": "about:blank", "status": code, **PROBLEMS[code]}
        examples = [OpenApiExample(str(code), value, response_only=True, status_codes=[code])]
    return OpenApiResponse(out.ProblemSerializer, description=REASONS[code], examples=examples)


def sent(name: str, text: str, *codes: int) -> OpenApiParameter:
    """A header of the replies with these codes."""
    return OpenApiParameter(name, str, HEADER, description=text, response=list(codes))


PATH_TOKEN = OpenApiParameter(
    "token", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, OpenApiParameter.PATH, description="The job's token"
)


def _examples(*named: tuple[str, Any], codes: Iterable[int] = (200,)) -> list[OpenApiExample]:
    return [OpenApiExample(name, value, response_only=True, status_codes=[str(c) for c in codes]) for name, value in named]


LOCATION = sent("Location", "Where the job is read", 202)
RETRY_AFTER = sent("Retry-After", "Seconds after which it is worth asking again", 202)
NEXT_LINK = sent("Link", 'The next page, rel="next"; absent on the last one', 200)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[ -~]{1,255}$"},
    HEADER,
    description="A text of your choice: a repetition within 24 hours answers as the first request did and scans nothing.",
)
SUBMISSION_EXAMPLES = [
    OpenApiExample("Addresses and names", {"ip_addresses": ["127.0.0.1"], "endpoints": ["localhost"]}, request_only=True),
    OpenApiExample(
        "Chosen ports, no model",
        {"ip_addresses": ["127.0.0.0/30"], "ports": "22,80,8000-8100", "generate_ai_summary": False},
        request_only=True,
    ),
    OpenApiExample(
        "A list that may hold mistakes, and words to find it again",
        {
            "endpoints": ["127.0.0.1", "no address, no name"],
            "ports": "top100",
            "on_invalid": "skip",
            "label": "Office",
            "tags": ["weekly"],
        },
        request_only=True,
    ),
    OpenApiExample("What would it do?", {"ip_addresses": ["10.0.0.1"], "dry_run": True}, request_only=True),
    *_examples(("Nothing stored", PREVIEW)),
    *_examples(("Accepted", ACCEPTED), codes=[202]),
]


def submission(operation_id: str) -> Callable[[Handler], Handler]:
    """POST /scan and /ai-agent."""
    return extend_schema(
        operation_id=operation_id,
        request=into.SubmissionSerializer,
        parameters=[
            IDEMPOTENCY_KEY,
            LOCATION,
            RETRY_AFTER,
            sent("Link", 'The job\'s page, rel="alternate"', 202),
            sent("Idempotent-Replayed", "`true`: the answer of an earlier request with this key", 202),
        ],
        responses={
            200: OpenApiResponse(out.PreviewSerializer, description="The answer to `dry_run`; nothing was stored"),
            202: OpenApiResponse(out.AcceptedSerializer, description="Stored and queued; poll `Location`"),
            **problems(409, 411, 413, 415, 422),
        },
        examples=SUBMISSION_EXAMPLES,
    )


LIST = extend_schema(
    operation_id="scans_list",
    parameters=[into.JobListQuery, NEXT_LINK],
    responses={200: out.JobListSerializer, **problems(422)},
    examples=_examples(("One job", {"scans": [JOB | {"levels": {"high": 1, "low": 3}}], "next": None})),
)
READ = extend_schema(
    operation_id="scan_read",
    parameters=[
        PATH_TOKEN,
        into.ReadQuery,
        OpenApiParameter("If-None-Match", str, HEADER, description="An `ETag`: 304 while the job is still at it"),
        sent("ETag", "The job's version", 200, 304),
        sent("Retry-After", "Seconds after which it is worth asking again; absent once the job is final", 200, 304),
    ],
    responses={
        200: OpenApiResponse(out.JobDocumentSerializer, description="Progress, and the results so far"),
        304: OpenApiResponse(description="The job has not changed"),
        **problems(404, 410, 422),
    },
    examples=_examples(("Queued", DOCUMENT)),
)
CANCEL = extend_schema(
    operation_id="scan_cancel",
    parameters=[PATH_TOKEN],
    request=None,
    responses={202: OpenApiResponse(out.AcceptedSerializer, description="Cancelled"), **problems(404, 409, 410)},
    examples=_examples(("Cancelled", ACCEPTED | {"message": "Scan cancelled. What was found is kept."}), codes=[202]),
)
RERUN = extend_schema(
    operation_id="scan_rerun",
    request=None,
    parameters=[PATH_TOKEN, into.RerunQuery, LOCATION, RETRY_AFTER],
    responses={202: OpenApiResponse(out.AcceptedSerializer, description="A new job"), **problems(404, 409, 410, 422)},
    examples=_examples(("Accepted", ACCEPTED), codes=[202]),
)
DELETE = extend_schema(
    operation_id="scan_delete",
    parameters=[PATH_TOKEN],
    responses={204: OpenApiResponse(description="Gone, now or before"), **problems(404)},
)
RESULTS = extend_schema(
    operation_id="scan_results",
    parameters=[PATH_TOKEN, into.ResultListQuery, NEXT_LINK],
    responses={200: out.ResultListSerializer, **problems(404, 410, 422)},
)
EGRESS = extend_schema(
    operation_id="scan_egress",
    parameters=[PATH_TOKEN],
    responses={200: out.EgressListSerializer, **problems(404, 410)},
)

PROMPTS = extend_schema(
    operation_id="scan_prompts",
    parameters=[PATH_TOKEN, into.PromptListQuery, NEXT_LINK],
    responses={200: out.PromptListSerializer, **problems(404, 410, 422)},
)


def export(operation_id: str, media_type: str, reply: Any) -> Callable[[Handler], Handler]:
    """The three exports."""
    return extend_schema(
        operation_id=operation_id,
        parameters=[PATH_TOKEN, sent("Content-Disposition", "An attachment with a safe name", 200)],
        responses={(200, media_type): reply, **problems(404, 410)},
    )


EXPORT_JSON = export("scan_export_json", "application/json", out.JobExportSerializer)
EXPORT_NDJSON = export("scan_export_ndjson", "application/x-ndjson", OpenApiTypes.STR)
EXPORT_CSV = export("scan_export_csv", "text/csv", OpenApiTypes.STR)
