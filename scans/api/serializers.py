"""Bodies in and documents out. The documents are built by selectors; their serializers describe them for OpenAPI."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from scans.core.ports import PortError, parse_ports
from scans.core.types import Level, PortState, SourceState, SummaryState
from scans.models import AiChoice, JobOutcome, JobState, Mode
from scans.services.jobs import ScanRequest, SubmittedItem

MAX_NAMED_UNKNOWN = 20


class TextField(serializers.CharField):
    """A JSON string; a number is not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        """The stripped text."""
        if not isinstance(data, str):
            raise serializers.ValidationError(f"A target is text, not {type(data).__name__}.", code="not_text")
        return str(super().to_internal_value(data))


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}},
            {"type": "string", "example": "22,80,8000-8100"},
        ]
    }
)
class PortsField(serializers.Field):  # type: ignore[type-arg]
    """A list of ports, text like "22,80,8000-8100", or a profile's name."""

    def to_internal_value(self, data: Any) -> tuple[int, ...]:
        """Ascending ports."""
        try:
            return parse_ports(data)
        except PortError as error:
            raise serializers.ValidationError(str(error), code="bad_ports") from error

    def to_representation(self, value: Any) -> Any:
        """Never sent back as given."""
        return value


class ScanRequestSerializer(serializers.Serializer[Any]):
    """The body of a submission."""

    ip_addresses = serializers.ListField(
        child=TextField(),
        required=False,
        allow_null=True,
        help_text="Addresses, CIDRs and ranges; names and URLs are taken too.",
    )
    endpoints = serializers.ListField(
        child=TextField(), required=False, allow_null=True, help_text="Host names and URLs; addresses are taken too."
    )
    generate_ai_summary = serializers.BooleanField(required=False, help_text="Whether Gemini explains the verdict.")
    ports = PortsField(required=False, help_text="Which ports; a URL's own port is always added.")

    def scan_request(self, mode: Mode) -> ScanRequest:
        """The validated body as a request to the service."""
        data = self.validated_data
        return ScanRequest(
            items=tuple(
                SubmittedItem(pointer=f"/{field}/{index}", text=text)
                for field in ("ip_addresses", "endpoints")
                for index, text in enumerate(data.get(field) or ())
            ),
            mode=mode,
            ai=_ai_choice(data.get("generate_ai_summary"), mode),
            warnings=tuple(_unknown_fields(self.initial_data, self.fields)),
            **({"ports": data["ports"]} if "ports" in data else {}),
        )


def _ai_choice(asked: bool | None, mode: Mode) -> AiChoice:
    """Said yes, said no, or said nothing; the AI endpoint says yes by itself."""
    if asked is None:
        return AiChoice.ASKED if mode == Mode.AI else AiChoice.DEFAULT
    return AiChoice.ASKED if asked else AiChoice.OFF


def _unknown_fields(body: Any, known: Any) -> list[str]:
    unknown = [str(name)[:60] for name in body if name not in known]
    shown = ", ".join(repr(name) for name in unknown[:MAX_NAMED_UNKNOWN])
    return [f"Unknown fields were ignored: {shown}"] if unknown else []


class AcceptedSerializer(serializers.Serializer[Any]):
    """The reply to a submission: a flat object of strings."""

    token = serializers.CharField()
    status_url = serializers.CharField()
    message = serializers.CharField()


class ProblemItemSerializer(serializers.Serializer[Any]):
    """One bad item."""

    pointer = serializers.CharField(help_text="JSON pointer into the body")
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    errors = ProblemItemSerializer(many=True, required=False)  # type: ignore[assignment] # DRF takes it out of the class


class AccessibilityTestSerializer(serializers.Serializer[Any]):
    """One probed port."""

    port = serializers.IntegerField()
    service = serializers.CharField()
    status = serializers.ChoiceField(choices=["open", "closed"])
    state = serializers.ChoiceField(choices=[str(state) for state in PortState])
    attempts = serializers.IntegerField()
    latency_ms = serializers.FloatField(allow_null=True)


class MetadataSerializer(serializers.Serializer[Any]):
    """Where the address is and who runs it."""

    location = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)
    provider = serializers.CharField(allow_null=True)
    service_category = serializers.CharField(allow_null=True)


class SourceSerializer(serializers.Serializer[Any]):
    """What became of the question to one source."""

    source = serializers.CharField()  # type: ignore[assignment] # likewise
    state = serializers.ChoiceField(choices=[str(state) for state in SourceState])
    reason = serializers.CharField(allow_blank=True)
    observed_at = serializers.DateTimeField(allow_null=True)
    is_cached = serializers.BooleanField()


class ResultSerializer(serializers.Serializer[Any]):
    """One target."""

    target = serializers.CharField()
    ip_address = serializers.CharField(help_text='"unknown" when the name did not resolve')
    availability = serializers.BooleanField(help_text="At least one port is open")
    publicly_exposed = serializers.BooleanField(help_text="A port is open on a globally reachable address")
    open_ports = serializers.ListField(child=serializers.IntegerField())
    accessibility_tests = AccessibilityTestSerializer(many=True)
    location = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)
    provider = serializers.CharField(allow_null=True)
    service_category = serializers.CharField(allow_null=True)
    metadata = MetadataSerializer()
    testing_techniques = serializers.ListField(child=serializers.CharField())
    risk_level = serializers.ChoiceField(choices=[str(level) for level in Level])
    risk_score = serializers.IntegerField()
    risk_summary = serializers.CharField()
    recommendation = serializers.CharField(allow_null=True)
    outcome = serializers.CharField()
    port_states = serializers.DictField(child=serializers.CharField(allow_blank=True))
    addresses = serializers.ListField(child=serializers.DictField())
    sources = SourceSerializer(many=True)
    findings = serializers.ListField(child=serializers.DictField())
    completeness = serializers.DictField()
    ruleset_version = serializers.CharField()
    ai = serializers.DictField(help_text=f"state: {', '.join(SummaryState)}; reason; model")
    schema_version = serializers.IntegerField()


class ProgressSerializer(serializers.Serializer[Any]):
    """How far the job has come."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()
    percent = serializers.IntegerField()


class ScanDocumentSerializer(serializers.Serializer[Any]):
    """A job and the results so far, in the order submitted."""

    token = serializers.CharField()
    total_targets = serializers.IntegerField()
    completed_targets = serializers.IntegerField()
    status = serializers.ChoiceField(choices=[*JobState.values, "failed"])
    mode = serializers.ChoiceField(choices=Mode.values)
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    results = ResultSerializer(many=True)
    schema_version = serializers.IntegerField()
    state = serializers.CharField()
    outcome = serializers.ChoiceField(choices=JobOutcome.values, allow_null=True)
    progress = ProgressSerializer()
    eta_seconds = serializers.IntegerField(allow_null=True)
    ports = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())


class HealthSerializer(serializers.Serializer[Any]):
    """A probe's answer."""

    status = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField(), required=False)
