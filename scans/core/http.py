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
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as TimeoutError_
from urllib3.util import Retry

from scans.core.deadline import within
from scans.core.egress import Egress
from scans.core.options import IntelOptions

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
        self._egress.permit(url)
        opened: list[socket.socket] = []
        with _session(opened) as session:
            try:
                return within(self._deadline_seconds, lambda: self._posted(session, url, params=params, body=body))
            except TimeoutError as error:
                for connection in opened:  # ends the thread that still reads from it
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                raise HttpFailedError("no answer in time") from error
            except (requests.RequestException, HTTPError) as error:
                raise HttpFailedError(_words(error)) from error

    def _posted(self, session: requests.Session, url: str, *, params: Mapping[str, str], body: object) -> Reply:
        with session.post(
            url, params=params, json=body, timeout=self._timeout, allow_redirects=False, stream=True
        ) as response:
            return Reply(status=response.status_code, headers=response.headers, json=_decoded(_body(response)))


def _session(opened: list[socket.socket]) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(opened))
    return session


class _Adapter(HTTPAdapter):
    """One retry, and a list of the sockets it opens, so that they can be shut from another thread."""

    def __init__(self, opened: list[socket.socket]) -> None:
        self._opened = opened
        retry = Retry(
            total=1,
            read=0,
            status_forcelist=[502, 503, 504],
            allowed_methods=None,  # POST too: these calls only ask
            backoff_factor=0.2,
            backoff_jitter=0.2,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        super().__init__(max_retries=retry)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As usual, with connections that are written down."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _recording(HTTPConnectionPool, self._opened),
            "https": _recording(HTTPSConnectionPool, self._opened),
        }


def _recording(pool: type[HTTPConnectionPool], opened: list[socket.socket]) -> type[HTTPConnectionPool]:
    def connect(connection: Any) -> None:
        pool.ConnectionCls.connect(connection)
        opened.append(connection.sock)

    recorder = type("RecordedConnection", (pool.ConnectionCls,), {"connect": connect})
    return type("RecordingPool", (pool,), {"ConnectionCls": recorder})


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


def _words(error: Exception) -> str:
    """What happened, without the library's text: that names the whole URL."""
    if _has_timed_out(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS connection failed"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the reply was cut off or malformed"


def _has_timed_out(error: Exception) -> bool:
    """With retries, `requests` hides a timeout in the reason of a ConnectionError."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    is_timeout = isinstance(reason, TimeoutError_) and not isinstance(reason, NewConnectionError)  # which is a subclass
    return is_timeout or isinstance(error, requests.Timeout)
