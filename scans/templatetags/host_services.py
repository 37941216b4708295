"""The services of a host: a row for each open port, and what its fold shows. Words are in the templates.

All of it is what the services said of themselves; the only judgement is the rules' own (`missing_headers`). What cannot
be told is told apart: not asked, not said, and asked and answered with no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django import template
from django.utils.safestring import SafeString

from scans.core.ports import service_name
from scans.core.risk.services import service_facts
from scans.core.summary.deterministic import UNNAMED
from scans.core.types import HttpFacts, PortState, Service, ServiceState
from scans.templatetags.looks import SERVICE_LOOKS, state_look
from scans.templatetags.services import is_over_tls

register = template.Library()

Json = Mapping[str, Any]

MAX_ROWS = 128  # on one page; of one address at most 32 services are asked
MAX_FOLDS = 64  # likewise; one takes up to 5 kB
DETAILS = ("http", "tls", "banner", "evidence", "cpe")
MAX_NAMES = 12  # of a certificate; it may be for a hundred
MAX_SHOWN_CHARS = 1200  # of the first bytes: 256 of them, of which each may take four characters
MAX_SUMMARY_PROBLEMS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceRow:
    """One open port, with what stands behind it if that was asked."""

    port: int
    usual: str  # what is there by custom, which is no observation
    latency_ms: float | None
    said: Json | None  # the service as it is on the wire, null where it did not say; None: nobody asked
    has_fold: bool  # whether there is more to show of it, and room

    @property
    def is_known(self) -> bool:
        """Whether it was understood."""
        return self.said is not None and self.said["state"] == ServiceState.IDENTIFIED

    @property
    def is_encrypted(self) -> bool:
        """Whether to mark it: it speaks inside TLS."""
        return self.said is not None and is_over_tls(self.said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """How long a certificate holds, as seen on the day of the scan."""

    begins: datetime
    ends: datetime
    words: str


@register.simple_tag
def service_rows(address: Json, result: Json) -> list[ServiceRow]:
    """The open ports in order: all that were asked, and of the others as many as fit on a page of so many addresses.

    Of a host that answers everywhere no others: nothing is known to be there.
    """
    seen = next(wired for wired in result["addresses"] if wired["address"] == address["address"])
    asked = {service["port"]: service for service in seen["services"]}
    latency = {port: ms for port, state, _, _, ms in address["probes"] if state == PortState.OPEN}
    others = [port for port in latency if port not in asked and not seen.get("answers_everywhere")]
    room = max(0, MAX_ROWS // len(result["addresses"]) - len(asked))
    detailed = [port for port, said in sorted(asked.items()) if any(said[name] for name in DETAILS)]
    folded = frozenset(detailed[: MAX_FOLDS // len(result["addresses"])])
    return [
        ServiceRow(
            port=port, usual=_usual(port), latency_ms=latency.get(port), said=asked.get(port), has_fold=port in folded
        )
        for port in sorted([*asked, *others[:room]])
    ]


def _usual(port: int) -> str:
    name = service_name(port)
    return "no usual service" if name == UNNAMED else f"{name} by custom"


@register.filter
def count_unfolded(rows: Sequence[ServiceRow]) -> int:
    """How many services said more than the page has room for."""
    return sum(row.said is not None and not row.has_fold and any(row.said[name] for name in DETAILS) for row in rows)


@register.filter
def count_asked(address: Json) -> int:
    """How many services were asked what they are; 0 for a scan that did not ask, or of before that could be done."""
    return sum(service["state"] != ServiceState.NOT_ASKED for service in address.get("services", ()))


@register.simple_tag
def service_state(value: str) -> SafeString:
    """What came of asking."""
    return state_look(SERVICE_LOOKS[value])


@register.filter
def fold_words(service: Json, seen_at: str) -> str:
    """What the fold of a service holds: "TLS 1.3, certificate self-signed, 5 days left; HTTP 200, 4 headers missing"."""
    http, tls = service["http"], service["tls"]
    parts = [*(_tls_words(tls, seen_at) if tls else ()), *(_http_words(http) if http else ())]
    return "; ".join(parts) or ("What it said, and its CPE name" if service["cpe"] else "What it said")


def _tls_words(tls: Json, seen_at: str) -> Iterator[str]:
    problems = tls["problems"][:MAX_SUMMARY_PROBLEMS]
    held = validity(tls, seen_at)
    told = [*problems, *([held.words] if held else ())]
    yield version_words(tls["version"]) + (f", certificate {', '.join(told)}" if told else "")


def _http_words(http: Json) -> Iterator[str]:
    missing = missing_headers(http)
    lacks = f", {len(missing)} security header{'s' if len(missing) > 1 else ''} missing" if missing else ""
    then = f", then {http['last_status']}" if http["last_status"] else ""
    yield f"HTTP {http['status']}{then}{lacks}"


# --- HTTP ----------------------------------------------------------------------------------------------------------


@register.filter
def status_words(status: int) -> str:
    """ "404 Not Found"; a number that nobody has named stays alone."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


@register.filter
def missing_headers(http: Json) -> list[str] | None:
    """What the rules miss on this page, by their own reading; None: it is no page for people, so nothing is missed."""
    facts = HttpFacts(
        status=http["status"],
        last_status=http["last_status"],
        content_type=http["content_type"],
        security_headers=tuple(http["security_headers"].items()),
        is_encrypted=http["is_encrypted"],
    )
    service = Service(port=0, state=ServiceState.IDENTIFIED, http=facts)  # the port says nothing about headers
    fact = service_facts([service]).get("http.missing_headers")
    return list(fact.value) if fact is not None and isinstance(fact.value, tuple) else None


@register.filter
def cookie_words(cookie: Json) -> str:
    """Its flags, those that are missing among them."""
    flags = [
        "Secure" if cookie["is_secure"] else "not Secure",
        "HttpOnly" if cookie["is_http_only"] else "not HttpOnly",
        f"SameSite={cookie['same_site']}" if cookie["same_site"] else "no SameSite",
    ]
    return ", ".join(flags)


# --- TLS -----------------------------------------------------------------------------------------------------------


@register.filter
def version_words(version: str) -> str:
    """ "TLSv1.3" is TLS 1.3, "TLSv1" is TLS 1.0."""
    return "TLS 1.0" if version == "TLSv1" else version.replace("v", " ", 1)


@register.filter
def validity(tls: Json, seen_at: str) -> Validity | None:
    """From when to when, and how many days were left when it was seen; None if the certificate could not be read."""
    if not tls["not_before"] or not tls["not_after"]:
        return None
    begins, ends = (datetime.fromisoformat(tls[name]) for name in ("not_before", "not_after"))
    seen = datetime.fromisoformat(seen_at)
    if seen < begins:
        words = f"begins {_days((begins - seen).days)} later"
    else:
        words = f"{_days((ends - seen).days)} left" if seen <= ends else f"ended {_days((seen - ends).days)} before"
    return Validity(begins=begins, ends=ends, words=words)


@register.filter
def first_names(names: Sequence[str]) -> Sequence[str]:
    """As many as a page shows."""
    return names[:MAX_NAMES]


@register.filter
def more_names(tls: Json) -> int:
    """How many names a certificate has beyond those."""
    return max(0, int(tls["names_count"]) - len(first_names(tls["names"])))


def _days(n: int) -> str:
    return "1 day" if n == 1 else f"{n:,} days"


# --- The bytes -----------------------------------------------------------------------------------------------------


@register.filter
def shown_bytes(evidence: str) -> str:
    """The first bytes, of text with its line ends as lines, which it was stored without; all else stays escaped."""
    is_text = "\\x00" not in evidence  # in another protocol the byte of a line end means something else
    text = evidence.replace("\\x0d\\x0a", "\n").replace("\\x0a", "\n") if is_text else evidence
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
