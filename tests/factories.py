"""make_job() and make_result(): valid rows with the parts a test cares about, built by the core as a worker builds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import Any
from uuid import UUID, uuid4

from django.db.models import QuerySet
from django.utils import timezone

from ipscanner.version import version
from scans.core import risk, summary
from scans.core.ports import DEFAULT_SERVICES, compact
from scans.core.summary import PROMPT_VERSION
from scans.core.summary.facts import facts_for
from scans.core.targets import parse_target
from scans.core.types import (
    AddressReport,
    Cookie,
    EndOfLife,
    Facts,
    HttpFacts,
    Outcome,
    PortState,
    Probe,
    Report,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    Summary,
    Target,
    TlsFacts,
    Vulnerability,
)
from scans.core.unscanned import failure
from scans.models import JobOutcome, JobState, ModelQuestion, ScanJob, TargetAddress, TargetResult, TargetState
from scans.services.claims import LEASE
from scans.services.results import FINAL_STATE, address_rows, report_columns
from scans.services.specs import spec_from_target
from scans.services.terms import term_rows, write_terms

RESULT_COLUMNS = (
    "evidence",
    "verdict",
    "summary",
    "risk_level",
    "risk_score",
    "open_ports",
    "ip_address",
    "state",
    "scanned_at",
    "finished_at",
)
GERMAN_HOSTING = Facts(
    country="Germany",
    country_code="DE",
    region="State of Berlin",
    city="Berlin",
    isp="Example Carrier AG",
    organisation="Example Hosting GmbH",
    asn=64500,
    as_name="EXAMPLE-HOSTING",
    is_proxy=False,
    is_mobile=False,
    is_hosting=True,
)
SELF_SIGNED = TlsFacts(
    version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    legacy_versions=("TLSv1.1",),
    subject="CN=old-shop.invalid",
    issuer="CN=old-shop.invalid",
    names=("old-shop.invalid", "www.old-shop.invalid"),
    names_count=2,
    not_before=datetime(2026, 1, 5, 8, tzinfo=UTC),
    not_after=datetime(2046, 1, 5, 8, tzinfo=UTC),
    key="RSA 2048",
    signature="sha256",
    fingerprint="7b04e19d" * 8,
    is_self_signed=True,
    is_trusted=False,
    matches_name=None,
    problems=("self-signed",),
)
CARELESS_PAGE = HttpFacts(
    status=200,
    title="Example shop: sign in",
    server="nginx/1.24.0",
    content_type="text/html; charset=utf-8",
    security_headers=(("x-content-type-options", "nosniff"),),
    cookies=(Cookie(name="session", is_secure=False, is_http_only=True),),
    has_password_field=True,
    lists_directory=False,
)
CAREFUL_PAGE = HttpFacts(
    status=301,
    location="https://127.66.0.7/shop",
    redirects=("https://127.66.0.7/shop",),
    last_status=200,
    content_type="text/html",
    security_headers=(
        ("strict-transport-security", "max-age=31536000"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
    ),
    is_encrypted=True,
    is_complete=False,
)
VULNERABILITIES = (
    Vulnerability(
        cve="CVE-2099-0001", named_by=("internetdb", "nvd"), ports=(80,), product="nginx 1.24.0", distribution="Debian",
        cvss=9.8, cvss_by="nvd", epss=0.91234, is_exploited=True, due=date(2026, 12, 9), is_ransomware=True,
    ),
    Vulnerability(cve="CVE-2099-0002", named_by=("internetdb",), epss=0.00043, is_exploited=False),
    Vulnerability(cve="CVE-2099-0003", named_by=("internetdb",)),
)  # fmt: skip
END_OF_LIFE = (
    EndOfLife(
        product="nginx", version="1.24.0", release="1.24", named_by=("the service itself",), since=date(2024, 5, 29),
        ports=(80, 8080), distribution="Debian",
    ),
    EndOfLife(product="Example OS", version="10.2", release="10", named_by=("internetdb",)),
)  # fmt: skip
REASONS = {PortState.OPEN: "syn-ack", PortState.CLOSED: "conn-refused", PortState.FILTERED: "timeout"}


def make_job(*texts: str, **columns: Any) -> ScanJob:
    """A queued job with one pending target for each text."""
    targets = [parse_target(text) for text in texts]
    defaults = {
        "mode": "standard",
        "ports": compact(DEFAULT_SERVICES),
        "submitted": list(texts),
        "created_at": timezone.now(),
    }
    job = ScanJob.objects.create(total_targets=len(targets), **{**defaults, **columns})
    TargetResult.objects.bulk_create(_row(job, ordinal, target) for ordinal, target in enumerate(targets))
    return job


def make_result(report: Report, *, job: ScanJob | None = None, state: str | None = None) -> TargetResult:
    """The row of a scanned target: the job's own row of that target, or the only one of a new, finished job."""
    job = job or make_job(report.target.text)
    row = job.targets.get(key=_digest(report.target))
    now = timezone.now()
    for name, value in report_columns(report, now=now).items():
        setattr(row, name, value)
    row.state = state or FINAL_STATE[report.outcome]
    row.finished_at = None if row.state == TargetState.SCANNED else now
    row.save()
    TargetAddress.objects.bulk_create(address_rows(row.pk, report))
    write_terms(term_rows(row.pk, job.pk, row.evidence, row.verdict))
    if not job.targets.filter(finished_at=None).exists():
        finish(job)
    return row


def lease(rows: QuerySet[TargetResult], by: UUID | None = None) -> UUID:
    """Put targets into work, as a claim does. Returns the lease."""
    lease = by or uuid4()
    rows.update(state=TargetState.LEASED, lease=lease, lease_until=timezone.now() + LEASE, attempts=1)
    return lease


def make_question(row: TargetResult, *, was_sent: bool = True, **columns: Any) -> ModelQuestion:
    """What the model was asked about a result, as a worker writes it down."""
    text = facts_for(row.evidence, row.verdict).text
    columns = {"text": text, "model": "gemini-3.5-flash", "prompt_version": PROMPT_VERSION, **columns}
    return ModelQuestion.objects.create(result=row, was_sent=was_sent, asked_at=timezone.now(), **columns)


def spread(row: TargetResult, rows: QuerySet[TargetResult]) -> None:
    """Give other targets the same result, in one statement."""
    rows.update(**{name: getattr(row, name) for name in RESULT_COLUMNS})


def finish(job: ScanJob, *, outcome: JobOutcome = JobOutcome.COMPLETE) -> None:
    """Close a job."""
    now = timezone.now()
    if job.targets.filter(state__in=["error", "refused"]).exists():
        outcome = JobOutcome.PARTIAL
    job.state, job.outcome, job.started_at, job.finished_at = JobState.COMPLETE, outcome, job.created_at, now
    job.scanner_version = version()
    job.save()


def make_report(text: str, *addresses: AddressReport, words: Summary | None = None) -> Report:
    """A finished scan, rated and put into words by the core; of 127.66.0.1 with nothing open unless told otherwise."""
    target = parse_target(text)
    seen = addresses or (make_address(str(target.address or "127.66.0.1")),)
    verdict = risk.rate(risk.gather(seen))
    now = timezone.now()
    return Report(
        target=target,
        outcome=Outcome.DONE,
        addresses=tuple(seen),
        verdict=verdict,
        summary=words or summary.summarise(target, seen, verdict),
        started_at=now - timedelta(seconds=3),
        finished_at=now,
    )


def make_failure(text: str, code: str = "resolve_failed", error: str = "", *, outcome: Outcome = Outcome.ERROR) -> Report:
    """A target without a result."""
    target = parse_target(text)
    error = error or f"Failed to resolve {target.host}: Name or service not known"
    return failure(target, code, error, started_at=timezone.now(), outcome=outcome)


def make_address(
    address: str = "127.66.0.1",
    *,
    open_ports: Iterable[int] = (),
    filtered: Iterable[int] = (),
    ports: Sequence[int] = tuple(DEFAULT_SERVICES),
    is_global: bool = True,
    sources: Sequence[SourceResult] | None = None,
    services: Sequence[Service] = (),
) -> AddressReport:
    """What was seen at one address: every port is closed that is not named; who has a service there is open."""
    is_open, is_filtered = {*open_ports, *(service.port for service in services)}, frozenset(filtered)
    probes = []
    for port in sorted({*ports, *is_open, *is_filtered}):
        state = PortState.OPEN if port in is_open else PortState.FILTERED if port in is_filtered else PortState.CLOSED
        silent = state is PortState.FILTERED
        probes.append(Probe(port, state, REASONS[state], 2 if silent else 1, None if silent else 12.5))
    said = (make_source(),) if sources is None else tuple(sources)
    return AddressReport(
        address=ip_address(address),
        is_global=is_global,
        probes=tuple(probes),
        sources=said,
        services=tuple(sorted(services, key=lambda service: service.port)),
    )


def make_services() -> tuple[Service, ...]:
    """One of each kind: known with and without a version, open to anyone, over TLS, and the ways not to be known."""
    return (
        make_service(
            22, "SSH", product="OpenSSH", version="9.2p1", cpe="cpe:2.3:a:openbsd:openssh:9.2:p1:*:*:*:*:*:*",
            banner="SSH-2.0-OpenSSH_9.2p1 Debian-2", evidence=r"SSH-2.0-OpenSSH_9.2p1 Debian-2\x0d\x0a",
        ),
        make_service(80, "HTTP", product="nginx", version="1.24.0", http=CARELESS_PAGE, evidence=r"HTTP/1.1 200 OK\x0d\x0a"),
        make_service(443, "HTTP", is_tls=True, tls=SELF_SIGNED, http=CAREFUL_PAGE, evidence=r"HTTP/1.1 301 Moved\x0d\x0a"),
        make_service(502, state=ServiceState.NOT_ASKED, reason="nothing was sent: bytes could do harm on this port"),
        make_service(
            3306, state=ServiceState.UNRECOGNISED, reason="it greets in a way that is not known here",
            banner="J", evidence=r"J\x00\x00\x00\x0a8.0.36",
        ),
        make_service(6379, "Redis", access="PING answered PONG", banner="+PONG", evidence=r"+PONG\x0d\x0a"),
        make_service(8081, reason="it said nothing, whatever was tried"),
    )  # fmt: skip


def make_service(port: int, protocol: str | None = None, **said: Any) -> Service:
    """What stands behind one port: known if a protocol is named, otherwise silent unless told otherwise."""
    state = said.pop("state", ServiceState.IDENTIFIED if protocol else ServiceState.SILENT)
    return Service(port=port, state=state, protocol=protocol, elapsed_ms=said.pop("elapsed_ms", 61), **said)


def make_source(
    state: SourceState = SourceState.OK,
    *,
    reason: str = "",
    facts: Facts = GERMAN_HOSTING,
    is_cached: bool = False,
    observed_at: datetime | None = None,
) -> SourceResult:
    """An answer of ip-api, or why there is none."""
    if state not in (SourceState.OK, SourceState.STALE):
        return SourceResult(source="ip-api", state=state, reason=reason)
    said_at = observed_at or timezone.now()
    return SourceResult(source="ip-api", state=state, reason=reason, observed_at=said_at, is_cached=is_cached, facts=facts)


def _row(job: ScanJob, ordinal: int, target: Target) -> TargetResult:
    spec, key = spec_from_target(target), _digest(target)
    return TargetResult(job=job, ordinal=ordinal, key=key, spec=spec, target=target.text, host=target.host)


def _digest(target: Target) -> str:
    return hashlib.sha256(target.key.encode()).hexdigest()
