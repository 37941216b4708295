"""What staff type into the search box: a token, an address, or how a label, a name or a URL begins.

The form of the text decides which index is asked; nothing is searched for in the middle of a text.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import BooleanField, F, Func, Q, QuerySet

from scans.models import ScanJob, TargetAddress, TargetResult
from scans.selectors.history import targets_beginning

MAX_CHARS = 300


def job_query(text: str) -> Q:
    """The jobs that are meant."""
    if token := _token(text):
        return Q(token=token)
    if address := _address(text):
        return _at(address, seen="result__job", meant="job")
    return Q(label__istartswith=text[:MAX_CHARS]) | Q(pk__in=targets_beginning(text[:MAX_CHARS]).values("job"))


def result_query(text: str) -> Q:
    """The results that are meant."""
    if token := _token(text):
        return Q(job__in=ScanJob.objects.filter(token=token).values("pk"))
    if address := _address(text):
        return _at(address, seen="result", meant="pk")
    return _among(targets_beginning(text[:MAX_CHARS]))


def _among(results: QuerySet[TargetResult]) -> Q:
    """These, found before any row is read: Postgres would else go through all results for each page, from the newest on."""
    keys = results.order_by().values("pk")
    if connection.vendor != "postgresql":
        return Q(pk__in=keys)
    is_any = {"arg_joiner": " = ANY(", "template": "(%(expressions)s))"}
    return Q(Func(F("pk"), ArraySubquery(keys), output_field=BooleanField(), **is_any))


def _at(address: str, *, seen: str, meant: str) -> Q:
    """Scanned at this address or refused for it, or submitted as it and still waiting."""
    was_seen = TargetAddress.objects.filter(address=address).values(seen)
    waits = TargetResult.objects.filter(host=address).order_by().values(meant)
    return Q(pk__in=was_seen.union(waits))  # of two conditions joined by OR, Postgres would use neither's index


def _token(text: str) -> str | None:
    return text.lower() if re.fullmatch(r"[0-9a-fA-F]{32}", text) else None


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return None
