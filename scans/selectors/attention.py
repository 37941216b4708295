"""What needs a look: the worst hosts of late, each by its latest result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Case, When
from django.db.models.fields.json import KT

from scans.core.types import Level
from scans.models import TargetResult, TargetState
from scans.selectors.access import visible_jobs

RECENT_JOBS = 100  # the newest; what is older than all these is not of late, however few days it was
CANDIDATES = 50
SHOWN = 5
BAD = (Level.CRITICAL, Level.HIGH)
# An expression, since by the bare column SQLite would walk through all bad results there ever were (0.4 s of a million).
_IS_LESS = Case(When(risk_level=Level.CRITICAL, then=0), default=1)
LOOKED_AT = (TargetState.SCANNED, TargetState.DONE)  # a scan that failed, was refused or saw nothing mends nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstHost:
    """A host whose latest result is critical or high."""

    result: TargetResult
    finding: str  # the worst, in the rule's words


def worst_hosts(user: User | AnonymousUser, *, since: datetime) -> list[WorstHost]:
    """A few, the worst first, among the newest jobs that this user may see. Four queries, each by an index."""
    newest = visible_jobs(user).filter(created_at__gte=since).order_by("-created_at", "-id")
    jobs = list(newest.values_list("pk", flat=True)[:RECENT_JOBS])
    rows = TargetResult.objects.filter(job__in=jobs).order_by()
    bad = rows.filter(risk_level__in=[level.value for level in BAD])
    hosts = bad.order_by(_IS_LESS, "-risk_score", "-pk").values_list("host", flat=True)[:CANDIDATES]
    latest: dict[str, tuple[str, int, int]] = {}
    for host, level, score, pk in (
        rows.filter(host__in=list(dict.fromkeys(hosts)), state__in=LOOKED_AT).exclude(risk_level=Level.UNKNOWN)
        .order_by("scanned_at", "pk")
        .values_list("host", "risk_level", "risk_score", "pk")
    ):  # fmt: skip
        latest[host] = (level, score or 0, pk)  # a later one replaces it: what was mended since needs no look
    still_bad = [found for found in latest.values() if found[0] in BAD]
    chosen = [pk for _, _, pk in sorted(still_bad, key=lambda found: (found[0], -found[1], -found[2]))[:SHOWN]]
    found = {host.result.pk: host for host in _with_finding(chosen)}
    return [found[pk] for pk in chosen if pk in found]


def _with_finding(pks: list[int]) -> list[WorstHost]:
    rows = TargetResult.objects.filter(pk__in=pks).select_related("job").annotate(finding=KT("verdict__findings__0__title"))
    rows = rows.only("host", "target", "ordinal", "risk_level", "risk_score", "scanned_at", "job__token", "job__label")
    return [WorstHost(result=row, finding=row.finding or "") for row in rows]
