"""What services said, as facts: one by one, unknown where nobody spoke, and never less with one more service."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.risk import gather, rate
from scans.core.risk.levels import rank
from scans.core.risk.services import service_facts
from scans.core.types import AddressReport, Cookie, HttpFacts, Level, PortState, Probe, Service, ServiceState, TlsFacts

HTML = HttpFacts(status=200, content_type="text/html", has_password_field=False, lists_directory=False)
HEADERS = (
    ("strict-transport-security", "max-age=31536000"),
    ("content-security-policy", "default-src 'self'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
)
TLS = TlsFacts(version="TLSv1.3", cipher="x", legacy_versions=())


def web(http: HttpFacts | None = HTML, *, tls: TlsFacts | None = None, port: int = 80, **more) -> Service:
    return Service(
        port=port, state=ServiceState.IDENTIFIED, protocol="HTTP", http=http, tls=tls, is_tls=tls is not None, **more
    )


def value(name: str, *services: Service):
    fact = service_facts(services).get(name)
    return fact.value if fact else None


def encrypted(**changes) -> Service:
    return web(replace(HTML, is_encrypted=True, **changes), tls=TLS, port=443)


def test_where_no_service_was_asked_nothing_is_stated():
    assert service_facts([]) == {}


def test_a_service_that_is_neither_web_nor_tls_states_only_its_access():
    ssh = Service(port=22, state=ServiceState.IDENTIFIED, protocol="SSH")
    assert set(service_facts([ssh])) == {"unauthenticated_services"}
    assert value("unauthenticated_services", ssh) == ()


def test_who_answers_without_credentials_is_named_with_port_and_request():
    redis = Service(port=6379, state=ServiceState.IDENTIFIED, protocol="Redis", access="PING answered PONG")
    docker = Service(port=2375, state=ServiceState.IDENTIFIED, protocol="HTTP", access="Docker answered GET /version")
    postgres = Service(port=5432, state=ServiceState.IDENTIFIED, protocol="PostgreSQL")
    assert value("unauthenticated_services", redis, docker, postgres) == (
        "HTTP on 2375 (Docker answered GET /version)",
        "Redis on 6379 (PING answered PONG)",
    )


@pytest.mark.parametrize(
    ("name", "service", "expected"),
    [
        ("http.directory_listing", web(replace(HTML, lists_directory=True)), True),
        ("http.directory_listing", web(), False),
        ("http.directory_listing", web(replace(HTML, lists_directory=None)), None),
        ("http.login_over_plaintext", web(replace(HTML, has_password_field=True)), True),
        ("http.login_over_plaintext", encrypted(has_password_field=True), None),
        ("http.login_over_plaintext", web(replace(HTML, has_password_field=True, is_encrypted=True)), None),
        ("http.no_https_redirect", web(), True),
        ("http.no_https_redirect", web(replace(HTML, status=301, content_type=None)), False),
        ("http.no_https_redirect", web(replace(HTML, status=301, last_status=200, is_encrypted=True)), False),
        ("http.no_https_redirect", web(replace(HTML, status=302, last_status=200)), True),
        ("http.no_https_redirect", web(replace(HTML, content_type="application/json")), False),
        ("http.no_https_redirect", encrypted(), None),
        ("http.missing_headers", web(), ("CSP", "frame-ancestors", "nosniff")),
        ("http.missing_headers", encrypted(), ("CSP", "HSTS", "frame-ancestors", "nosniff")),
        ("http.missing_headers", encrypted(security_headers=HEADERS), ()),
        ("http.missing_headers", web(replace(HTML, status=404)), None),
        ("http.version_disclosed", web(replace(HTML, server="nginx/1.22.1")), True),
        ("http.version_disclosed", web(replace(HTML, server="nginx", powered_by="PHP/8.2.7")), True),
        ("http.version_disclosed", web(replace(HTML, server="nginx")), False),
        ("http.version_disclosed", web(), None),
        ("tls.cert_problems", web(tls=replace(TLS, problems=("expired",))), ("expired",)),
        ("tls.legacy_protocols", web(tls=replace(TLS, legacy_versions=("TLSv1.1",))), ("TLSv1.1",)),
        ("tls.legacy_protocols", web(tls=TLS), ()),
        ("tls.legacy_protocols", web(tls=replace(TLS, legacy_versions=None)), None),
        ("tls.weak_crypto", web(tls=replace(TLS, weaknesses=("RSA 1024 key",))), ("RSA 1024 key",)),
        ("tls.weak_crypto", web(), None),
    ],
)
def test_each_fact_says_what_was_seen_and_none_where_nothing_was(name, service, expected):
    assert value(name, service) == expected


@pytest.mark.parametrize(
    ("cookie", "insecure"),
    [
        (Cookie(name="PHPSESSID", is_secure=False, is_http_only=True), True),
        (Cookie(name="connect.sid", is_secure=True, is_http_only=False), True),
        (Cookie(name="JSESSIONID", is_secure=True, is_http_only=True), False),
        (Cookie(name="theme", is_secure=False, is_http_only=False), False),
    ],
)
def test_only_a_session_cookie_has_to_be_guarded(cookie, insecure):
    assert value("http.insecure_session_cookie", web(replace(HTML, cookies=(cookie,)))) is insecure


def address(*services: Service, is_global: bool = True) -> AddressReport:
    ports = sorted({service.port for service in services} | {22})
    probes = tuple(Probe(port, PortState.OPEN, "syn-ack", 1, 1.0) for port in ports)
    return AddressReport(address=ip_address("192.0.2.1"), is_global=is_global, probes=probes, services=services)


def test_an_open_redis_is_critical_when_public_and_not_when_private():
    redis = Service(port=6379, state=ServiceState.IDENTIFIED, protocol="Redis", access="PING answered PONG")
    assert rate(gather([address(redis)])).level is Level.CRITICAL
    private = rate(gather([address(redis, is_global=False)]))
    assert "ACC-001" in [finding.rule_id for finding in private.findings]
    assert all(finding.floor is None for finding in private.findings)


SERVICES = st.builds(
    web,
    st.builds(
        HttpFacts,
        status=st.sampled_from([200, 301, 404]),
        content_type=st.sampled_from(["text/html", "application/json", None]),
        security_headers=st.sampled_from([(), HEADERS, HEADERS[:1]]),
        cookies=st.just((Cookie(name="sid", is_secure=False, is_http_only=False),)),
        has_password_field=st.sampled_from([None, True, False]),
        lists_directory=st.sampled_from([None, True, False]),
        server=st.sampled_from([None, "nginx", "nginx/1.2"]),
        is_encrypted=st.booleans(),
    ),
    tls=st.sampled_from([None, TLS, replace(TLS, problems=("expired", "self-signed"), legacy_versions=("TLSv1",))]),
    port=st.integers(1, 65535),
    access=st.sampled_from([None, "it was answered"]),
)


@given(st.lists(SERVICES, max_size=4), SERVICES)
def test_one_more_service_never_lowers_score_or_level(services, more):
    before, after = (rate(gather([address(*each)])) for each in (services, [*services, more]))
    assert after.score >= before.score
    assert rank(after.level) >= rank(before.level)


def test_open_ports_that_did_not_say_what_they_are_are_a_doubt():
    silent = Service(port=8080, state=ServiceState.SILENT, reason="it said nothing")
    seen = address(web(), silent)
    assert gather([seen]).completeness.doubts == ("2 of 3 open ports did not say what they are (22, 8080).",)
    assert gather([replace(seen, services=())]).completeness.doubts == ()
