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
