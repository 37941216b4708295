"""What goes out, described for OpenAPI. The documents themselves are built by selectors; a test compares the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from scans.core.types import Facts, Level, PortState, ServiceState, SourceState, SummaryState, TargetKind
from scans.models import JobOutcome, JobState, Mode

LEVELS = [str(level) for level in Level]
STATUSES = ["queued", "running", "complete", "failed"]


class AcceptedSerializer(serializers.Serializer[Any]):
    """The reply to a submission: a flat object of strings."""

    token = serializers.CharField()
    status_url = serializers.CharField()
    message = serializers.CharField()


class ProblemItemSerializer(serializers.Serializer[Any]):
    """One bad item."""

    pointer = serializers.CharField(help_text="JSON pointer into the body, or to a parameter", allow_blank=True)
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


# --- A dry run ---------------------------------------------------------------------------------------------------


class RejectedSerializer(serializers.Serializer[Any]):
    """An item that was left out."""

    index = serializers.IntegerField(help_text="Its place: `ip_addresses` first, then `endpoints`")
    pointer = serializers.CharField()
    text = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    reason = serializers.CharField()


class PreviewCountsSerializer(serializers.Serializer[Any]):
    """How many targets, and what the policy says of them."""

    targets = serializers.IntegerField()
    allowed = serializers.IntegerField()
    refused = serializers.IntegerField()
    judged_later = serializers.IntegerField(help_text="Names, whose addresses are not known yet")
    folded = serializers.IntegerField()
    rejected = serializers.IntegerField()


class PolicySerializer(serializers.Serializer[Any]):
    """A decision of the scope policy."""

    allowed = serializers.BooleanField(allow_null=True, help_text="`null`: judged after resolution")
    rule = serializers.CharField(allow_blank=True)
    reason = serializers.CharField()
    remedy = serializers.CharField(allow_blank=True)


class PreviewTargetSerializer(serializers.Serializer[Any]):
    """One target as it would be scanned."""

    text = serializers.CharField()
    kind = serializers.ChoiceField(choices=[str(kind) for kind in TargetKind])
    host = serializers.CharField()
    port = serializers.IntegerField(allow_null=True)
    key = serializers.CharField(help_text="Targets with equal keys fold")
    notes = serializers.ListField(child=serializers.CharField())
    policy = PolicySerializer()


class PreviewSerializer(serializers.Serializer[Any]):
    """What a submission comes to."""

    dry_run = serializers.BooleanField()
    counts = PreviewCountsSerializer()
    ports = serializers.CharField()
    probes = serializers.IntegerField(help_text="Of the targets in scope; a name counts as one address")
    targets = PreviewTargetSerializer(many=True)
    rejected = RejectedSerializer(many=True)
    warnings = serializers.ListField(child=serializers.CharField())


# --- A result ----------------------------------------------------------------------------------------------------


class AccessibilityTestSerializer(serializers.Serializer[Any]):
    """One probed port."""

    port = serializers.IntegerField()
    service = serializers.CharField()
    status = serializers.ChoiceField(choices=["open", "closed"])
    state = serializers.ChoiceField(choices=[str(state) for state in PortState])
    reason = serializers.CharField(allow_blank=True)
    attempts = serializers.IntegerField()
    latency_ms = serializers.FloatField(allow_null=True)


class PlaceSerializer(serializers.Serializer[Any]):
    """Where an address is and who runs it."""

    location = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)
    provider = serializers.CharField(allow_null=True)
    service_category = serializers.CharField(allow_null=True)


class CloudSerializer(serializers.Serializer[Any]):
    """What a cloud's own list says of an address."""

    prefix = serializers.CharField(allow_null=True)
    region = serializers.CharField(allow_null=True)
    service = serializers.CharField()
    service_category = serializers.CharField(allow_null=True)
    possible_services = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="All that the list names it for, if there are several"
    )


class AwsSerializer(CloudSerializer):
    """Of Amazon's list."""

    network_border_group = serializers.CharField(allow_null=True)


class GcpSerializer(CloudSerializer):
    """Of Google's list."""

    scope = serializers.CharField(allow_null=True)


class MetadataSerializer(PlaceSerializer):
    """The same; of an address in Amazon's or Google's cloud, provider and category are the cloud's."""

    aws = AwsSerializer(required=False)
    gcp = GcpSerializer(required=False)


class PortStatesSerializer(serializers.Serializer[Any]):
    """Every tested port by state, compact: `22,80-82`."""

    open = serializers.CharField(allow_blank=True)
    closed = serializers.CharField(allow_blank=True)
    filtered = serializers.CharField(allow_blank=True)
    unreachable = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    not_tested = serializers.CharField(allow_blank=True)
    refused = serializers.CharField(allow_blank=True)


class CookieSerializer(serializers.Serializer[Any]):
    """A cookie that a page offered, without its value."""

    name = serializers.CharField()
    is_secure = serializers.BooleanField()
    is_http_only = serializers.BooleanField()
    same_site = serializers.CharField(allow_null=True)


class TechnologySerializer(serializers.Serializer[Any]):
    """What a page shows that it is made with."""

    name = serializers.CharField()
    version = serializers.CharField(allow_null=True)
    sign = serializers.CharField(help_text="Where it was seen, like `header x-powered-by`")


class HttpSerializer(serializers.Serializer[Any]):
    """What a web server answered; all but `status`, `path`, `location` and `redirects` is of the last page."""

    status = serializers.IntegerField()
    path = serializers.CharField(allow_null=True, help_text="What was asked for: of a URL its own, without secrets")
    location = serializers.CharField(allow_null=True, help_text="Of a redirect, followed or not")
    redirects = serializers.ListField(child=serializers.CharField(), help_text="Followed, to the same address only")
    last_status = serializers.IntegerField(allow_null=True)
    title = serializers.CharField(allow_null=True)
    server = serializers.CharField(allow_null=True)
    powered_by = serializers.CharField(allow_null=True)
    content_type = serializers.CharField(allow_null=True)
    security_headers = serializers.DictField(child=serializers.CharField(), help_text="Those that were sent")
    cookies = CookieSerializer(many=True)
    has_password_field = serializers.BooleanField(allow_null=True)
    lists_directory = serializers.BooleanField(allow_null=True)
    favicon_hash = serializers.IntegerField(
        allow_null=True, help_text="Of `/favicon.ico`: MurmurHash3 of its base64 text, signed, as search engines have it"
    )
    technologies = TechnologySerializer(many=True)
    is_encrypted = serializers.BooleanField()
    is_complete = serializers.BooleanField(help_text="false: cut by a limit or by the deadline")


class TlsSerializer(serializers.Serializer[Any]):
    """What a TLS handshake showed, judged when it was seen."""

    version = serializers.CharField()
    cipher = serializers.CharField()
    legacy_versions = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="TLS 1.0 or 1.1 if accepted; null: could not be asked"
    )
    subject = serializers.CharField(allow_null=True)
    issuer = serializers.CharField(allow_null=True)
    names = serializers.ListField(child=serializers.CharField(), help_text="At most 100 of `names_count`")
    names_count = serializers.IntegerField()
    not_before = serializers.DateTimeField(allow_null=True)
    not_after = serializers.DateTimeField(allow_null=True)
    key = serializers.CharField(allow_null=True)
    signature = serializers.CharField(allow_null=True)
    fingerprint = serializers.CharField(allow_null=True)
    is_self_signed = serializers.BooleanField(allow_null=True)
    is_trusted = serializers.BooleanField(allow_null=True)
    matches_name = serializers.BooleanField(allow_null=True, help_text="null: no name was given")
    problems = serializers.ListField(child=serializers.CharField())
    weaknesses = serializers.ListField(child=serializers.CharField())


class ServiceSerializer(serializers.Serializer[Any]):
    """What stands behind one open port, by its own words; what it did not say is null."""

    port = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(state) for state in ServiceState])
    reason = serializers.CharField(allow_blank=True)
    protocol = serializers.CharField(allow_null=True)
    product = serializers.CharField(allow_null=True)
    version = serializers.CharField(allow_null=True)
    cpe = serializers.CharField(allow_null=True)
    is_tls = serializers.BooleanField()
    banner = serializers.CharField(allow_null=True)
    access = serializers.CharField(allow_null=True, help_text="What was answered without credentials")
    http = HttpSerializer(allow_null=True)
    tls = TlsSerializer(allow_null=True)
    evidence = serializers.CharField(allow_blank=True, help_text="The first bytes, unprintable ones as \\x1b")
    elapsed_ms = serializers.IntegerField(allow_null=True)


class VulnerabilitySerializer(serializers.Serializer[Any]):
    """A CVE that is named for an address because of a version: indicated, and never confirmed."""

    cve = serializers.CharField()
    named_by = serializers.ListField(child=serializers.CharField(), help_text="Sources")
    ports = serializers.ListField(
        child=serializers.IntegerField(), help_text="Of the services whose version it is; none: the source does not say"
    )
    product = serializers.CharField(allow_null=True)
    distribution = serializers.CharField(allow_null=True, help_text="Whose builds carry repairs without a new version")
    cvss = serializers.FloatField(allow_null=True, help_text="0 to 10")
    cvss_by = serializers.CharField(allow_null=True)
    epss = serializers.FloatField(allow_null=True, help_text="0 to 1: how likely it is exploited within 30 days")
    is_exploited = serializers.BooleanField(allow_null=True, help_text="Listed in CISA's KEV; null: that list is not there")
    due = serializers.DateField(allow_null=True, help_text="By which agencies have to act, if it is exploited")
    is_ransomware = serializers.BooleanField(allow_null=True, help_text="true: used by ransomware; null: not known")
    basis = serializers.CharField(help_text="What it rests on: `version match only`")


class EndOfLifeSerializer(serializers.Serializer[Any]):
    """A product in a release that its makers no longer repaired on the day of the scan."""

    product = serializers.CharField()
    version = serializers.CharField()
    release = serializers.CharField()
    named_by = serializers.ListField(child=serializers.CharField(), help_text="Sources, or `the service itself`")
    since = serializers.DateField(allow_null=True)
    ports = serializers.ListField(child=serializers.IntegerField())
    distribution = serializers.CharField(allow_null=True, help_text="Whose builds may be maintained for longer")
    basis = serializers.CharField(help_text="What it rests on: `version match only`")


class AddressSerializer(PlaceSerializer):
    """One address of a target."""

    address = serializers.CharField()
    is_global = serializers.BooleanField()
    open_ports = serializers.ListField(child=serializers.IntegerField())
    answers_everywhere = serializers.BooleanField(
        allow_null=True,
        help_text="Accepts connections on every port, so `open_ports` lists only those where a service was identified; "
        "null: not asked",
    )
    port_states = PortStatesSerializer()
    country_code = serializers.CharField(allow_null=True)
    organisation = serializers.CharField(allow_null=True)
    asn = serializers.IntegerField(allow_null=True)
    as_name = serializers.CharField(allow_null=True)
    network = serializers.CharField(allow_null=True)
    host_names = serializers.ListField(child=serializers.CharField(), allow_null=True, help_text="That lead here and back")
    abuse_contact = serializers.CharField(allow_null=True)
    cloud_provider = serializers.CharField(allow_null=True)
    cloud_service = serializers.CharField(allow_null=True)
    cloud_region = serializers.CharField(allow_null=True)
    services = ServiceSerializer(many=True)
    vulnerabilities = VulnerabilitySerializer(
        many=True, allow_null=True, help_text="The worst first, 100 at most; null: nobody could say"
    )
    end_of_life = EndOfLifeSerializer(many=True, allow_null=True, help_text="null: nobody could say")


_FACT_KINDS: dict[str, Callable[..., serializers.Field[Any, Any, Any, Any]]] = {
    "str | None": serializers.CharField,
    "int | None": serializers.IntegerField,
    "float | None": serializers.FloatField,
    "bool | None": serializers.BooleanField,
    "tuple[str, ...] | None": lambda **said: serializers.ListField(child=serializers.CharField(), **said),
    "tuple[int, ...] | None": lambda **said: serializers.ListField(child=serializers.IntegerField(), **said),
}
_FACT_NOTES = {
    "registered_country": "Of the registration; not a location",
    "host_names": "That lead to the address and back",
    "unconfirmed_names": "That the address leads to, but not back",
    "is_cdn": "What is seen there is the edge's, not the origin's",
    "drop_network": "The network on Spamhaus DROP that holds it, and its listing",
    "policy_lists": "DNS block lists where a listing is no accusation",
    "block_lists": "Files that name it",
    "vendor_flags": "Engines or feeds that flag it",
    "abuse_score": "0 to 100",
    "pulses": "Threat reports that mention it",
    "seen_ports": "By others, when is theirs to know; none of our own probes",
    "seen_cves": "Inferred from versions by others",
}


class FactsSerializer(serializers.Serializer[Any]):
    """What one source knows of an address. Only what it said is there: a field that is missing is no "no"."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """One for each of `Facts`."""
        return {
            known.name: _FACT_KINDS[str(known.type)](required=False, help_text=_FACT_NOTES.get(known.name))
            for known in fields(Facts)
        }


class SourceSerializer(serializers.Serializer[Any]):
    """What became of the question to one source."""

    address = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment] # DRF takes it out of the class
    state = serializers.ChoiceField(choices=[str(state) for state in SourceState])
    reason = serializers.CharField(allow_blank=True)
    observed_at = serializers.DateTimeField(allow_null=True)
    is_cached = serializers.BooleanField()
    contacted = serializers.ListField(child=serializers.CharField(), help_text="Who was told of the address for this answer")
    facts = FactsSerializer()


class WaiverSerializer(serializers.Serializer[Any]):
    """The accepted risk that marks a finding. It changes neither level nor score."""

    id = serializers.IntegerField()
    scope = serializers.CharField(help_text="An address, a network or a host name")
    port = serializers.IntegerField(allow_null=True)
    owner = serializers.CharField(help_text="Who answers for it")
    reason = serializers.CharField()
    entered_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class FindingSerializer(serializers.Serializer[Any]):
    """One rule that fired."""

    rule_id = serializers.CharField()
    title = serializers.CharField()
    points = serializers.IntegerField()
    ports = serializers.ListField(child=serializers.IntegerField())
    evidence = serializers.CharField()
    remediation = serializers.CharField()
    reference = serializers.CharField(allow_blank=True)
    floor = serializers.ChoiceField(choices=LEVELS, allow_null=True)
    waiver = WaiverSerializer(allow_null=True)


class CompletenessSerializer(serializers.Serializer[Any]):
    """How much of what could be known is known."""

    ports_answered = serializers.IntegerField()
    ports_tested = serializers.IntegerField()
    sources_answered = serializers.IntegerField()
    sources_asked = serializers.IntegerField()
    doubts = serializers.ListField(child=serializers.CharField())


class AiSerializer(serializers.Serializer[Any]):
    """Who wrote the words, or why the model did not."""

    state = serializers.ChoiceField(choices=[str(state) for state in SummaryState])
    reason = serializers.CharField(allow_blank=True)
    model = serializers.CharField(allow_null=True)
    citations = serializers.ListField(child=serializers.CharField(), help_text="The rules that the words rely on")
    cited_facts = serializers.ListField(child=serializers.CharField(), help_text="The facts that they rely on: F1, F2 …")
    finish_reason = serializers.CharField(allow_blank=True, help_text="Why the model stopped, in the service's word")
    usage = serializers.DictField(
        child=serializers.IntegerField(), help_text="Of the call, which may be about several targets"
    )


class TargetErrorSerializer(serializers.Serializer[Any]):
    """Why a target has no full result."""

    code = serializers.CharField()
    detail = serializers.CharField(allow_blank=True)


class RescoredSerializer(serializers.Serializer[Any]):
    """The verdict by other rules, from the same evidence."""

    ruleset_version = serializers.CharField()
    rescored_at = serializers.DateTimeField()
    risk_level = serializers.ChoiceField(choices=LEVELS)
    risk_score = serializers.IntegerField()
    findings = FindingSerializer(many=True)


class ResultSerializer(PlaceSerializer):
    """One target."""

    target = serializers.CharField()
    ip_address = serializers.CharField(help_text='"unknown" when the name did not resolve')
    availability = serializers.BooleanField(help_text="At least one port is open")
    publicly_exposed = serializers.BooleanField(help_text="A port is open on a globally reachable address")
    open_ports = serializers.ListField(child=serializers.IntegerField())
    accessibility_tests = AccessibilityTestSerializer(many=True)
    risk_level = serializers.ChoiceField(choices=LEVELS)
    risk_summary = serializers.CharField()
    recommendation = serializers.CharField(allow_null=True)
    metadata = MetadataSerializer()
    testing_techniques = serializers.ListField(child=serializers.CharField())
    schema_version = serializers.IntegerField()
    outcome = serializers.CharField(help_text="`done`, `error`, `refused` or `cancelled`")
    error = TargetErrorSerializer(allow_null=True)
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()
    notes = serializers.ListField(child=serializers.CharField())
    port_states = PortStatesSerializer()
    addresses = AddressSerializer(many=True)
    sources = SourceSerializer(many=True)
    risk_score = serializers.IntegerField()
    ruleset_version = serializers.CharField()
    findings = FindingSerializer(many=True)
    completeness = CompletenessSerializer()
    deterministic_summary = serializers.CharField(allow_null=True)
    ai = AiSerializer()
    rescored = RescoredSerializer(many=True, help_text="By other rules, the newest five at most; the rest stays as it was")


class NumberedResultSerializer(ResultSerializer):
    """One target, with its place in the submission, from 0."""

    ordinal = serializers.IntegerField()


# --- A job -------------------------------------------------------------------------------------------------------


class ProgressSerializer(serializers.Serializer[Any]):
    """How far the job has come."""

    done = serializers.IntegerField()
    total = serializers.IntegerField()
    percent = serializers.IntegerField()


class JobSerializer(serializers.Serializer[Any]):
    """A job."""

    token = serializers.CharField()
    total_targets = serializers.IntegerField()
    completed_targets = serializers.IntegerField()
    status = serializers.ChoiceField(choices=STATUSES, help_text="`failed`: cancelled")
    mode = serializers.ChoiceField(choices=Mode.values)
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(choices=JobState.values)
    outcome = serializers.ChoiceField(choices=JobOutcome.values, allow_null=True)
    progress = ProgressSerializer()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment] # DRF takes it out of the class
    tags = serializers.ListField(child=serializers.CharField())
    owner = serializers.CharField(allow_null=True)
    scanner_version = serializers.CharField(
        allow_null=True, help_text="Of the program that stored its last result; null until then, and where none was kept"
    )
    rerun_of = serializers.CharField(allow_null=True, help_text="Token of the job whose targets it scans again")


class LevelsSerializer(serializers.Serializer[Any]):
    """How many targets have which level; a level that none has is left out."""

    critical = serializers.IntegerField(required=False)
    high = serializers.IntegerField(required=False)
    medium = serializers.IntegerField(required=False)
    low = serializers.IntegerField(required=False)
    unknown = serializers.IntegerField(required=False)


class ListedJobSerializer(JobSerializer):
    """A job in a list."""

    levels = LevelsSerializer()


@extend_schema_serializer(many=False)  # the page is an object, and not what `list` makes the generator expect
class JobListSerializer(serializers.Serializer[Any]):
    """A page of jobs, newest first."""

    scans = ListedJobSerializer(many=True, help_text="May be empty on any page: of so many jobs none matches")
    next = serializers.CharField(allow_null=True, help_text="The next page; null on the last one, and only there")


class JobDocumentSerializer(JobSerializer):
    """A job and the results so far, in the order submitted."""

    results = ResultSerializer(many=True)
    schema_version = serializers.IntegerField()
    eta_seconds = serializers.IntegerField(allow_null=True)
    ports = serializers.CharField()
    rejected = RejectedSerializer(many=True)
    warnings = serializers.ListField(child=serializers.CharField())


class JobExportSerializer(JobDocumentSerializer):
    """A job and its results, each with its ordinal."""

    results = NumberedResultSerializer(many=True)


class ResultListSerializer(serializers.Serializer[Any]):
    """A page of results, in the order submitted."""

    token = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)
    total_targets = serializers.IntegerField()
    results = NumberedResultSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page; null on the last one")


class EgressSerializer(serializers.Serializer[Any]):
    """One host that learned of targets of the job."""

    host = serializers.CharField(help_text="With its port, or the system's resolver")
    source = serializers.CharField(  # type: ignore[assignment] # DRF takes it out of the class
        help_text="The source of intelligence that asked; `names` for the names of targets, `model` for the model's words"
    )
    tells = serializers.CharField(help_text="What kind of data went there, in words")
    count = serializers.IntegerField(help_text="How many addresses, names or targets, each as often as it was told")
    first_at = serializers.DateTimeField(help_text="When the first result was stored that it took part in")
    last_at = serializers.DateTimeField()


class EgressListSerializer(serializers.Serializer[Any]):
    """Who was told about a job's targets, so far. Answers that came from the cache told nobody."""

    token = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)
    egress = EgressSerializer(many=True)


class PromptSerializer(serializers.Serializer[Any]):
    """What the model was told about one target."""

    ordinal = serializers.IntegerField()
    target = serializers.CharField(help_text="As submitted; the model was not told")
    model = serializers.CharField()
    prompt_version = serializers.IntegerField()
    was_sent = serializers.BooleanField(help_text="`false`: the same question had an answer already, and nothing left")
    asked_at = serializers.DateTimeField()
    text = serializers.CharField(help_text="JSON, word for word; of a call about several targets this one's part")


class PromptListSerializer(serializers.Serializer[Any]):
    """A page of them, in the order submitted."""

    token = serializers.CharField()
    prompt_version = serializers.IntegerField(help_text="Of the instruction")
    instruction = serializers.CharField(help_text="What goes with every question of this version")
    prompts = PromptSerializer(many=True)
    next = serializers.CharField(allow_null=True, help_text="The next page; null on the last one")


class HealthSerializer(serializers.Serializer[Any]):
    """A probe's answer."""

    status = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField(), required=False)
