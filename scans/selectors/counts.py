"""Sums of the daily counts: how often something was so in a period, among the jobs that somebody may see.

Folded and fresh rows are read in one statement, which sees one moment: a fold in between moves rows and changes no sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet, Sum

from scans.models import EVERYBODY, CountKind, DailyCount
from scans.selectors.access import sees_all_jobs

Key = tuple[str, str]  # kind and value


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Over a period, by kind and value."""

    n: Counter[Key]
    milliseconds: Counter[Key]

    def of(self, kind: CountKind) -> dict[str, int]:
        """The values of one kind, the most frequent first."""
        found = {value: n for (of_kind, value), n in self.n.items() if of_kind == kind}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def counted_owner(user: User | AnonymousUser) -> int | None:
    """Whose counts somebody may see: everybody's, one's own, or None; as selectors.visible_jobs() decides it for jobs."""
    if settings.IS_LOCAL or sees_all_jobs(user):
        return EVERYBODY
    return user.pk


def count_sums(owner: int | None, kinds: Iterable[CountKind], *, since: date) -> Sums:
    """What was counted from this day on; one query."""
    n: Counter[Key] = Counter()
    milliseconds: Counter[Key] = Counter()
    for kind, value, some, some_ms in _grouped(owner, kinds, since, ("kind", "value")):
        n[kind, value] += some
        milliseconds[kind, value] += some_ms
    return Sums(n=n, milliseconds=milliseconds)


def count_by_day(owner: int | None, kinds: Iterable[CountKind], *, since: date) -> Mapping[date, Counter[Key]]:
    """The same day by day, without the days on which nothing was counted; one query."""
    days: dict[date, Counter[Key]] = {}
    for day, kind, value, some, _ in _grouped(owner, kinds, since, ("day", "kind", "value")):
        days.setdefault(day, Counter())[kind, value] += some
    return days


def _grouped(
    owner: int | None, kinds: Iterable[CountKind], since: date, columns: tuple[str, ...]
) -> QuerySet[DailyCount, tuple]:  # type: ignore[type-arg] # the columns are the caller's
    """The sums of the folded rows and, as rows of their own, those of the fresh ones."""
    if owner is None:
        return DailyCount.objects.none().values_list(*columns, "n", "milliseconds")
    rows = DailyCount.objects.filter(kind__in=[kind.value for kind in kinds], day__gte=since).order_by()
    folded, fresh = rows.filter(owner=owner, is_folded=True), rows.filter(is_folded=False)
    if owner != EVERYBODY:  # a fresh row belongs to one owner; only a fold adds it to everybody's sum
        fresh = fresh.filter(owner=owner)
    sums = {"total": Sum("n"), "total_ms": Sum("milliseconds")}
    return folded.values_list(*columns).annotate(**sums).union(fresh.values_list(*columns).annotate(**sums), all=True)
