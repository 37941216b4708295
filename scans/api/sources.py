"""GET /sources.json: what is known of every intelligence source, as on the page /sources."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scans import selectors
from scans.api.operations import problems
from scans.conf import scanner_options
from scans.core.intel.base import KeyUse
from scans.selectors.sources import (
    MAX_COUNTED,
    QuotaLeft,
    SourceDoing,
    SourceFile,
    SourceStatus,
    product_files,
    source_statuses,
)


class QuotaSerializer(serializers.Serializer[Any]):
    """What is left under one limit of a source."""

    requests = serializers.FloatField()
    seconds = serializers.FloatField()
    left = serializers.IntegerField(help_text="Of a limit of a minute or less: how many may follow one another now")
    resets_at = serializers.DateTimeField(allow_null=True, help_text="null: it grows back all the time")


class SourceFileSerializer(serializers.Serializer[Any]):
    """A list or database on the machine that answers."""

    name = serializers.CharField()
    title = serializers.CharField()
    is_here = serializers.BooleanField()
    is_built_in = serializers.BooleanField(help_text="It comes with the program")
    arrived_at = serializers.DateTimeField(allow_null=True)


class SourceStatusSerializer(serializers.Serializer[Any]):
    """One source. Its key is never told."""

    name = serializers.CharField()
    title = serializers.CharField()
    gives = serializers.CharField(help_text="What it knows")
    terms = serializers.CharField(help_text="What its terms ask")
    tells = serializers.CharField(help_text="Who is told what")
    is_remote = serializers.BooleanField(help_text="false: it is read on this machine")
    is_on = serializers.BooleanField()
    why = serializers.CharField(help_text="Why it is on or off, and by which setting")
    key = serializers.ChoiceField(choices=[str(use) for use in KeyUse])
    has_key = serializers.BooleanField()
    state = serializers.ChoiceField(choices=[str(doing) for doing in SourceDoing])
    failures = serializers.IntegerField(help_text="In a row")
    blocked_until = serializers.DateTimeField(allow_null=True)
    why_blocked = serializers.CharField(allow_blank=True)
    answered_at = serializers.DateTimeField(allow_null=True)
    missed_at = serializers.DateTimeField(allow_null=True, help_text="When it did not answer, the last time")
    last_error = serializers.CharField(allow_null=True, help_text="For staff; to others null")
    quotas = QuotaSerializer(many=True)
    cached_answers = serializers.IntegerField(help_text=f"At most {MAX_COUNTED:,} are counted")
    lifetime_seconds = serializers.IntegerField(allow_null=True)
    empty_lifetime_seconds = serializers.IntegerField(allow_null=True, help_text="Of the answer that nothing is known")
    files = SourceFileSerializer(many=True)


class SourcesSerializer(serializers.Serializer[Any]):
    """All sources, in the order in which they are believed."""

    is_offline = serializers.BooleanField(help_text="OFFLINE=1 is set: none is asked over the network")
    sources = SourceStatusSerializer(many=True)
    files = SourceFileSerializer(many=True, help_text="Lists of what is known against products")


class SourcesView(APIView):
    """What is known of the sources."""

    @extend_schema(
        tags=["sources"],
        operation_id="sources",
        responses={200: OpenApiResponse(SourcesSerializer, description="Every source, on or off"), **problems()},
    )
    def get(self, request: Request) -> Response:
        """Whether each source is on, how it is doing and what is left of its quota."""
        may_see_errors = settings.IS_LOCAL or selectors.sees_all_jobs(request.user)
        found = [_source(source, may_see_errors=may_see_errors) for source in source_statuses()]
        files = [_file(file) for file in product_files()]
        body = {"is_offline": scanner_options().intel.offline, "sources": found, "files": files}
        return Response(body, headers={"Cache-Control": "private, no-store"})


def _source(source: SourceStatus, *, may_see_errors: bool) -> dict[str, Any]:
    named = ("name", "title", "gives", "terms", "tells", "is_remote", "is_on", "why", "has_key", "failures", "blocked_until",
             "why_blocked", "answered_at", "missed_at", "lifetime_seconds", "empty_lifetime_seconds")  # fmt: skip
    return {name: getattr(source, name) for name in named} | {
        "key": str(source.key),
        "state": str(source.doing),
        "last_error": (source.last_miss or None) if may_see_errors else None,
        "cached_answers": source.cached,
        "quotas": [_quota(quota) for quota in source.quotas],
        "files": [_file(file) for file in source.files],
    }


def _quota(quota: QuotaLeft) -> dict[str, Any]:
    limit = quota.limit
    return {"requests": limit.requests, "seconds": limit.seconds, "left": quota.left, "resets_at": quota.resets_at}


def _file(file: SourceFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in ("name", "title", "is_here", "is_built_in", "arrived_at")}
