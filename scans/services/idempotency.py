"""Submitting once, however often the request arrives: a client's `Idempotency-Key` and what became of it.

    INSERT ─ ours ─► job and token in one transaction            ─► Accepted
       └ taken ─► another body                                   ─► IdempotencyMismatchError
                  its token is there                             ─► Accepted, replayed
                  in flight since less than TAKE_OVER            ─► IdempotencyInFlightError
                  in flight for longer, or older than KEPT       ─► one conditional UPDATE makes it ours

The row is inserted first and its UNIQUE constraint decides, so two requests at the same moment cannot both submit. A process
that dies in between leaves a row without a token; `created_at` is then the fence: whoever took the row over has moved
it, and the slow one's token no longer fits, which undoes its job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from scans.models import IdempotencyKey, ScanJob

KEPT = timedelta(hours=24)
TAKE_OVER = timedelta(seconds=60)  # a submission takes well under a second; gunicorn gives up a request after 30


class IdempotencyMismatchError(Exception):
    """The key was used for another body."""


class IdempotencyInFlightError(Exception):
    """The first request with this key has not been answered yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A submission's token, and whether it is that of an earlier request."""

    token: str
    is_replayed: bool


def submit_once(*, owner: int | None, key: str, digest: str, submit: Callable[[], ScanJob]) -> Accepted:
    """Submit, unless a request with this key has done it. Whatever submit() raises frees the key again."""
    owner_key = f"user:{owner}" if owner is not None else ""
    now = timezone.now()
    if not _inserted(owner_key, key, digest, now=now) and (token := _earlier_token(owner_key, key, digest, now=now)):
        return Accepted(token=token, is_replayed=True)
    mine = IdempotencyKey.objects.filter(owner_key=owner_key, key=key, token="", created_at=now)
    try:
        with transaction.atomic():
            job = submit()
            if not mine.update(token=job.token):
                raise IdempotencyInFlightError  # it took so long that another request took over
    except BaseException:
        mine.delete()
        raise
    return Accepted(token=job.token, is_replayed=False)


def body_digest(mode: str, body: Any) -> str:
    """Which bodies count as the same: those with the same values, however they were written down."""
    return hashlib.sha256(f"{mode} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()


def _inserted(owner_key: str, key: str, digest: str, *, now: datetime) -> bool:
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(owner_key=owner_key, key=key, body_digest=digest, created_at=now)
    except IntegrityError:
        return False
    return True


def _earlier_token(owner_key: str, key: str, digest: str, *, now: datetime) -> str:
    """The token of the first request; empty once its row has been taken over."""
    same_key = IdempotencyKey.objects.filter(owner_key=owner_key, key=key)
    is_over = Q(created_at__lt=now - KEPT) | Q(token="", created_at__lt=now - TAKE_OVER)
    if same_key.filter(is_over).update(body_digest=digest, token="", created_at=now):
        return ""
    row = same_key.first()
    if row is None:
        raise IdempotencyInFlightError  # its request failed at this very moment and freed the key: ask again
    if row.body_digest != digest:
        raise IdempotencyMismatchError
    if not row.token:
        raise IdempotencyInFlightError
    return row.token
