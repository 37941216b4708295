"""The half of http.py that needs `requests`, which takes a tenth of a second to import: only when something is asked."""

from __future__ import annotations

import logging
import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as TimeoutError_
from urllib3.util import Retry

# It writes whole URLs down, and a key may stand in one: whoever runs the scanner, no log is to hold it.
logging.getLogger("urllib3").setLevel(logging.ERROR)

FAILURES = (requests.RequestException, HTTPError)


def session(opened: list[socket.socket], *, user_agent: str) -> requests.Session:
    """A client that takes nothing from the environment, and writes down the sockets it opens."""
    made = _Session()
    made.trust_env = False
    made.headers.update({"User-Agent": user_agent, "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter(opened))
    return made


class _Session(requests.Session):
    """Sees no redirects: where none are followed, it would still unpack the whole body of one, however large."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None, whatever the reply says: http.py looks at that itself."""
        return None


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


def words(error: Exception) -> str:
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
