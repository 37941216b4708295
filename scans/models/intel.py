"""What intelligence sources said, kept until it expires."""

from __future__ import annotations

from django.db import models


class SourceReply(models.Model):
    """One source's answer about one address; all processes share it, staff see and purge it."""

    source = models.CharField(max_length=40)
    address = models.GenericIPAddressField()
    state = models.CharField(max_length=20)
    reason = models.CharField(max_length=255, blank=True)
    facts = models.JSONField(default=dict)
    observed_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = "cached source reply"
        verbose_name_plural = "cached source replies"
        indexes = (models.Index(fields=("expires_at",), name="reply_expiry"),)  # purge
        constraints = (models.UniqueConstraint(fields=("source", "address"), name="reply_once"),)

    def __str__(self) -> str:
        return f"{self.source}: {self.address}"


class SourceHealth(models.Model):
    """How a source is doing, by what every process that asks it has seen."""

    source = models.CharField(max_length=40, unique=True)
    failures = models.PositiveIntegerField(default=0)  # in a row
    parks = models.PositiveIntegerField(default=0)  # refusals for its quota in a row
    blocked_until = models.DateTimeField(null=True, blank=True)
    why_blocked = models.CharField(max_length=255, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)  # the last time
    missed_at = models.DateTimeField(null=True, blank=True)  # the last time that it did not
    last_miss = models.CharField(max_length=255, blank=True)  # what happened then, in words of ours

    class Meta:
        verbose_name = "source's health"
        verbose_name_plural = "health of sources"

    def __str__(self) -> str:
        return self.source
