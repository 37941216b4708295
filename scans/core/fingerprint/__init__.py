"""Open ports to services: what each says of itself, asked with one harmless request at most, within hard limits.

protocols/        one file per protocol, and PROTOCOLS
conversation.py   what a protocol may wish for
identify.py       which conversation is tried when
call.py           one conversation over a socket
turns.py          many of them: whose turn it is, and whose time is up
lane.py           the thread in which they are
hosts.py          what goes into it, and what comes out
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scans.core.fingerprint.hosts import MAX_SERVICES, HostQuestion, HostServices
from scans.core.fingerprint.lane import FingerprintLane

if TYPE_CHECKING:
    from scans.core.fingerprint.protocols import PROTOCOLS
else:

    def __getattr__(name: str) -> Any:
        """The protocols are imported when first asked for: a scan that only probes speaks none, and starts faster."""
        if name == "PROTOCOLS":
            return import_module(f"{__name__}.protocols").PROTOCOLS
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["MAX_SERVICES", "PROTOCOLS", "FingerprintLane", "HostQuestion", "HostServices"]
