"""History rated anew: what results would be by other rules, beside the verdict that they have.

A result's own `verdict` is never touched. There is at most one verdict of each result by each ruleset, so a run that was
interrupted goes on where it was, and a second one of the same rules does nothing. `scans/services/rescore.py` writes them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from scans.core.types import Level
from scans.models.jobs import TargetResult

MAX_RULESET_CHARS = 60


class Rescore(models.Model):
    """The rules by which history was rated anew."""

    ruleset = models.CharField(max_length=MAX_RULESET_CHARS, unique=True, help_text="The version that the verdicts name")
    rules = models.TextField(blank=True, help_text="The operator's file as it was; empty for the built-in rules")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True, help_text="When a run last came to its end")

    class Meta:
        verbose_name = "rescore"
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.ruleset


class RescoredVerdict(models.Model):
    """The verdict of one result by these rules, in the shape of the result's own."""

    rescore = models.ForeignKey(Rescore, on_delete=models.CASCADE, related_name="verdicts")
    # The constraint below begins with it, and is its index.
    result = models.ForeignKey(TargetResult, on_delete=models.CASCADE, related_name="rescored", db_index=False)
    risk_level = models.CharField(max_length=10)
    risk_score = models.PositiveSmallIntegerField()
    verdict = models.JSONField()
    rescored_at = models.DateTimeField()

    class Meta:
        verbose_name = "rescored verdict"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("result", "rescore"), name="rescored_once"),
            models.CheckConstraint(
                condition=Q(risk_level__in=[level.value for level in Level]), name="rescored_level_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.risk_level} {self.risk_score}"
