"""The one gate out: the offline switch and the list of services that may be contacted.

Targets are not services: what may be scanned is `policy.py`'s question. HTTP and the model's client
both ask here first, so "offline" and "who is told what" can be shown in one place.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from scans.core.options import Options

GEMINI_BASE_URL = "https://generativelanguage.googleapis.com"


class EgressRefusedError(PermissionError):
    """The gate is shut for this address; the text says which switch shut it."""


class Egress:
    """Allows HTTP(S) to the services named in the options, and to nothing while offline."""

    def __init__(self, options: Options) -> None:
        self._is_offline = options.intel.offline
        self._origins = {_origin(options.intel.ip_api_base_url), _origin(options.ai.base_url or GEMINI_BASE_URL)}

    def permit(self, url: str) -> None:
        """Return if `url` may be contacted, otherwise raise EgressRefusedError."""
        if self._is_offline:
            raise EgressRefusedError("offline: OFFLINE=1 is set")
        if _origin(url) not in self._origins:
            raise EgressRefusedError(f"{_origin(url)} is not a configured service")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"
