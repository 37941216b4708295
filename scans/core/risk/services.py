"""What services said, as the facts that rules look at. One function for each; None: nobody said anything of it.

More services only add: a list is the union, and a flag is true if it is true of any, so one more never lowers a score.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from scans.core.risk.fact import Fact
from scans.core.types import SERVICE_ITSELF, Cookie, HttpFacts, Service

SOURCE = (SERVICE_ITSELF,)
# Names that frameworks give to the cookie that stands for a login: PHPSESSID, JSESSIONID, connect.sid, laravel_session, …
_SESSION_COOKIE = re.compile(r"sess|(?:^|[._-])sid$|auth|token|login", re.IGNORECASE)
_VERSION = re.compile(r"[A-Za-z][/ ]v?\d+(?:\.\d+)+")
_FRAMES = re.compile(r"(?:^|;)\s*frame-ancestors\s", re.IGNORECASE)


def service_facts(services: Iterable[Service]) -> Mapping[str, Fact]:
    """The facts by the names that `rules.yaml` declares."""
    given = list(services)
    stated = {name: fact(given) for name, fact in _FACTS.items()}
    return {name: Fact(value=value, sources=SOURCE) for name, value in stated.items() if value is not None}


def _unauthenticated(services: Sequence[Service]) -> tuple[str, ...] | None:
    """Who answered a request that a server with authentication refuses."""
    if not services:
        return None
    return _distinct(f"{service.protocol} on {service.port} ({service.access})" for service in services if service.access)


def _directory_listing(services: Sequence[Service]) -> bool | None:
    return _any(http.lists_directory for http in _pages(services))


def _login_over_plaintext(services: Sequence[Service]) -> bool | None:
    """A page without TLS has a password field. One reached by a redirect to TLS is not such a page."""
    return _any(http.has_password_field for http in _pages(services) if not http.is_encrypted)


def _no_https_redirect(services: Sequence[Service]) -> bool | None:
    """A page for people is served without TLS: answered with a success, at the end of whatever redirects were followed."""
    plain = [service.http for service in services if service.http and not service.is_tls]
    return _any(_is_page(http) and not http.is_encrypted for http in plain)


def _missing_headers(services: Sequence[Service]) -> tuple[str, ...] | None:
    """What no page should be without. Strict-Transport-Security means something over TLS only (RFC 6797, 7.2)."""
    pages = [http for http in _pages(services) if _is_page(http)]
    return _distinct(name for http in pages for name in _missing(http)) if pages else None


def _missing(http: HttpFacts) -> list[str]:
    sent = dict(http.security_headers)
    is_framed = "x-frame-options" in sent or _FRAMES.search(sent.get("content-security-policy", "")) is not None
    wanted = {
        "HSTS": not http.is_encrypted or "strict-transport-security" in sent,
        "CSP": "content-security-policy" in sent,
        "frame-ancestors": is_framed,
        "nosniff": "nosniff" in sent.get("x-content-type-options", "").lower(),
    }
    return [name for name, is_there in wanted.items() if not is_there]


def _insecure_session_cookie(services: Sequence[Service]) -> bool | None:
    return _any(_is_insecure(cookie) for http in _pages(services) for cookie in http.cookies)


def _is_insecure(cookie: Cookie) -> bool:
    return _SESSION_COOKIE.search(cookie.name) is not None and not (cookie.is_secure and cookie.is_http_only)


def _version_disclosed(services: Sequence[Service]) -> bool | None:
    said = [text for http in _pages(services) for text in (http.server, http.powered_by) if text is not None]
    return _any(_VERSION.search(text) is not None for text in said)


def _cert_problems(services: Sequence[Service]) -> tuple[str, ...] | None:
    seen = [service.tls for service in services if service.tls]
    return _distinct(problem for tls in seen for problem in tls.problems) if seen else None


def _legacy_protocols(services: Sequence[Service]) -> tuple[str, ...] | None:
    """None where no server could be asked: that none was offered would be a claim."""
    asked = [service.tls.legacy_versions for service in services if service.tls and service.tls.legacy_versions is not None]
    return _distinct(version for versions in asked for version in versions) if asked else None


def _weak_crypto(services: Sequence[Service]) -> tuple[str, ...] | None:
    seen = [service.tls for service in services if service.tls]
    return _distinct(weakness for tls in seen for weakness in tls.weaknesses) if seen else None


_FACTS: Mapping[str, Callable[[Sequence[Service]], bool | tuple[str, ...] | None]] = {
    "unauthenticated_services": _unauthenticated,
    "http.directory_listing": _directory_listing,
    "http.login_over_plaintext": _login_over_plaintext,
    "http.no_https_redirect": _no_https_redirect,
    "http.missing_headers": _missing_headers,
    "http.insecure_session_cookie": _insecure_session_cookie,
    "http.version_disclosed": _version_disclosed,
    "tls.cert_problems": _cert_problems,
    "tls.legacy_protocols": _legacy_protocols,
    "tls.weak_crypto": _weak_crypto,
}


def _pages(services: Iterable[Service]) -> list[HttpFacts]:
    return [service.http for service in services if service.http]


def _is_page(http: HttpFacts) -> bool:
    """Whether the last page is one for people, and not an error, a redirect or data."""
    status = http.last_status or http.status
    return 200 <= status < 300 and (http.content_type or "").lower().startswith(("text/html", "application/xhtml+xml"))


def _any(answers: Iterable[bool | None]) -> bool | None:
    """True if one is; None if nobody gave one."""
    given = [answer for answer in answers if answer is not None]
    return any(given) if given else None


def _distinct(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(items)))
