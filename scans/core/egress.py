"""The one gate out: the offline switch, the list of services that may be contacted, and the record of who was.

    intelligence (HTTP) ─┐
    DNS of sources ──────┼─► permit() ─► Gate.contacted: "rdap.example.org:443"
    the model's client ──┘

Targets are not services: what may be scanned is `policy.py`'s question. Everybody else asks here first, so "offline"
and "who was told what" can be shown in one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from scans.core.options import Options

GEMINI_BASE_URL = "https://generativelanguage.googleapis.com"
OFFLINE = "offline: OFFLINE=1 is set"
SYSTEM_DNS = "the system's resolver"


class EgressRefusedError(PermissionError):
    """The gate is shut for this address; the text says which switch shut it."""


class Egress:
    """Allows HTTP(S) to the model's service and those given, DNS to the configured resolvers, and nothing while offline."""

    def __init__(self, options: Options, services: Iterable[str] = ()) -> None:
        self._is_offline = options.intel.offline
        self._resolvers = {_server(*server) for server in options.intel.dns_servers} or {SYSTEM_DNS}
        self._origins = {origin(options.ai.base_url or GEMINI_BASE_URL), *map(origin, services)}

    def permit(self, url: str) -> None:
        """Return if `url` may be contacted, otherwise raise EgressRefusedError."""
        if self._is_offline:
            raise EgressRefusedError(OFFLINE)
        if origin(url) not in self._origins:
            raise EgressRefusedError(f"{origin(url)} is not a configured service")

    def permit_dns(self, host: str, port: int) -> None:
        """The same for a resolver that a source's question goes to; SYSTEM_DNS and port 53 is the system's."""
        if self._is_offline:
            raise EgressRefusedError(OFFLINE)
        if _server(host, port) not in self._resolvers:
            raise EgressRefusedError(f"{_server(host, port)} is not a configured resolver")


class Gate:
    """The way out for one request, and who was contacted by it. One thread at a time goes out; any may read."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._contacted: tuple[str, ...] = ()

    @property
    def contacted(self) -> tuple[str, ...]:
        """Host and port of each service, and resolvers, in the order of first contact."""
        return self._contacted

    def permit(self, url: str) -> None:
        """See Egress; what is permitted counts as contacted."""
        self._egress.permit(url)
        self._note(origin(url).partition("://")[2])

    def permit_dns(self, host: str, port: int = 53) -> None:
        """See Egress; what is permitted counts as contacted."""
        self._egress.permit_dns(host, port)
        self._note(_server(host, port))

    def _note(self, contacted: str) -> None:
        if contacted not in self._contacted:
            self._contacted = (*self._contacted, contacted)


def origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _server(host: str, port: int) -> str:
    if host == SYSTEM_DNS:
        return SYSTEM_DNS
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
