"""The only module that speaks HTTP to intelligence services.

Every reply is hostile: no redirects but those a source asks for, no proxy or .netrc from the environment, bodies capped
and read against a deadline (a timeout of `requests` counts per read, so a server that drips bytes never meets it).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from scans.core.deadline import within
from scans.core.egress import Gate
from scans.core.options import IntelOptions

if TYPE_CHECKING:
    import requests

MAX_BODY_BYTES = 1 << 20
MAX_REDIRECTS = 5
USER_AGENT = "ip-intelligence-scanner (self-hosted)"
NO_REDIRECTS: Callable[[str], bool] = lambda url: False  # noqa: E731 - a default that reads as what it is


class HttpFailedError(Exception):
    """No usable reply. The text never holds the URL, whose query may carry a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A whole reply: status, headers (any case), and the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def json(self) -> object:
        """The decoded body, or None when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):  # also covers bytes that are no UTF-8
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request. Its text names no address and no header: they may hold a key."""

    method: str
    url: str = field(repr=False)
    params: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    body: object | None = field(default=None, repr=False)  # sent as JSON
    seconds: float | None = None  # how long its answer may take, in place of what holds for all


class Http:
    """A client for one request of a source, or for a few in turn."""

    def __init__(
        self, gate: Gate, options: IntelOptions, *, max_body_bytes: int = MAX_BODY_BYTES, seconds: float | None = None
    ) -> None:
        self._gate = gate
        self._timeout = (options.connect_timeout_seconds, seconds or options.read_timeout_seconds)
        self._max_body_bytes = max_body_bytes

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        may_redirect: Callable[[str], bool] = NO_REDIRECTS,
        seconds: float | None = None,
    ) -> Reply:
        """GET; `may_redirect` says whether to go on to where a redirect leads, at most MAX_REDIRECTS times.

        `seconds` is for a slow service: how long an answer may take, in place of what holds for all.
        One retry for a failed connection and for 502, 503 and 504. Raises EgressRefusedError if the gate is shut and
        HttpFailedError if there is no complete reply in time.
        """
        for _ in range(MAX_REDIRECTS):
            reply = self.exchange(Call(method="GET", url=url, params=params, headers=headers, seconds=seconds))
            if reply.status not in (301, 302, 303, 307, 308):
                return reply
            try:
                url, params = urljoin(url, reply.headers.get("Location", "")), None
                is_allowed = urlsplit(url).scheme in ("http", "https") and may_redirect(url)
            except ValueError as error:  # a port or an address that there is not
                raise HttpFailedError("the service redirects to what is no address") from error
            if not is_allowed:
                raise HttpFailedError("the service redirects to where it may not")
        raise HttpFailedError("the service redirects without end")

    def post_json(
        self, url: str, *, params: Mapping[str, str], body: object, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """POST a JSON body. See get()."""
        return self.exchange(Call(method="POST", url=url, params=params, headers=headers, body=body))

    def exchange(self, call: Call) -> Reply:
        """One request and its reply, a redirect included. See get(). A recording puts itself in place of this."""
        from scans.core import sessions

        self._gate.permit(call.url)
        timeout = (self._timeout[0], call.seconds or self._timeout[1])
        opened: list[socket.socket] = []
        with sessions.session(opened, user_agent=USER_AGENT) as session:

            def send() -> Reply:
                with session.request(
                    call.method,
                    call.url,
                    params=call.params,
                    headers=call.headers,
                    json=call.body,
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    return Reply(status=response.status_code, headers=response.headers, body=self._body(response))

            try:
                return within(sum(timeout), send)
            except TimeoutError as error:
                for connection in opened:  # ends the thread that still reads from it
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                raise HttpFailedError("no answer in time") from error
            except sessions.FAILURES as error:
                for connection in opened:  # the library leaves one open whose headers contradict each other
                    with suppress(OSError):
                        os.close(connection.detach())
                raise HttpFailedError(sessions.words(error)) from error

    def _body(self, response: requests.Response) -> bytes:
        """The raw body, not decompressed: a bomb stays as small as it came."""
        body = bytearray()  # lists have many megabytes, and bytes would be copied with each chunk
        while chunk := response.raw.read1(65536, decode_content=False):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise HttpFailedError(f"the reply is larger than {self._max_body_bytes} bytes")
        return bytes(body)


def headers_of(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Headers by their names in any case, as a reply has them."""
    from requests.structures import CaseInsensitiveDict

    return CaseInsensitiveDict(pairs)
