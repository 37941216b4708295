"""The words by which a result is found again: taken from what is stored of it, written in the transaction of its report."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from scans.models import TargetResult, TargetState, TermKind, term_value

MAX_TERMS = 200  # of one result
MAX_CERT_NAMES = 50  # among them
REINDEX_ROWS = 200  # read at a time, and written in one transaction of some hundredths of a second
PAUSE_SECONDS = 0.02  # between them: SQLite's busy handler is unfair, and other writers would hardly get a turn
_WITH_FINDINGS = (TargetState.SCANNED, TargetState.DONE)
_COMMON_NAME = re.compile(r"(?:^|,)CN=([^,+\\]+)(?=[,+]|$)")  # of a subject as RFC 4514 writes it

Json = Mapping[str, Any]
Term = tuple[str, str]  # kind and value
Row = tuple[int, int, str, str]  # of a result and its job


def result_terms(evidence: Json, verdict: Json) -> list[Term]:
    """The terms of a result, each once: findings first, then services, then the names of certificates."""
    services = [service for address in evidence["addresses"] for service in address.get("services", ())]
    names = (name for service in services for name in _cert_names(service.get("tls") or {}))
    said = chain(
        ((TermKind.FINDING, finding["rule_id"]) for finding in verdict["findings"]),
        (term for service in services for term in _service_terms(service)),
        islice(dict.fromkeys((TermKind.CERT, name) for name in names), MAX_CERT_NAMES),
    )
    terms = dict.fromkeys((kind.value, term_value(kind, text)) for kind, text in said)
    return list(islice((term for term in terms if term[1]), MAX_TERMS))


def term_rows(result_id: int, job_id: int, evidence: Json, verdict: Json) -> list[Row]:
    """The same as they are written."""
    return [(result_id, job_id, kind, value) for kind, value in result_terms(evidence, verdict)]


def write_terms(rows: Sequence[Row]) -> None:
    """Store them; of those that are there already nothing. The caller knows that the results are there, and holds them.

    All in one parameter: a row costs 7 microseconds on SQLite, where a statement for each costs 21; on Postgres a fifth.
    """
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_INSERT[connection.vendor], [json.dumps(rows)])


_INSERT = {
    vendor: f"INSERT INTO scans_resultterm (result_id, job_id, kind, value) SELECT {source} ON CONFLICT DO NOTHING"
    for vendor, source in {
        # Without WHERE its ON would be a join's. The operators that are shorter came with SQLite 3.38.
        "sqlite": ", ".join(f"json_extract(value, '$[{n}]')" for n in range(4)) + " FROM json_each(%s) WHERE true",
        "postgresql": "(row->>0)::bigint, (row->>1)::bigint, row->>2, row->>3 FROM json_array_elements(%s::json) AS row",
    }.items()
}


def _service_terms(service: Json) -> Iterator[tuple[TermKind, str]]:
    """HTTP inside TLS is found as HTTPS as well, and whatever showed a handshake as TLS."""
    if protocol := service.get("protocol"):
        yield TermKind.SERVICE, protocol
    if "tls" in service:
        yield TermKind.SERVICE, "TLS"
        if protocol == "HTTP":
            yield TermKind.SERVICE, "HTTPS"
    if product := service.get("product"):
        yield TermKind.PRODUCT, f"{product} {service.get('version') or ''}"


def _cert_names(tls: Json) -> Iterator[str]:
    """Those that a certificate is for. Of one that names none, its subject's: no browser takes it, people look for it."""
    yield from tls.get("names", ())
    if not tls.get("names"):
        yield from _COMMON_NAME.findall(tls.get("subject") or "")[:1]


# --- Results of earlier versions -------------------------------------------------------------------------------------


def reindex() -> Iterator[int]:
    """Make all results findable that are not, from the newest on; yields how many were looked at after each commit.

    May be repeated, interrupted, and run while all else runs. What is there already is left as it is.
    """
    columns = ("pk", "job_id", "evidence", "verdict", "state")
    # By number alone, and what is not wanted passed over here: asked for by state, SQLite would sort all results each time.
    newest_first: QuerySet[TargetResult, Any] = TargetResult.objects.order_by("-pk").values_list(*columns)
    last: int | None = None
    while rows := list((newest_first.filter(pk__lt=last) if last else newest_first)[:REINDEX_ROWS]):
        _add([term for *row, state in rows if state in _WITH_FINDINGS for term in term_rows(*row)])
        last = rows[-1][0]
        yield len(rows)
        time.sleep(PAUSE_SECONDS)


def _add(rows: Sequence[Row]) -> None:
    """Write those of results that are still there: a purge may have taken some meanwhile."""
    with transaction.atomic():
        results = TargetResult.objects.filter(pk__in={result_id for result_id, *_ in rows}).order_by("pk")
        if connection.features.has_select_for_no_key_update:
            results = results.select_for_update(no_key=True)
        there = set(results.values_list("pk", flat=True))
        write_terms([row for row in rows if row[0] in there])
