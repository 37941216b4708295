"""Logins: each one, each failure and each lock-out is an audit event.

What is typed into the name field may be a password: only names that users have are ever stored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import user_logged_in, user_logged_out, user_login_failed
from django.contrib.auth.models import User
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from scans.services import audit
from scans.services.access import SESSION, client_address
from scans.services.audit import Action

log = logging.getLogger(__name__)

UNKNOWN = "(unknown)"
MAX_NAME_CHARS = 150  # of a user


def counted_name(request: HttpRequest, credentials: Mapping[str, Any] | None) -> str:
    """Under which name django-axes counts and stores a wrong login: a user's, otherwise a keyed digest of what was typed.

    Names that nobody has are counted like the others, so that being locked out tells nobody which names exist.
    """
    typed = str((credentials or {}).get("username") or "")
    return typed if _is_user(typed) else f"unknown-{salted_hmac('scans.logins', typed).hexdigest()[:32]}"


def _is_user(name: str) -> bool:
    """Whether somebody has this name. Postgres takes no NUL."""
    return 0 < len(name) <= MAX_NAME_CHARS and "\0" not in name and User.objects.filter(username=name).exists()


@receiver(user_logged_in, dispatch_uid="scans.audit.login")
def record_login(request: HttpRequest, user: User, **_: Any) -> None:
    """Somebody came in."""
    audit.record(Action.LOGIN, actor=user, via=SESSION, address=client_address(request))


@receiver(user_logged_out, dispatch_uid="scans.audit.logout")
def record_logout(request: HttpRequest, user: User | None, **_: Any) -> None:
    """Somebody left."""
    if user is not None:
        audit.record(Action.LOGOUT, actor=user, via=SESSION, address=client_address(request))


@receiver(user_login_failed, dispatch_uid="scans.audit.login_failed")
def record_failure(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Somebody did not. Nothing more is written while the name is locked for this address: a flood stays a few rows."""
    is_locked = getattr(request, "axes_locked_out", False)
    if is_locked and getattr(request, "axes_failures_since_start", None) is None:  # it was not counted any more
        return
    typed = str(credentials.get("username") or "")
    name = typed if _is_user(typed) else UNKNOWN
    address = client_address(request) if request else None
    audit.record(Action.LOGIN_FAILED, actor=None, via=SESSION, address=address, name=name, locked=bool(is_locked))
    if is_locked:
        log.warning("logins as %s from %s are locked after too many wrong passwords", name, address)
