"""The database behind the core's interfaces: the cache of source replies and the budgets all processes share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, FloatField, Q, Value
from django.db.models.functions import Least

from scans.conf import scanner_options
from scans.core import budgets
from scans.core.budgets import Bucket, Health, Limit, Quota, Refusal, bucket_name
from scans.core.stored import stored_facts
from scans.core.tools import STALE_SECONDS, Answered, Kept, Pace, Tools, as_cached, as_stale
from scans.core.types import IPAddress, SourceResult, SourceState
from scans.models import RateBucket, SourceHealth, SourceReply, clock

STALE = timedelta(seconds=STALE_SECONDS)
SEEN_EVERY = timedelta(seconds=5)  # how exactly it is known when a healthy source answered last


def make_tools(*, stop: threading.Event, pace: Pace | None) -> Tools:
    """The tools of a worker's slice. The probe rate is that of all workers: the slice draws grants (services/budgets.py)."""
    return Tools(options=scanner_options(), cache=DatabaseCache(), budget=DatabaseBudget(), pace=pace, stop=stop)


class DatabaseCache:
    """Source replies in the SourceReply table."""

    def get_many(self, sources: Sequence[str], addresses: Iterable[IPAddress]) -> Answered:
        """The unexpired answers, and as stale ones those whose time has been over for a while, in one query."""
        is_over = ExpressionWrapper(Q(expires_at__lte=clock.ago(timedelta(0))), output_field=BooleanField())
        rows = (
            SourceReply.objects.filter(source__in=sources, address__in=[str(a) for a in addresses])
            .filter(expires_at__gt=clock.ago(timedelta(seconds=STALE_SECONDS)))
            .annotate(is_over=is_over)
        )
        return {
            (row.source, ip_address(row.address)): (as_stale if row.is_over else as_cached)(_result(row)) for row in rows
        }

    def put_many(self, kept: Sequence[Kept]) -> None:
        """Keep answers, in one statement; a newer answer replaces an older one."""
        now = clock.now()  # one that is ahead by a day would keep answers for a day longer
        rows = {
            (one.result.source, one.address): SourceReply(
                source=one.result.source,
                address=str(one.address),
                state=one.result.state,
                reason=one.result.reason,
                facts={name: value for name, value in asdict(one.result.facts).items() if value is not None},
                observed_at=one.result.observed_at or now,
                expires_at=now + timedelta(seconds=one.lifetime_seconds),
            )
            for one in kept
        }
        SourceReply.objects.bulk_create(
            rows.values(),
            update_conflicts=True,
            unique_fields=["source", "address"],
            update_fields=["state", "reason", "facts", "observed_at", "expires_at"],
        )


def _result(row: SourceReply) -> SourceResult:
    return SourceResult(
        source=row.source,
        state=SourceState(row.state),
        reason=row.reason,
        observed_at=row.observed_at,
        facts=stored_facts(row.facts),
    )


class DatabaseBudget:
    """Limits in the RateBucket table, a row for each limit of a source, and health in SourceHealth.

    The rows are locked from reading to saving: otherwise two processes could take the same token.
    """

    def draw(self, source: str, limits: Sequence[Limit]) -> Refusal | None:
        """Take one request's worth. None when granted, otherwise for how long not, and why."""
        names = {bucket_name(source, limit): limit for limit in limits}
        with transaction.atomic():
            rows = _locked_buckets(names)
            now = clock.now().timestamp()  # read once the lock is held
            if refusal := _health(SourceHealth.objects.filter(source=source).first()).refusal(now=now):
                return refusal
            kept = {names[row.name]: Bucket(tokens=row.tokens, counted_at=row.counted_at.timestamp()) for row in rows}
            left, refusal = budgets.draw(kept, now=now)
            for row in rows:
                row.tokens, row.counted_at = _bucket_row(left[names[row.name]]).values()
            RateBucket.objects.bulk_update(rows, ["tokens", "counted_at"])
        return refusal

    def observe(self, source: str, limits: Sequence[Limit], results: Sequence[SourceResult], quota: Quota | None) -> None:
        """What became of one request: the health that all processes see. A healthy source is not written down each time."""
        states, at = [result.state for result in results], clock.now()
        missed = next((result for result in results if result.state not in budgets.ANSWERS), None)
        known = SourceHealth.objects.filter(source=source).first()
        if missed is not None or known is None or _is_news(known, states, quota, at=at):
            _write_health(source, states, quota, missed=missed, at=at)
        if quota and quota.remaining > 0 and limits:
            name = bucket_name(source, min(limits, key=lambda limit: limit.seconds))
            left = Least(F("tokens"), Value(float(quota.remaining), output_field=FloatField()))
            RateBucket.objects.filter(name=name).update(tokens=left)


def _locked_buckets(names: Mapping[str, Limit]) -> list[RateBucket]:
    """A row for each limit, locked until the transaction ends; SQLite's IMMEDIATE locks by itself."""
    locked = RateBucket.objects.select_for_update().filter(name__in=names).order_by("name")
    rows = list(locked)
    if missing := names.keys() - {row.name for row in rows}:
        now = clock.now().timestamp()
        full = [RateBucket(name=name, **_bucket_row(Bucket.full(names[name], now=now))) for name in sorted(missing)]
        RateBucket.objects.bulk_create(full, ignore_conflicts=True)
        rows = list(locked.all())
    return rows


def _is_news(row: SourceHealth, states: Sequence[SourceState], quota: Quota | None, *, at: datetime) -> bool:
    """Whether an answer changes what is written down. Of a healthy source that it answered is known to some seconds."""
    before = _health(row)
    is_old = row.answered_at is None or at - row.answered_at > SEEN_EVERY
    return is_old or budgets.after(before, states, quota, now=at.timestamp()) != before


@transaction.atomic
def _write_health(
    source: str, states: Sequence[SourceState], quota: Quota | None, *, missed: SourceResult | None, at: datetime
) -> None:
    row, _ = SourceHealth.objects.select_for_update().get_or_create(source=source)
    health = budgets.after(_health(row), states, quota, now=at.timestamp())
    if missed is None:
        row.answered_at = at
    else:
        row.missed_at, row.last_miss = at, f"{missed.state}: {missed.reason}"[:255]
    row.failures, row.parks, row.why_blocked = health.failures, health.parks, health.why_blocked
    row.blocked_until = datetime.fromtimestamp(health.blocked_until, UTC) if health.blocked_until else None
    row.save()


def _bucket_row(bucket: Bucket) -> dict[str, Any]:
    return {"tokens": bucket.tokens, "counted_at": datetime.fromtimestamp(bucket.counted_at, UTC)}


def _health(row: SourceHealth | None) -> Health:
    if row is None:
        return Health()
    until = row.blocked_until.timestamp() if row.blocked_until else 0.0
    return Health(failures=row.failures, parks=row.parks, blocked_until=until, why_blocked=row.why_blocked)
