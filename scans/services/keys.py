"""API keys: made, found, used, revoked. The key itself exists in the reply that shows it and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from scans.core.text import clean_text
from scans.models import KEY_PREFIX, ClientKey, Scope
from scans.services import audit
from scans.services.audit import Action, Origin

DEFAULT_SCOPES = (Scope.READ, Scope.SCAN)
MAX_NAME_CHARS = 50
MAX_KEYS = 100  # usable ones of one owner
USE_NOTED_EVERY = timedelta(minutes=1)  # a program that polls would otherwise write as often as it reads
_FORM = re.compile(rf"{KEY_PREFIX}[A-Za-z0-9]{{8}}\.[A-Za-z0-9]{{32}}")


class KeyRefusedError(ValueError):
    """The key cannot be made as asked for; the text says why."""


def create_key(
    owner: User, *, name: str, scopes: Sequence[str], expires_at: datetime | None, origin: Origin
) -> tuple[ClientKey, str]:
    """A new key and its text, which is not stored. Raises KeyRefusedError."""
    name = clean_text(name, limit=MAX_NAME_CHARS).strip()
    refuse_bad(owner, name=name, scopes=scopes, expires_at=expires_at)
    chosen = [str(scope) for scope in Scope if scope in scopes]
    expires = expires_at.isoformat(timespec="seconds") if expires_at else None
    with transaction.atomic():
        key = ClientKey(owner=owner, name=name, scopes=chosen, expiry_date=expires_at)
        text = ClientKey.objects.assign_key(key)
        key.save()
        audit.record(
            Action.KEY_CREATED, **origin, prefix=key.prefix, name=name, owner=owner.pk, scopes=chosen, expires=expires
        )
    return key, text


def refuse_bad(owner: User, *, name: str, scopes: Sequence[str], expires_at: datetime | None) -> None:
    """Raise KeyRefusedError for what cannot be made."""
    if not name:
        raise KeyRefusedError("Give the key a name, so that you know later what uses it.")
    if unknown := [scope for scope in scopes if scope not in Scope.values]:
        raise KeyRefusedError(f"There is no scope {unknown[0]!r}: choose from {', '.join(Scope.values)}.")
    if not scopes:
        raise KeyRefusedError(f"Choose at least one scope: {', '.join(Scope.values)}.")
    if Scope.ADMIN in scopes and not owner.is_staff:
        raise KeyRefusedError(f"The scope admin is for staff, and {owner.get_username()} is not.")
    if expires_at is not None and expires_at <= timezone.now():
        raise KeyRefusedError("The key would already have expired.")
    if not owner.is_active:
        raise KeyRefusedError(f"The account {owner.get_username()} is not active.")
    if keys_of(owner).filter(revoked=False).count() >= MAX_KEYS:
        raise KeyRefusedError(f"There are {MAX_KEYS} keys already: revoke one that nothing uses.")


@transaction.atomic
def revoke_key(key: ClientKey, *, origin: Origin) -> bool:
    """End a key for good. False if it had been revoked before."""
    if not ClientKey.objects.filter(pk=key.pk, revoked=False).update(revoked=True):
        return False
    audit.record(Action.KEY_REVOKED, **origin, prefix=key.prefix, name=key.name, owner=key.owner_id)
    return True


def keys_of(owner: User) -> QuerySet[ClientKey]:
    """Somebody's keys, newest first."""
    found: QuerySet[ClientKey] = ClientKey.objects.filter(owner=owner)
    return found


def valid_key(text: str) -> ClientKey | None:
    """The key with this text, if it may be used now. What does not look like a key is not even looked up."""
    if not _FORM.fullmatch(text):
        return None
    try:
        key: ClientKey = ClientKey.objects.get_from_key(text)
    except ClientKey.DoesNotExist:
        return None
    return key if key.owner.is_active and not key.has_expired else None


def note_use(key: ClientKey) -> None:
    """Remember that a key was used, at most once a minute."""
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at <= now - USE_NOTED_EVERY:
        ClientKey.objects.filter(pk=key.pk).update(last_used_at=now)
