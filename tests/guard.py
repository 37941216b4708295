"""No test can reach past the loopback, whatever library it uses.

The hook sits below every library, so it also sees `connect_ex`, UDP and name look-ups, which a patched
`socket.connect` does not. It watches this process only: a test that starts another program gives it
settings that keep it on the loopback (`tests/settings.py` exports them).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

SENDS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


_watched: list[set[tuple[str, str]]] = []
_counted: list[list[str]] = []


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


def _is_address(host: object) -> bool:
    try:
        return bool(ip_address(str(host)))
    except ValueError:
        return False


def _guard(event: str, args: tuple[Any, ...]) -> None:
    if event.startswith("socket.") and _counted:
        for sockets in _counted:
            sockets.append(f"{event} {args[1:]}")
    if event in SENDS and isinstance(args[1], tuple):  # Unix sockets have a path, not a tuple
        host = args[1][0]
    elif event in LOOKUPS:
        host = args[0]
    else:
        return
    if _watched and (event in SENDS or not _is_address(host)):  # an address that is "looked up" tells nobody
        where = f"{host}:{args[1][1]}" if event in SENDS else str(host)
        for seen in _watched:
            seen.add((event, where))
    if not is_allowed(host):
        raise LeftTheMachine(f"{event} to {host!r}")


@contextmanager
def watched() -> Iterator[set[tuple[str, str]]]:
    """What this process reaches for during the block: (event, "host:port" or the name that is looked up)."""
    seen: set[tuple[str, str]] = set()
    _watched.append(seen)
    try:
        yield seen
    finally:
        _watched.remove(seen)


@contextmanager
def opened() -> Iterator[list[str]]:
    """Everything that is done with sockets during the block, opening one included, by any thread of this process."""
    sockets: list[str] = []
    _counted.append(sockets)
    try:
        yield sockets
    finally:
        _counted.remove(sockets)


def install() -> None:
    """For the life of the process: an audit hook cannot be taken out again."""
    sys.addaudithook(_guard)
