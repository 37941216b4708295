"""JSON documents: whose they are, what they prove, and that no document can do harm.

Docker's, Podman's and etcd's are as the servers of Debian gave them; the others as the projects' documentation shows them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.fingerprint.documents import read_document, told
from scans.core.fingerprint.protocols.http import ask
from scans.core.types import Service, ServiceState
from tests.core.fingerprint.asking import saying, service_of, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.core.fingerprint.talking import question, talk
from tests.servers import public

SEARCH_VERSION = {"number": "8.2.3", "build_flavor": "default", "lucene_version": "9.1.0"}
ELASTICSEARCH = {"name": "n", "cluster_name": "c", "version": SEARCH_VERSION, "tagline": "You Know, for Search"}
OPENSEARCH = {
    "name": "n",
    "version": {"distribution": "opensearch", "number": "2.11.0", "lucene_version": "9.7.0"},
    "tagline": "The OpenSearch Project: https://opensearch.org/",
}
COUCHDB = {"couchdb": "Welcome", "version": "3.3.3", "vendor": {"name": "The Apache Software Foundation"}}
SYNC_GATEWAY = {"couchdb": "Welcome", "vendor": {"name": "Couchbase Sync Gateway", "version": 1}, "version": "1.00"}
DOCKER = {
    "Platform": {"Name": ""},
    "Components": [{"Name": "Engine", "Version": "20.10.24+dfsg1"}, {"Name": "containerd", "Version": "1.6.20~ds1"}],
    "Version": "20.10.24+dfsg1",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.12",
    "GoVersion": "go1.19.8",
    "Os": "linux",
}
PODMAN = {**DOCKER, "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}], "Version": "4.3.1"}
ETCD = {"etcdserver": "3.4.23", "etcdcluster": "3.4.0"}
KUBERNETES = {"major": "1", "minor": "28", "gitVersion": "v1.28.2", "goVersion": "go1.20.8", "platform": "linux/amd64"}
FORBIDDEN = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403}
LISTED = {"paths": ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz"]}

CASES = [
    (ELASTICSEARCH, ("Elasticsearch", "8.2.3", "Elasticsearch named its cluster")),
    (OPENSEARCH, ("OpenSearch", "2.11.0", "OpenSearch named its cluster")),
    (COUCHDB, ("CouchDB", "3.3.3", None)),
    (DOCKER, ("Docker", "20.10.24+dfsg1", "Docker answered GET /version")),
    (PODMAN, ("Podman", "4.3.1", "Podman answered GET /version")),
    (ETCD, ("etcd", "3.4.23", None)),
    (KUBERNETES, ("Kubernetes", "1.28.2", None)),
    (FORBIDDEN, ("Kubernetes", None, None)),
    (LISTED, ("Kubernetes", None, "Kubernetes listed its API")),
]


def reply(document: Any, *, status: int = 200, head: bytes = b"") -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    lines = [b"HTTP/1.1 %d X" % status, b"Server: front/1.0", b"Content-Type: application/json; charset=UTF-8"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), head, b""]) + (b"\r\n" if head else b"") + body


def answered(data: bytes, port: int = 9200) -> Service:
    return talk(ask(question(port)), data, stays_open=True).service


def said(service: Service) -> tuple[str | None, str | None, str | None]:
    return service.product, service.version, service.access


@pytest.mark.parametrize(("document", "expected"), CASES, ids=lambda value: value[0] if isinstance(value, tuple) else "")
@pytest.mark.parametrize("port", [9200, 12345])
def test_a_document_says_more_than_the_server_header_on_any_port(document, expected, port):
    service = answered(reply(document), port)
    assert (service.state, service.protocol, said(service)) == (ServiceState.IDENTIFIED, "HTTP", expected)


@pytest.mark.parametrize("document", [case[0] for case in CASES])
@pytest.mark.parametrize("status", [201, 302, 401, 403, 500])
def test_what_came_with_a_refusal_proves_no_access(document, status):
    assert answered(reply(document, status=status)).access is None


def test_elasticsearch_that_wants_a_login_is_known_by_its_header():
    refused = reply(
        {"error": {"type": "security_exception"}, "status": 401}, status=401, head=b"X-elastic-product: Elasticsearch"
    )
    assert said(answered(refused)) == ("Elasticsearch", None, None)


@pytest.mark.parametrize(
    "document",
    [
        SYNC_GATEWAY,
        *({name: value for name, value in ETCD.items() if name != left_out} for left_out in ETCD),
        *(
            {name: value for name, value in KUBERNETES.items() if name != left_out}
            for left_out in ("gitVersion", "platform")
        ),
        *({name: value for name, value in DOCKER.items() if name != left_out} for left_out in ("Version", "Os")),
        {**ELASTICSEARCH, "version": "8.2.3"},
        {"paths": ["/api"]},
        {"paths": [["/api"], {"/apis": 1}, None]},
        {"Version": "1.0", "version": "1.0"},
    ],
)
def test_what_only_resembles_one_stays_what_the_header_says(document):
    assert said(answered(reply(document))) == ("front", "1.0", None)


@pytest.mark.parametrize("port", [2375, 2376, 2379, 6443])
def test_the_version_is_asked_for_where_the_document_is_there_and_in_one_request(port):
    talked = talk(ask(question(port)), reply(ETCD))
    assert talked.sent.startswith(b"GET /version HTTP/1.1\r\n")
    assert talked.sent.count(b"GET ") == 1


def test_elsewhere_the_front_page_is():
    assert talk(ask(question(9200)), reply(ELASTICSEARCH)).sent.startswith(b"GET / HTTP/1.1\r\n")


def test_a_cpe_follows_from_a_release_only():
    assert answered(reply(ELASTICSEARCH)).cpe == "cpe:2.3:a:elastic:elasticsearch:8.2.3:*:*:*:*:*:*:*"
    assert answered(reply(COUCHDB)).cpe == "cpe:2.3:a:apache:couchdb:3.3.3:*:*:*:*:*:*:*"
    beta = {**ELASTICSEARCH, "version": {**SEARCH_VERSION, "number": "8.2.3-SNAPSHOT"}}
    assert answered(reply(beta)).cpe is None


@pytest.mark.parametrize("port", [6443, 8443])
def test_inside_tls_it_is_read_as_well(port):
    context = server_context(make("host.invalid"))
    with serving(encrypted(saying(reply(KUBERNETES), wait_for=b"\r\n\r\n"), context), public(65), port):
        service = service_of(port, address=public(65))
    assert (said(service), service.is_tls) == (("Kubernetes", "1.28.2", None), True)
    assert service.tls is not None


HOSTILE = {
    "nested": b"[" * 60_000,
    "nested objects": b'{"a":' * 12_000,
    "a long number": b'{"major": ' + b"9" * 60_000 + b"}",
    "not a number": b'{"major": NaN, "gitVersion": Infinity}',
    "a list": b"[1, 2]",
    "cut off": json.dumps(DOCKER).encode()[:-20],
    "half a character": b'{"couchdb": "\\ud800", "version": "\\ud800"}',
    "nothing": b"",
    "too long": b'{"etcdserver": "' + b"x" * 100_000 + b'"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_just_a_page(name):
    assert said(answered(reply(HOSTILE[name]))) == ("front", "1.0", None)


def test_what_a_document_says_is_cleaned_and_cut():
    service = answered(reply({"etcdserver": "\x1b[31m<b>\u202e" + "9" * 500, "etcdcluster": "\ud800"}))
    assert service.product == "etcd"
    assert service.version is not None
    assert service.version.isprintable()
    assert len(service.version) <= 80


NAMES = sorted({name for document, _ in CASES for name in document} | {"lucene_version", "number", "name", "Name"})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["Welcome", "Status", "v1", "Failure"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=12))
def test_any_document_is_read_without_an_exception(document):
    found = told(document)
    assert found is None or found.product


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_text_is_a_document_or_none(data):
    assert isinstance(read_document(data.decode("utf-8", "replace")), dict | None)
