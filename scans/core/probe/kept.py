"""Open connections on their way to the next stage: few, and not for long.

A host is handed over when all of its ports have their state. Until then its open connections wait here; one that has waited
too long is closed, since the other side may have lost patience as well, and so is every one that nobody takes.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from socket import SocketType

from scans.core.probe.sockets import RESET_ON_CLOSE

MOST_KEPT, MOST_OF_ONE_HOST = 512, 32  # who has more open answers everywhere, or is looked at port by port
KEPT_SECONDS = 10.0


class KeptConnections:
    """Connections by host and port, the oldest first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Hashable, int], tuple[float, SocketType]] = OrderedDict()
        self._of_host: dict[Hashable, list[int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, key: Hashable) -> bool:
        """Whether one more of this host may be kept."""
        return len(self._kept) < MOST_KEPT and len(self._of_host.get(key, ())) < MOST_OF_ONE_HOST

    def keep(self, key: Hashable, port: int, sock: SocketType, *, now: float) -> None:
        """Take charge of a connection."""
        self._kept[key, port] = now, sock
        self._of_host.setdefault(key, []).append(port)

    def hand_over(self, key: Hashable) -> dict[int, socket.socket]:
        """The connections of a host that is finished, in its caller's charge from now on."""
        taken = {}
        for port in self._of_host.pop(key, ()):
            if (kept := self._kept.pop((key, port), None)) is not None:
                taken[port] = socket.socket(fileno=kept[1].detach())
        return taken

    def expire(self, *, now: float) -> None:
        """Close what has waited too long."""
        while self._kept and now - next(iter(self._kept.values()))[0] > KEPT_SECONDS:
            (key, port), (_, sock) = self._kept.popitem(last=False)
            self._of_host[key].remove(port)
            _reset(sock)

    def close(self) -> None:
        """Close everything."""
        for _, sock in self._kept.values():
            _reset(sock)
        self._kept.clear()
        self._of_host.clear()


def _reset(sock: SocketType) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()
