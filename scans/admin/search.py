"""What staff type into the search box: a token, an address, or how a label, a name or a URL begins.

The form of the text decides which index is asked; nothing is searched for in the middle of a text.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from django.db.models import Q, QuerySet

from scans.models import ScanJob, TargetAddress, TargetResult

MAX_CHARS = 300


def job_query(text: str) -> Q:
    """The jobs that are meant."""
    if token := _token(text):
        return Q(token=token)
    if address := _address(text):
        return Q(pk__in=TargetAddress.objects.filter(address=address).values("result__job")) | _named(text, "job")
    return Q(label__istartswith=text[:MAX_CHARS]) | _named(text, "job")


def result_query(text: str) -> Q:
    """The results that are meant."""
    if token := _token(text):
        return Q(job__in=ScanJob.objects.filter(token=token).values("pk"))
    if address := _address(text):
        return Q(pk__in=TargetAddress.objects.filter(address=address).values("result")) | _named(text, "pk")
    return _named(text, "pk")


def _named(text: str, column: str) -> Q:
    """Those whose host begins so, which has an index; for a URL, of these the ones that begin so as a whole."""
    scheme, found, rest = text[:MAX_CHARS].rpartition("://")
    host = re.split(r"[/:?#]", rest)[0] if found else rest
    rows: QuerySet[TargetResult] = TargetResult.objects.filter(host__startswith=host.strip("[]").lower())
    return Q(pk__in=(rows.filter(target__startswith=text[:MAX_CHARS]) if scheme else rows).values(column))


def _token(text: str) -> str | None:
    return text.lower() if re.fullmatch(r"[0-9a-fA-F]{32}", text) else None


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return None
