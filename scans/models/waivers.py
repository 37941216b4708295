"""Accepted risks: who answers for a finding that is left as it is, why, and until when.

A waiver marks findings wherever they are shown and changes nothing else: evidence, verdict, level and score stay. It
belongs to no job, so that it outlives jobs and holds for the next scan as well.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

MAX_SCOPE_CHARS = 255
MAX_OWNER_CHARS = 100
MAX_REASON_CHARS = 500


class Waiver(models.Model):
    """One accepted risk: a rule, and where it may fire. Written once; withdrawing is the only change there is."""

    rule_id = models.CharField(max_length=20)
    scope = models.CharField(max_length=MAX_SCOPE_CHARS, help_text="An address, a network in CIDR form or a host name")
    port = models.PositiveIntegerField(null=True, help_text="Empty: whichever ports the finding names")
    owner = models.CharField(max_length=MAX_OWNER_CHARS, help_text="Who answers for it")
    reason = models.CharField(max_length=MAX_REASON_CHARS)
    entered_by = models.CharField(max_length=150, blank=True, help_text="The user's name at that time; empty if anonymous")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_by = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "waiver"
        indexes = (  # those in force, which every page with findings asks for
            models.Index(fields=("expires_at",), condition=Q(withdrawn_at=None), name="waiver_in_force"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(port__isnull=True) | Q(port__gte=1, port__lte=65535), name="waiver_port"),
            models.CheckConstraint(condition=Q(expires_at__gt=models.F("created_at")), name="waiver_has_an_end"),
        )

    def __str__(self) -> str:
        return f"{self.rule_id} at {self.scope}" + (f" port {self.port}" if self.port else "")
