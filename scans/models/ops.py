"""What keeps the work going: heartbeats of processes, and budgets that all processes share."""

from __future__ import annotations

import uuid
from typing import Any, Never

from django.db import models


class AppendOnlyError(Exception):
    """Somebody tried to change what has happened."""


class WorkerHeartbeat(models.Model):
    """A living supervisor or slice. A slice's id is the lease on its rows."""

    class Kind(models.TextChoices):
        """What beats."""

        SUPERVISOR = "supervisor"
        SLICE = "slice"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    is_stopping = models.BooleanField(default=False, help_text="A supervisor that wants its slices to hand back their rows")

    class Meta:
        verbose_name = "worker heartbeat"
        indexes = (models.Index(fields=("kind", "-seen_at"), name="heartbeat_seen"),)  # /readyz

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.pid}"


class RateBucket(models.Model):
    """A token bucket that all processes draw from by one conditional UPDATE."""

    name = models.CharField(max_length=60, unique=True)
    tokens = models.FloatField()
    counted_at = models.DateTimeField()

    class Meta:
        verbose_name = "rate bucket"

    def __str__(self) -> str:
        return self.name


class AuditEvent(models.Model):
    """Who did what, when and from where. Append-only, and it outlives its job and its user."""

    class Action(models.TextChoices):
        """What was done."""

        SUBMIT = "submit"
        CANCEL = "cancel"
        RERUN = "rerun"
        DELETE = "delete"
        PURGE = "purge"
        RESCORE = "rescore"
        KEY_CREATED = "key_created"
        KEY_REVOKED = "key_revoked"
        WAIVER_ADDED = "waiver_added"
        WAIVER_WITHDRAWN = "waiver_withdrawn"
        LOGIN = "login"
        LOGIN_FAILED = "login_failed"
        LOGOUT = "logout"

    at = models.DateTimeField()
    action = models.CharField(max_length=20, choices=Action)
    actor_id = models.BigIntegerField(null=True, help_text="The user's id, kept as a number")
    actor = models.CharField(max_length=150, blank=True, help_text="The user's name at that time; empty for anonymous use")
    via = models.CharField(max_length=60, blank=True, help_text="Session, key prefix, command line or system")
    address = models.GenericIPAddressField(null=True)
    job_token = models.CharField(max_length=32, blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name = "audit event"
        ordering = ("-id",)
        indexes = (models.Index(fields=("job_token",), name="audit_job"),)  # who touched this job?

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.action}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Only once. The database itself refuses what comes by other ways (migration 0002)."""
        if self.pk is not None:
            raise AppendOnlyError("An audit event is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        """Never."""
        raise AppendOnlyError("An audit event is never deleted.")
