"""Open ports to services: what each says of itself, asked with one harmless request at most, within hard limits.

protocols/        one file per protocol, and PROTOCOLS
conversation.py   what a protocol may wish for
identify.py       which conversation is tried when
call.py           one conversation over a socket
lane.py           many of them, in one thread
"""

from __future__ import annotations

from scans.core.fingerprint.lane import MAX_SERVICES, FingerprintLane, HostQuestion, HostServices
from scans.core.fingerprint.protocols import PROTOCOLS

__all__ = ["MAX_SERVICES", "PROTOCOLS", "FingerprintLane", "HostQuestion", "HostServices"]
