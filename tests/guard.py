"""No test can reach past the loopback, whatever library it uses.

The hook sits below every library, so it also sees `connect_ex`, UDP and name look-ups, which a patched
`socket.connect` does not. It watches this process only: a test that starts another program gives it
settings that keep it on the loopback (`tests/settings.py` exports them).
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import Any

SENDS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


class LeftTheMachine(BaseException):
    """A test tried to reach something other than the loopback. Not an Exception: no `except` can hide it."""


def is_allowed(host: object) -> bool:
    """Loopback addresses, `localhost`, and names under .invalid, which exist nowhere."""
    if host is None or host == "":
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text == "localhost" or text.rstrip(".").endswith(".invalid"):
        return True
    try:
        return ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event in SENDS and isinstance(args[1], tuple):  # Unix sockets have a path, not a tuple
        host = args[1][0]
    elif event in LOOKUPS:
        host = args[0]
    else:
        return
    if not is_allowed(host):
        raise LeftTheMachine(f"{event} to {host!r}")


def install() -> None:
    """For the life of the process: an audit hook cannot be taken out again."""
    sys.addaudithook(_guard)
