"""The program's API, as far as the demo needs it. No proxy of the environment is asked for an address of this machine."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

SECONDS = 20
READY_SECONDS = 2


class Client:
    """Talks to the program at `base`."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def is_ready(self) -> bool:
        """Whether it does its work."""
        try:
            with self._opener.open(f"{self.base}/readyz", timeout=READY_SECONDS) as reply:
                return bool(reply.status == 200)
        except OSError:  # URLError is one
            return False

    def job(self, token: str) -> dict[str, Any]:
        """The document of a job."""
        return self._ask(f"/scan/{token}")

    def submit(self, **body: object) -> str:
        """Submit a job; returns its token."""
        return str(self._ask("/scan", body)["token"])

    def rerun(self, token: str) -> str:
        """Scan the same targets once more; returns the new job's token."""
        return str(self._ask(f"/scan/{token}/rerun", {})["token"])

    def cancel(self, token: str) -> None:
        """Stop a job."""
        self._ask(f"/scan/{token}/cancel", {})

    def _ask(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}{path}", data, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=SECONDS) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
