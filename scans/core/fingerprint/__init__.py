"""Open ports to services: what each says of itself, asked with one harmless request at most, within hard limits.

ssh.py greetings.py http.py redis.py …   one file per protocol; tls.py certificates.py: what encryption shows
conversation.py   what a protocol may wish for
identify.py       which conversation is tried when, and PROTOCOLS
call.py           one conversation over a socket
lane.py           many of them, in one thread
"""

from __future__ import annotations

from scans.core.fingerprint.identify import PROTOCOLS
from scans.core.fingerprint.lane import MAX_SERVICES, FingerprintLane, HostQuestion, HostServices

__all__ = ["MAX_SERVICES", "PROTOCOLS", "FingerprintLane", "HostQuestion", "HostServices"]
