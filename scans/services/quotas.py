"""Quotas: how much one key, one session or one address may ask for in a window of time. The counters are rows, so all
processes share them.

A key and a browser session each have the whole rate; all keys and the session of one user together have twice as
much. So one runaway program leaves its owner room, and more keys do not give more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from scans.models import RateBucket
from scans.selectors import key_of
from scans.services.access import client_address

PREFIX = "quota:"  # the other buckets of the table are the sources'
SHARE_OF_ALL = 2
FORGOTTEN_AFTER = timedelta(days=2)  # longer than the longest window


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What is left of the tightest quota, after this request."""

    is_granted: bool
    limit: int
    remaining: int
    resets_in_seconds: int


def draw(kind: str, request: HttpRequest, *, user: User | AnonymousUser) -> Allowance | None:
    """Take one request's worth; what is left is kept on the request, for the reply's headers.

    A refused request costs nothing. None where the installation sets no limit.
    """
    if (rate := settings.QUOTAS[kind]) is None:
        return None
    count, seconds = rate
    limits = {f"{PREFIX}{kind}:{who}": count * share for who, share in _askers(user, client_address(request)).items()}
    allowance = _draw(limits, window=timedelta(seconds=seconds))
    request.allowance = allowance  # type: ignore[attr-defined]
    return allowance


def _askers(user: User | AnonymousUser, address: str | None) -> dict[str, int]:
    """Whose quotas a request draws on, each with its share of the rate."""
    if user.pk is None:
        return {f"address:{_network(address)}": 1}
    key = key_of(user)
    return {f"key:{key.prefix}" if key else f"session:{user.pk}": 1, f"user:{user.pk}": SHARE_OF_ALL}


def _network(address: str | None) -> str:
    """An IPv6 client owns its whole /64."""
    if address is None or ip_address(address).version == 4:
        return address or "unknown"
    return str(ip_network((address, 64), strict=False))


def _draw(limits: Mapping[str, int], *, window: timedelta) -> Allowance:
    """One from each bucket or from none. They are locked in one order, so that two requests cannot wait in a circle."""
    with transaction.atomic():
        found = [_locked(name, limits[name]) for name in sorted(limits)]
        now = timezone.now()  # once the locks are held: whoever held them before was earlier
        buckets = [bucket for bucket, _ in found]
        for bucket in buckets:
            if abs(now - bucket.counted_at) >= window:  # another host's clock may be a little ahead
                bucket.tokens, bucket.counted_at = limits[bucket.name], now
        is_granted = all(bucket.tokens >= 1 for bucket in buckets)
        if is_granted:
            for bucket in buckets:
                bucket.tokens -= 1
            RateBucket.objects.bulk_update(buckets, ["tokens", "counted_at"])
    if any(is_new for _, is_new in found):
        _forget(before=now - FORGOTTEN_AFTER)
    tightest = min(buckets, key=lambda bucket: (bucket.tokens, -bucket.counted_at.timestamp()))
    return Allowance(
        is_granted=is_granted,
        limit=limits[tightest.name],
        remaining=max(0, int(tightest.tokens)),
        resets_in_seconds=max(1, math.ceil((tightest.counted_at + window - now).total_seconds())),
    )


def _locked(name: str, limit: int) -> tuple[RateBucket, bool]:
    """The bucket, and whether it is new. SQLite's IMMEDIATE transactions lock by themselves."""
    full = {"tokens": limit, "counted_at": timezone.now()}
    return RateBucket.objects.select_for_update().get_or_create(name=name, defaults=full)


def _forget(*, before: datetime) -> None:
    """Drop the counters of addresses that have not come back; those of users and keys stay few."""
    RateBucket.objects.filter(name__startswith=PREFIX, name__contains=":address:", counted_at__lt=before).delete()
