"""The database behind the core's interfaces: the cache of source replies and the budgets all processes share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from ipaddress import ip_address

from django.db import transaction
from django.db.models import F, FloatField, Q, Value
from django.db.models.functions import Least

from scans.conf import scanner_options
from scans.core.tools import BURST, Pace, Tools
from scans.core.types import Facts, IPAddress, SourceResult, SourceState
from scans.models import RateBucket, SourceReply, clock

AHEAD = timedelta(seconds=5)  # a count further ahead was written while the database's clock was wrong, and is forgotten


def make_tools(*, stop: threading.Event, pace: Pace | None) -> Tools:
    """The tools of a worker's slice. The probe rate is that of all workers: the slice draws grants (services/budgets.py)."""
    return Tools(options=scanner_options(), cache=DatabaseCache(), budget=DatabaseBudget(), pace=pace, stop=stop)


class DatabaseCache:
    """Source replies in the SourceReply table."""

    def get_many(self, source: str, addresses: Iterable[IPAddress]) -> Mapping[IPAddress, SourceResult]:
        """The unexpired answers, in one query."""
        rows = SourceReply.objects.filter(
            source=source, address__in=[str(a) for a in addresses], expires_at__gt=clock.ago(timedelta(0))
        )
        return {ip_address(row.address): _result(row) for row in rows}

    def put_many(self, results: Mapping[IPAddress, SourceResult], *, lifetime_seconds: Mapping[IPAddress, int]) -> None:
        """Keep answers, in one statement; a newer answer replaces an older one."""
        now = clock.now()  # one that is ahead by a day would keep answers for a day longer
        rows = [
            SourceReply(
                source=result.source,
                address=str(address),
                state=result.state,
                reason=result.reason,
                facts={name: value for name, value in asdict(result.facts).items() if value is not None},
                observed_at=result.observed_at or now,
                expires_at=now + timedelta(seconds=lifetime_seconds[address]),
            )
            for address, result in results.items()
        ]
        SourceReply.objects.bulk_create(
            rows,
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
        is_cached=True,
        facts=Facts(**row.facts),
    )


class DatabaseBudget:
    """Token buckets in the RateBucket table, one row a source.

    The row is locked from reading to saving: otherwise two processes could take the same token.
    """

    def draw(self, source: str, *, per_minute: float) -> float:
        """Take one request's worth. 0.0 when granted, otherwise the seconds until it is worth asking again."""
        RateBucket.objects.get_or_create(name=source, defaults={"tokens": BURST, "counted_at": clock.now()})
        with transaction.atomic():
            bucket = RateBucket.objects.select_for_update().get(name=source)  # SQLite's IMMEDIATE locks by itself
            # Read once the lock is held, and never going back: time that is counted twice grows its tokens twice.
            now = clock.now()
            counted_at = min(bucket.counted_at, now + AHEAD)
            now = max(now, counted_at)
            if bucket.blocked_until and bucket.blocked_until > now:
                return (bucket.blocked_until - now).total_seconds()
            grown = (now - counted_at).total_seconds() * per_minute / 60
            tokens = min(BURST, bucket.tokens + grown)
            is_granted = tokens >= 1
            bucket.tokens, bucket.counted_at = tokens - is_granted, now
            bucket.save(update_fields=["tokens", "counted_at"])
        return 0.0 if is_granted else (1 - tokens) * 60 / per_minute

    def observe(self, source: str, *, remaining: int, resets_in_seconds: float) -> None:
        """Never believe to have more than the source says is left; at nothing left, wait for its reset."""
        rows = RateBucket.objects.filter(name=source)
        if remaining > 0:
            rows.update(tokens=Least(F("tokens"), Value(float(remaining), output_field=FloatField())))
            return
        until = clock.now() + timedelta(seconds=resets_in_seconds)
        rows.filter(Q(blocked_until__isnull=True) | Q(blocked_until__lt=until)).update(tokens=0.0, blocked_until=until)
