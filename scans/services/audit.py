"""The audit trail: who did what, when and from where. Rows are added and never changed; the database refuses anything else.

A detail never holds a secret: no password, no API key (its prefix names it), and no name that is not a user's.
"""

from __future__ import annotations

from typing import Any, TypedDict

from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from scans.models import AuditEvent

Action = AuditEvent.Action


class Origin(TypedDict):
    """Who asks, how and from where, in the words that record() takes."""

    actor: User | AnonymousUser | None
    via: str
    address: str | None


COMMAND_LINE = Origin(actor=None, via="command line", address=None)
SYSTEM = Origin(actor=None, via="system", address=None)


def record(
    action: Action, *, actor: User | AnonymousUser | None, via: str, address: str | None, job_token: str = "", **detail: Any
) -> AuditEvent:
    """Add one event, in the caller's transaction: what is rolled back has not happened."""
    is_known = actor is not None and actor.pk is not None
    return AuditEvent.objects.create(
        at=timezone.now(),
        action=action,
        actor_id=actor.pk if actor and is_known else None,
        actor=actor.get_username() if actor and is_known else "",
        via=via,
        address=address,
        job_token=job_token,
        detail=detail,
    )
