"""What staff type into the search box: a token, an address, or how a label, target or name begins.

The form of the text decides which index is asked; nothing is searched for in the middle of a text.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from django.db.models import Q

from scans.models import ScanJob, TargetAddress, TargetResult

MAX_CHARS = 300


def job_query(text: str) -> Q:
    """The jobs that are meant."""
    if token := _token(text):
        return Q(token=token)
    if address := _address(text):
        return Q(pk__in=TargetAddress.objects.filter(address=address).values("result__job"))
    begins = text[:MAX_CHARS]
    targets = TargetResult.objects.filter(Q(target__startswith=begins) | Q(host__startswith=begins.lower()))
    return Q(label__istartswith=begins) | Q(pk__in=targets.values("job"))


def result_query(text: str) -> Q:
    """The results that are meant."""
    if token := _token(text):
        return Q(job__in=ScanJob.objects.filter(token=token).values("pk"))
    if address := _address(text):
        return Q(pk__in=TargetAddress.objects.filter(address=address).values("result"))
    begins = text[:MAX_CHARS]
    return Q(target__startswith=begins) | Q(host__startswith=begins.lower())


def _token(text: str) -> str | None:
    return text.lower() if re.fullmatch(r"[0-9a-fA-F]{32}", text) else None


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return None
