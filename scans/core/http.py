"""The only module that speaks HTTP to intelligence services.

Every reply is hostile: no redirects, no proxy or .netrc from the environment, bodies capped and read against
a deadline (a timeout of `requests` counts per read, so a server that drips bytes never meets it).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as TimeoutError_
from urllib3.util import Retry

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
        shut and HttpFailedError if there is no complete reply.
        """
        self._egress.permit(url)
        give_up_at = time.monotonic() + self._deadline_seconds
        try:
            with (
                self._session() as session,
                session.post(
                    url, params=params, json=body, timeout=self._timeout, allow_redirects=False, stream=True
                ) as response,
            ):
                return Reply(
                    status=response.status_code, headers=response.headers, json=_decoded(_body(response, give_up_at))
                )
        except (requests.RequestException, HTTPError) as error:
            raise HttpFailedError(_words(error)) from error

    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
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
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        return session


def _body(response: requests.Response, give_up_at: float) -> bytes:
    """The raw body, not decompressed: a bomb stays as small as it came."""
    body = b""
    while chunk := response.raw.read1(65536, decode_content=False):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HttpFailedError(f"the reply is larger than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > give_up_at:
            raise HttpFailedError("the reply came too slowly")
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
