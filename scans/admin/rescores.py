"""History rated anew: by which rules, and what came of each result."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from scans.admin.base import ReadOnlyAdmin
from scans.admin.jobs import LevelFilter
from scans.models import Rescore, RescoredVerdict


@admin.register(Rescore)
class RescoreAdmin(ReadOnlyAdmin):
    """Which rules; `manage.py rescore --forget` deletes what they made."""

    list_display = ("ruleset", "started_at", "finished_at")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rescore]:
        """Without the rules, which the page of one reads then."""
        return super().get_queryset(request).defer("rules")


@admin.register(RescoredVerdict)
class RescoredVerdictAdmin(ReadOnlyAdmin):
    """Verdicts, one a result and ruleset."""

    list_display = ("result", "risk_level", "risk_score", "rescore", "rescored_at")
    list_filter = (LevelFilter,)
    list_select_related = ("result", "rescore")
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RescoredVerdict]:
        """Without the JSON; of the result only what names it."""
        parts = ("spec", "partial", "evidence", "verdict", "summary")
        return super().get_queryset(request).defer("verdict", "rescore__rules", *(f"result__{name}" for name in parts))
