"""The only module that speaks HTTP to intelligence services.

Every reply is hostile: no redirects, no proxy or .netrc from the environment, bodies capped and read against
a deadline (a timeout of `requests` counts per read, so a server that drips bytes never meets it).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scans.core.deadline import within
from scans.core.egress import Egress
from scans.core.options import IntelOptions

if TYPE_CHECKING:
    import requests

MAX_BODY_BYTES = 1 << 20
USER_AGENT = "ip-intelligence-scanner (self-hosted)"


class HttpFailedError(Exception):
    """No usable reply. The text never holds the URL, whose query may carry a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A whole reply: status, headers (any case), decoded JSON or None when the body is not JSON."""

    status: int
    headers: Mapping[str, str]
    json: object


class Http:
    """A client for one scan; safe to use from several threads, one request each."""

    def __init__(self, egress: Egress, options: IntelOptions) -> None:
        self._egress = egress
        self._timeout = (options.connect_timeout_seconds, options.read_timeout_seconds)
        self._deadline_seconds = options.connect_timeout_seconds + options.read_timeout_seconds

    def post_json(self, url: str, *, params: Mapping[str, str], body: object) -> Reply:
        """POST a JSON body.

        One retry for a failed connection and for 502, 503 and 504. Raises EgressRefusedError if the gate is
        shut and HttpFailedError if there is no complete reply in time.
        """
        from scans.core import sessions

        self._egress.permit(url)
        opened: list[socket.socket] = []
        with sessions.session(opened, user_agent=USER_AGENT) as session:
            try:
                return within(self._deadline_seconds, lambda: self._posted(session, url, params=params, body=body))
            except TimeoutError as error:
                for connection in opened:  # ends the thread that still reads from it
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                raise HttpFailedError("no answer in time") from error
            except sessions.FAILURES as error:
                raise HttpFailedError(sessions.words(error)) from error

    def _posted(self, session: requests.Session, url: str, *, params: Mapping[str, str], body: object) -> Reply:
        with session.post(
            url, params=params, json=body, timeout=self._timeout, allow_redirects=False, stream=True
        ) as response:
            return Reply(status=response.status_code, headers=response.headers, json=_decoded(_body(response)))


def _body(response: requests.Response) -> bytes:
    """The raw body, not decompressed: a bomb stays as small as it came."""
    body = b""
    while chunk := response.raw.read1(65536, decode_content=False):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HttpFailedError(f"the reply is larger than {MAX_BODY_BYTES} bytes")
    return body


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # also covers bytes that are no UTF-8
        return None
