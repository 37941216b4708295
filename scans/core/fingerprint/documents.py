"""What the JSON of a web service tells: databases and container platforms say product and version in a document.

`access` is set only where the document is refused to whoever has no credentials, once the service wants any. That of etcd,
CouchDB and Kubernetes' /version is given to everybody, so it proves nothing. Sources: the projects' API references.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scans.core.ports import category

# Where the document is not on the front page, and no front page for people is usual: Docker, etcd, Kubernetes.
VERSION_PORTS = frozenset({2375, 2376, 2379, 6443})
Document = Mapping[str, Any]


class Told(NamedTuple):
    """What a document says of who gave it."""

    product: str | None
    version: str | None = None
    access: str | None = None


def read_document(text: str) -> Document | None:
    """A JSON object; None for anything else, deep nesting and endless numbers included."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def path_for(port: int, wanted: str) -> str:
    """What to ask for on this port: what is wanted, but of databases and container platforms what names them."""
    if port in VERSION_PORTS:
        return "/version"
    return "/" if category(port) in ("database", "kv_search") else wanted


def told(document: Document) -> Told | None:
    """Whose document it is, if that is known here."""
    return next((found for reader in _READERS if (found := reader(document)) is not None), None)


def _elasticsearch(document: Document) -> Told | None:
    """GET / needs the privilege "monitor" of a cluster with security, so a 401 comes instead of this where it is on."""
    version = _within(document, "version")
    if not isinstance(version.get("lucene_version"), str) or "tagline" not in document:
        return None
    product = "OpenSearch" if version.get("distribution") == "opensearch" else "Elasticsearch"
    return Told(product, _text(version, "number"), f"{product} named its cluster")


def _couchdb(document: Document) -> Told | None:
    """Others greet with the same word, so the vendor has to be CouchDB's own."""
    if document.get("couchdb") != "Welcome" or _within(document, "vendor").get("name") != "The Apache Software Foundation":
        return None
    return Told("CouchDB", _text(document, "version"))


def _docker(document: Document) -> Told | None:
    """Who may ask for the version may start containers: the API has no rights below all of them. Podman speaks it, too."""
    if not all(_text(document, name) for name in ("Version", "ApiVersion", "GoVersion", "Os")):
        return None
    components = document.get("Components")
    names = [part.get("Name") for part in components if isinstance(part, dict)] if isinstance(components, list) else []
    product = "Podman" if "Podman Engine" in names else "Docker"
    return Told(product, _text(document, "Version"), f"{product} answered GET /version")


def _etcd(document: Document) -> Told | None:
    if not _text(document, "etcdserver") or not _text(document, "etcdcluster"):
        return None
    return Told("etcd", _text(document, "etcdserver"))


def _kubernetes(document: Document) -> Told | None:
    """/version, the refusal of anything, and the list of what there is; the latter only for who is authenticated (RBAC)."""
    if _text(document, "gitVersion") and _text(document, "platform") and _text(document, "major"):
        return Told("Kubernetes", (_text(document, "gitVersion") or "").removeprefix("v"))
    if document.get("kind") == "Status" and document.get("apiVersion") == "v1" and document.get("status") == "Failure":
        return Told("Kubernetes")
    paths = document.get("paths")
    if isinstance(paths, list) and {"/api", "/api/v1", "/apis"} <= {path for path in paths if isinstance(path, str)}:
        return Told("Kubernetes", None, "Kubernetes listed its API")
    return None


_READERS: tuple[Callable[[Document], Told | None], ...] = (_elasticsearch, _couchdb, _docker, _etcd, _kubernetes)


def _within(document: Document, name: str) -> Document:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(document: Document, name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None
