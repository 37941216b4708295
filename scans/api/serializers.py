"""Bodies and parameters in. What goes out is built by selectors and described in documents.py."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request

from scans.api.errors import BadQueryError, flat_errors, pointer_to
from scans.api.pagination import DEFAULT_LIMIT, JOB_CURSOR, MAX_LIMIT, RESULT_CURSOR
from scans.api.waiting import MAX_WAIT_SECONDS
from scans.core.ports import PROFILES, PortError, parse_ports
from scans.core.targets import unmap
from scans.core.text import clean_text
from scans.core.types import Level
from scans.models import MAX_LABEL_CHARS, MAX_TAG_CHARS, AiChoice, JobOutcome, JobState, Mode, TermKind
from scans.selectors import JobFilters, ResultFilters
from scans.services.jobs import ScanRequest, SubmittedItem

MAX_ITEMS = 10_000  # in a list of targets, however few of them can be read; a job's own limit is lower
MAX_NAMED_UNKNOWN = 20
MAX_TAGS = 20
MAX_TEXT_CHARS = 200
TARGET_OUTCOMES = ("done", "error", "refused", "cancelled")


# --- Fields ------------------------------------------------------------------------------------------------------


@extend_schema_field({"type": "string", "maxLength": 2048, "example": "127.0.0.1"})
class TargetField(serializers.Field):  # type: ignore[type-arg]
    """A JSON string, handed on as it is: one place judges what may be in a target, and it is not this one."""

    def to_internal_value(self, data: Any) -> str:
        """The text."""
        if not isinstance(data, str):
            raise serializers.ValidationError(f"A target is text, not {type(data).__name__}.", code="not_text")
        return data

    def to_representation(self, value: Any) -> Any:
        """Never sent back as given."""
        return value


class LineField(serializers.CharField):
    """A JSON string that becomes one line of plain text; a number is not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        """The text."""
        if not isinstance(data, str):
            raise serializers.ValidationError(f"This is text, not {type(data).__name__}.", code="not_text")
        return str(super().to_internal_value(data))

    def run_validation(self, data: Any = empty) -> str:
        """The text without what cannot be shown. NUL and lone surrogates are no text at all: DRF refuses them."""
        text = clean_text(super().run_validation(data), limit=self.max_length or MAX_TEXT_CHARS)
        if not text and not self.allow_blank:
            self.fail("blank")
        return text


@extend_schema_field(
    {
        "oneOf": [
            {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}, "minItems": 1},
            {"type": "string", "pattern": r"^\s*\d{1,5}(\s*-\s*\d{1,5})?\s*(,\s*\d{1,5}(\s*-\s*\d{1,5})?\s*)*$"},
            {"type": "string", "enum": list(PROFILES)},
        ],
        "example": "22,80,8000-8100",
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


@extend_schema_field({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "example": "127.0.0.1"})
class AddressField(serializers.Field):  # type: ignore[type-arg]
    """One IPv4 or IPv6 address."""

    def to_internal_value(self, data: Any) -> str:
        """The address as it is stored."""
        try:
            address = ip_address(data)
        except ValueError as error:
            raise serializers.ValidationError("This is not an address.", code="bad_address") from error
        if getattr(address, "scope_id", None) is not None:
            raise serializers.ValidationError("A zone id is no part of an address.", code="zone_id")
        return str(unmap(address))

    def to_representation(self, value: Any) -> Any:
        """Never sent back as given."""
        return value


class TargetList(serializers.ListField):
    """Targets as text. A list that is far too long is refused before its items are looked at, one error each."""

    child = TargetField()

    def to_internal_value(self, data: Any) -> list[str]:
        """The stripped texts."""
        if isinstance(data, list) and len(data) > MAX_ITEMS:
            text = f"The list holds {len(data):,} items; {MAX_ITEMS:,} are the most: split it into several jobs."
            raise serializers.ValidationError(text, code="too_many")
        found: list[str] = super().to_internal_value(data)
        return found


# --- The body of a submission ------------------------------------------------------------------------------------


class SubmissionSerializer(serializers.Serializer[Any]):
    """The body of a submission."""

    ip_addresses = TargetList(
        required=False,
        allow_null=True,
        help_text="Addresses, CIDRs and ranges; names and URLs are taken too.",
    )
    endpoints = TargetList(required=False, allow_null=True, help_text="Host names and URLs; addresses are taken too.")
    generate_ai_summary = serializers.BooleanField(required=False, help_text="Whether Gemini explains the verdict.")
    ports = PortsField(
        required=False,
        help_text=f"A list, text, or a profile: {', '.join(PROFILES)}. A URL's own port is always added.",
    )
    label = LineField(  # type: ignore[assignment] # DRF takes it out of the class
        required=False, allow_blank=True, max_length=MAX_LABEL_CHARS, help_text="By which people know the job."
    )
    tags = serializers.ListField(
        child=LineField(max_length=MAX_TAG_CHARS),
        required=False,
        max_length=MAX_TAGS,
        help_text="Words by which the job is found again.",
    )
    on_invalid = serializers.ChoiceField(
        choices=["reject", "skip"],
        required=False,
        help_text="`reject` (default): one bad item refuses the whole. `skip`: the rest is scanned, `rejected` lists them.",
    )
    dry_run = serializers.BooleanField(
        required=False, help_text="Store and scan nothing: answer 200 with the targets and what the policy says of each."
    )

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return bool(self.validated_data.get("dry_run"))

    def scan_request(self, mode: Mode, **origin: Any) -> ScanRequest:
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
            label=data.get("label", ""),
            tags=tuple(dict.fromkeys(data.get("tags", ()))),
            skip_invalid=data.get("on_invalid") == "skip",
            warnings=tuple(_unknown_fields(self.initial_data, self.fields)),
            **({"ports": data["ports"]} if "ports" in data else {}),
            **origin,
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


# --- Parameters of an address ------------------------------------------------------------------------------------


class QuerySerializer(serializers.Serializer[Any]):
    """Parameters. A misspelt filter that went unnoticed would answer more than was asked for, so it is an error."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """The checked parameters. Raises BadQueryError."""
        query = request.query_params
        serializer = cls(data=query.dict())
        errors = [
            *_named(set(query) - set(serializer.fields), "unknown", "There is no such parameter."),
            *_named((name for name in query if len(query.getlist(name)) > 1), "repeated", "It is given more than once."),
        ]
        try:
            serializer.is_valid(raise_exception=True)
        except serializers.ValidationError as error:
            errors += flat_errors(error.get_full_details())
        if errors:
            raise BadQueryError(errors)
        return dict(serializer.validated_data)


class LimitField(serializers.IntegerField):
    """How many entries a page holds."""

    def __init__(self) -> None:
        super().__init__(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="How many a page holds.")


# Spelt out: what white space is, a schema's regular expressions and Python's do not agree upon.
NOT_BLANK = r"[^\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


class TextFilter(serializers.RegexField):
    """What a text has to be like. One of white space alone would ask for nothing, and the schema says so."""

    def __init__(self, *, max_length: int, help_text: str) -> None:
        super().__init__(NOT_BLANK, required=False, max_length=max_length, help_text=help_text)


class TermFilter(serializers.RegexField):
    """What was found: a text by which results are found again. One without a letter or digit would ask for nothing."""

    def __init__(self, help_text: str) -> None:
        super().__init__("[A-Za-z0-9]", required=False, max_length=MAX_TEXT_CHARS, help_text=help_text)
        self.error_messages["invalid"] = "Name it by at least one letter or digit."


class JobListQuery(QuerySerializer):
    """GET /scans."""

    limit = LimitField()
    cursor = serializers.RegexField(JOB_CURSOR, required=False, help_text="Where the page begins; take the `next` link.")
    state = serializers.ChoiceField(choices=JobState.values, required=False)
    outcome = serializers.ChoiceField(choices=JobOutcome.values, required=False)
    mode = serializers.ChoiceField(choices=Mode.values, required=False)
    risk = serializers.ChoiceField(
        choices=[str(level) for level in Level], required=False, help_text="At least one target has this level."
    )
    label = TextFilter(max_length=MAX_LABEL_CHARS, help_text="How the label begins.")  # type: ignore[assignment] # likewise
    tag = TextFilter(max_length=MAX_TAG_CHARS, help_text="One of the job's tags.")
    owner = TextFilter(max_length=150, help_text="A user's name; for staff only.")
    address = AddressField(required=False, help_text="An address that a target was scanned at.")
    q = TextFilter(max_length=MAX_TEXT_CHARS, help_text="How the text of a target begins.")
    service = TermFilter("A target speaks this language at a port: `redis`, `https`, `tls`.")
    product = TermFilter("How product and version of a target's service begin: `nginx 1.2`.")
    cert = TermFilter("A name that a certificate of a target is for; `*.example.org`: any below it.")
    finding = TermFilter("A rule that fired, by its id, or how its title begins.")
    created_after = serializers.DateTimeField(required=False, help_text="At this time or later.")
    created_before = serializers.DateTimeField(required=False, help_text="Before this time.")

    @staticmethod
    def filters(checked: dict[str, Any]) -> JobFilters:
        """The filters among checked parameters."""
        names = {"q": "text"}
        return JobFilters(
            **{names.get(name, name): value for name, value in checked.items() if name not in ("limit", "cursor")}
        )


class ResultListQuery(QuerySerializer):
    """GET /scan/<token>/results."""

    limit = LimitField()
    cursor = serializers.RegexField(RESULT_CURSOR, required=False, help_text="Where the page begins; take the `next` link.")
    risk = serializers.ChoiceField(choices=[str(level) for level in Level], required=False)
    outcome = serializers.ChoiceField(choices=TARGET_OUTCOMES, required=False)
    service = TermFilter("These four as in the list of jobs.")
    product = TermFilter("How product and version begin.")
    cert = TermFilter("A name of a certificate.")
    finding = TermFilter("A rule that fired.")

    @staticmethod
    def filters(checked: dict[str, Any]) -> ResultFilters:
        """The filters among checked parameters."""
        wanted = {kind.value: checked[kind.value] for kind in TermKind if kind.value in checked}
        return ResultFilters(risk=checked.get("risk"), outcome=checked.get("outcome"), wanted=wanted)


class PromptListQuery(QuerySerializer):
    """GET /scan/<token>/prompts."""

    limit = LimitField()
    cursor = serializers.RegexField(RESULT_CURSOR, required=False, help_text="Where the page begins; take the `next` link.")


class ReadQuery(QuerySerializer):
    """GET /scan/<token>."""

    wait = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_WAIT_SECONDS,
        default=0,
        help_text="Seconds to wait for a change before the answer.",
    )


class RerunQuery(QuerySerializer):
    """POST /scan/<token>/rerun."""

    only = serializers.ChoiceField(
        choices=["failed"], required=False, help_text="`failed`: only the targets without a full result."
    )


def _named(names: Iterable[str], code: str, detail: str) -> list[dict[str, str]]:
    return [{"pointer": pointer_to(name), "code": code, "detail": detail} for name in sorted(names)]
