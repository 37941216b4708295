"""What keeps the work going: heartbeats of processes, and budgets that all processes share."""

from __future__ import annotations

import uuid

from django.db import models


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
    blocked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "rate bucket"

    def __str__(self) -> str:
        return self.name
