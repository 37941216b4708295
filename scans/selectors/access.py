"""Who may know of which jobs: the one place that decides it."""

from __future__ import annotations

import re

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet

from scans.models import ClientKey, DeletedJob, ScanJob, Scope


def visible_jobs(user: User | AnonymousUser) -> QuerySet[ScanJob]:
    """The jobs that somebody may know of, and the one place that decides it: whoever lists, counts or reads asks here."""
    if settings.IS_LOCAL or sees_all_jobs(user):
        return ScanJob.objects.all()
    return ScanJob.objects.filter(owner=user.pk) if user.pk else ScanJob.objects.none()


def sees_all_jobs(user: User | AnonymousUser) -> bool:
    """Staff do, unless they ask with an API key of theirs that was not made for it."""
    key = key_of(user)
    return user.is_active and user.is_staff and (key is None or Scope.ADMIN in key.scopes)


def key_of(user: User | AnonymousUser) -> ClientKey | None:
    """The API key that authenticated this user's request; scans/api/auth.py hangs it on the user."""
    return getattr(user, "client_key", None)


def job_by_token(token: str, user: User | AnonymousUser) -> ScanJob | None:
    """The job, or None: for a stranger's as for a token that never was.

    Text of another form is not even looked up (Postgres refuses NUL).
    """
    if not is_token(token):
        return None
    return visible_jobs(user).filter(token=token).first()


def is_token(text: str) -> bool:
    """Whether the text has a token's form."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def was_deleted(token: str, user: User | AnonymousUser) -> bool:
    """Whether there was such a job that this user may know of; to all others it never was."""
    if not is_token(token):
        return False
    gone = DeletedJob.objects.filter(token=token)
    if settings.IS_LOCAL or sees_all_jobs(user):
        return gone.exists()
    return user.pk is not None and gone.filter(owner=user.pk).exists()
