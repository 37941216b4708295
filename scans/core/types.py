"""The frozen values that travel between the stages.

    Target ─► Probe… ─► AddressReport ─► Verdict ─► Summary ─► Report
              Service… ─────┤             Finding ─┘
              SourceResult ─┘

A stage returns a new value and edits none. Missing is not false: None means "did not say".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class TargetKind(StrEnum):
    """What the user wrote: it decides whether DNS is asked and which port is always probed."""

    IP = "ip"
    NAME = "name"
    URL = "url"


class PortState(StrEnum):
    """What one probe found. Only these; a timeout is never `closed`."""

    OPEN = "open"
    CLOSED = "closed"  # refused by a RST
    FILTERED = "filtered"  # silence after every attempt
    UNREACHABLE = "unreachable"  # ICMP said so, or there is no route
    ERROR = "error"  # local: no descriptors, not permitted
    NOT_TESTED = "not_tested"  # deadline or cancel came first
    REFUSED = "refused"  # the scope policy forbids it


class SourceState(StrEnum):
    """What became of one question to one source; the same words for every source."""

    OK = "ok"
    EMPTY = "empty"  # it answered and knows nothing
    STALE = "stale"  # an old answer, served because the source is down
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"
    SKIPPED = "skipped"  # switched off by a setting, or offline
    NOT_APPLICABLE = "not_applicable"  # such an address is never asked about


class Level(StrEnum):
    """The risk level. `unknown` is not a low one: nothing was observed."""

    UNKNOWN = "unknown"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Outcome(StrEnum):
    """How the scan of one target ended."""

    DONE = "done"
    ERROR = "error"
    REFUSED = "refused"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One thing to scan, normalised; every later step uses this object and never the text again."""

    kind: TargetKind
    text: str  # as written, minus userinfo and secret query values
    host: str  # a canonical address, or the A-label of a name without trailing dot
    address: IPAddress | None = None  # None for names and for URLs that hold a name
    port: int | None = None  # a URL's port, always probed in addition
    scheme: str | None = None
    path: str = ""
    notes: tuple[str, ...] = ()  # what normalisation changed, in words for the user

    @property
    def key(self) -> str:
        """Targets fold when their keys are equal."""
        return "|".join((self.kind, self.host, str(self.port or ""), self.scheme or "", self.path))


class Probe(NamedTuple):
    """The state of one TCP port; a tuple because a host may have 65,535 of them."""

    port: int
    state: PortState
    reason: str  # syn-ack, conn-refused, timeout, icmp type 3 code 13, no-route, …
    attempts: int
    latency_ms: float | None  # of the attempt that was answered; None without an answer


SERVICE_ITSELF = "the service itself"  # who says what a service said of itself


class ServiceState(StrEnum):
    """What came of asking an open port what it is."""

    IDENTIFIED = "identified"
    UNRECOGNISED = "unrecognised"  # it spoke, and nobody here knows the language
    SILENT = "silent"  # it accepted the connection and said nothing
    FAILED = "failed"  # it closed the connection, or could not be connected to again
    TIMED_OUT = "timed_out"  # it did not finish in time
    NOT_ASKED = "not_asked"  # bytes could do harm there, or its turn did not come


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """A cookie that was offered, without its value."""

    name: str
    is_secure: bool
    is_http_only: bool
    same_site: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Technology:
    """What a page shows that it is made with, by a sign of it."""

    name: str
    version: str | None  # None: the sign has none
    sign: str  # where it was seen, in words: header x-powered-by


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpFacts:
    """What a web server answered. All but the first three are of the last page, after the redirects followed."""

    status: int
    path: str | None = None  # what was asked for: of a URL its own, without secrets; None: not kept by earlier versions
    location: str | None = None  # of a redirect, as it was sent, whether followed or not
    redirects: tuple[str, ...] = ()  # the addresses that were asked in turn, if any was followed
    last_status: int | None = None  # of the last page, if a redirect was followed
    title: str | None = None
    server: str | None = None
    powered_by: str | None = None
    content_type: str | None = None
    security_headers: tuple[tuple[str, str], ...] = ()  # those of SECURITY_HEADERS that were sent: name in lower case, value
    cookies: tuple[Cookie, ...] = ()
    has_password_field: bool | None = None  # None: the body was not read, or is not HTML
    lists_directory: bool | None = None
    favicon_hash: int | None = None  # of /favicon.ico, as search engines have it; None: none came, or not whole
    technologies: tuple[Technology, ...] = ()
    is_encrypted: bool = False  # the last page came over TLS
    is_complete: bool = True  # false: cut by a limit or by the deadline


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFacts:
    """What a TLS handshake showed. What depends on the day was judged when it was seen."""

    version: str  # TLSv1.3
    cipher: str
    legacy_versions: tuple[str, ...] | None = None  # TLS 1.0 or 1.1, if accepted; None: could not be asked
    subject: str | None = None  # None, as all that follows: the certificate could not be read
    issuer: str | None = None
    names: tuple[str, ...] = ()  # that it is for, 100 at most
    names_count: int = 0
    not_before: datetime | None = None
    not_after: datetime | None = None
    key: str | None = None  # RSA 2048
    signature: str | None = None  # sha256
    fingerprint: str | None = None  # SHA-256 of the certificate, hexadecimal
    is_self_signed: bool | None = None
    is_trusted: bool | None = None  # a chain leads to an authority of the common list
    matches_name: bool | None = None  # None: the user gave no name
    problems: tuple[str, ...] = ()  # of the certificate: expired, self-signed, …
    weaknesses: tuple[str, ...] = ()  # of key, signature and cipher


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What stands behind one open port, by its own words. None means that it did not say."""

    port: int
    state: ServiceState
    reason: str = ""  # for every state but identified: what happened, in words
    protocol: str | None = None  # SSH, HTTP, …: one of the names in scans/core/fingerprint
    product: str | None = None
    version: str | None = None
    cpe: str | None = None  # only where product and version are certain
    is_tls: bool = False
    banner: str | None = None  # the first words, as plain text
    access: str | None = None  # what one harmless request showed without credentials
    http: HttpFacts | None = None
    tls: TlsFacts | None = None
    evidence: str = ""  # the first bytes that came, the unprintable ones escaped
    elapsed_ms: int | None = None  # None: it was not asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What intelligence says about one address. None or "" never stands for false, nor an empty tuple for "none".

    One name for one thing, whichever source says it; a source fills what it knows and leaves the rest.
    """

    # Where it is, as far as anybody can know
    country: str | None = None
    country_code: str | None = None  # ISO 3166, two letters
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    timezone: str | None = None  # IANA's name
    # Who stands behind it
    isp: str | None = None
    organisation: str | None = None
    asn: int | None = None
    as_name: str | None = None
    network: str | None = None  # the registered or announced network around it: 192.0.2.0/24
    network_name: str | None = None
    registry: str | None = None  # arin, ripencc, …
    registered_country: str | None = None  # of the registration; not a location
    abuse_contact: str | None = None  # a mailbox
    host_names: tuple[str, ...] | None = None  # that lead to the address and back
    unconfirmed_names: tuple[str, ...] | None = None  # that the address leads to, and that were not seen to lead back
    # What kind of address it is
    is_proxy: bool | None = None
    is_mobile: bool | None = None
    is_hosting: bool | None = None
    is_tor_exit: bool | None = None
    is_cdn: bool | None = None  # what is seen there is the edge's, not the origin's
    cloud_provider: str | None = None
    cloud_service: str | None = None
    cloud_region: str | None = None
    cloud_network: str | None = None  # of the provider's list
    cloud_services: tuple[str, ...] | None = None  # all that the provider lists it for, if there are several
    cloud_border_group: str | None = None  # from where the network is announced; AWS's word
    # What is known against it
    drop_network: str | None = None  # the network on Spamhaus DROP that holds it, and its listing
    dns_lists: tuple[str, ...] | None = None  # DNS block lists that name it, and as what
    policy_lists: tuple[str, ...] | None = None  # the same, where the listing is no accusation (dial-up ranges)
    block_lists: tuple[str, ...] | None = None  # files that name it
    vendor_flags: int | None = None  # engines or feeds that flag it
    abuse_score: int | None = None  # 0 to 100
    abuse_reports: int | None = None
    classification: str | None = None  # malicious, benign or unknown
    classified_as: str | None = None  # whom the classification names
    pulses: int | None = None  # threat reports that mention it
    # What others saw there, and when is theirs to know: never one of our own probes
    seen_ports: tuple[int, ...] | None = None
    seen_cves: tuple[str, ...] | None = None  # inferred from versions
    seen_products: tuple[str, ...] | None = None  # CPE names
    seen_names: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceResult:
    """One source's answer about one address, or why there is none."""

    source: str
    state: SourceState
    reason: str = ""  # for every state but ok: what happened, in words
    observed_at: datetime | None = None  # when the source said it; None if it said nothing
    is_cached: bool = False
    facts: Facts = field(default_factory=Facts)
    elapsed_ms: int | None = None  # of the request that asked about it; None if nothing was sent
    contacted: tuple[str, ...] = ()  # who was told about the address for this answer: host and port, or a resolver's


class Told(NamedTuple):
    """Who was told about a target, and how often. `services/egress.py` adds it up for the job."""

    source: str  # on whose behalf; ASKED_NAMES and ASKED_MODEL for what is no source of intelligence
    host: str  # and port, or a resolver
    n: int  # of its addresses, or names


ASKED_NAMES, ASKED_MODEL = "names", "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vulnerability:
    """A CVE that is named for an address because of a version. Nobody has tried it: indicated, and never confirmed."""

    cve: str
    named_by: tuple[str, ...]  # sources
    ports: tuple[int, ...] = ()  # of the services whose version it is; empty: the source does not say
    product: str | None = None  # with its version, if ports are named
    distribution: str | None = None  # whose builds carry repairs without a new version
    cvss: float | None = None  # 0.0 to 10.0
    cvss_by: str | None = None  # the source of that
    epss: float | None = None  # 0.0 to 1.0: how likely it is exploited within 30 days
    is_exploited: bool | None = None  # CISA's catalogue lists it; None: the catalogue is not on this machine
    due: date | None = None  # by which agencies have to act, of one that is exploited
    is_ransomware: bool | None = None  # True: known to be used by ransomware; None: not known


@dataclass(frozen=True, kw_only=True, slots=True)
class EndOfLife:
    """A product whose makers no longer repair the release that its version belongs to. Judged when it was seen."""

    product: str
    version: str
    release: str  # 1.18 of version 1.18.0
    named_by: tuple[str, ...]  # sources; of a service's own words SERVICE_ITSELF
    since: date | None = None  # None: it is over, and nobody says since when
    ports: tuple[int, ...] = ()
    distribution: str | None = None  # whose builds are maintained for longer


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressReport:
    """Everything seen at, and said about, one address of a target."""

    address: IPAddress
    is_global: bool  # counts as public: reachable by anyone
    probes: tuple[Probe, ...]
    sources: tuple[SourceResult, ...] = ()
    answers_everywhere: bool | None = None  # also on high ports at random; None: not asked, as too few are open
    services: tuple[Service, ...] = ()  # ascending by port; of the first 32 open ports at most
    vulnerabilities: tuple[Vulnerability, ...] | None = None  # worst first; None: nobody was asked who could name any
    end_of_life: tuple[EndOfLife, ...] | None = None  # None: no version is known, or nothing that tells of releases is here

    @property
    def telling_ports(self) -> frozenset[int]:
        """Open ports that tell of a service: all, or of a host that answers everywhere those where one was identified."""
        is_open = frozenset(probe.port for probe in self.probes if probe.state is PortState.OPEN)
        if not self.answers_everywhere:
            return is_open
        return is_open.intersection(s.port for s in self.services if s.state is ServiceState.IDENTIFIED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One rule that fired, with what made it fire and what to do."""

    rule_id: str
    title: str
    points: int
    ports: tuple[int, ...]
    evidence: str
    remediation: str
    reference: str
    floor: Level | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """How much of what could be known is known. It stands beside the level and never changes it."""

    ports_answered: int
    ports_tested: int
    sources_answered: int
    sources_asked: int
    doubts: tuple[str, ...] = ()  # what is not known, and why, in words


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The level and its reasons. The findings' points add up to the score, clipped at 100."""

    level: Level
    score: int
    ruleset: str
    findings: tuple[Finding, ...]
    completeness: Completeness


class SummaryState(StrEnum):
    """Where the words came from, or why the model's are missing."""

    DETERMINISTIC = "deterministic"  # nobody asked for a model
    WRITTEN = "written"  # by the model, validated
    NO_KEY = "no_key"
    SKIPPED = "skipped"  # offline, or facts that may not leave
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    REJECTED = "rejected"  # the model answered something the facts do not bear
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The words of the report. `deterministic_text` is always there, whoever wrote `text`."""

    state: SummaryState
    text: str
    recommendation: str | None
    deterministic_text: str
    reason: str = ""  # why the model's words are missing
    model: str | None = None
    citations: tuple[str, ...] = ()  # rule ids the model relied on
    cited_facts: tuple[str, ...] = ()  # and all facts it did, by their numbers: F1, F2 …
    finish_reason: str = ""  # why the model stopped, in the service's word
    usage: Mapping[str, int] = field(
        default_factory=dict
    )  # of the call: tokens, milliseconds, how many targets it was about


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The finished scan of one target."""

    target: Target
    outcome: Outcome
    addresses: tuple[AddressReport, ...]
    verdict: Verdict
    summary: Summary
    started_at: datetime
    finished_at: datetime
    error_code: str | None = None  # resolve_failed, refused_scope, …: None exactly when the outcome is done
    error: str | None = None  # the same in words
    told: tuple[Told, ...] = ()  # who learned of the target by this scan
