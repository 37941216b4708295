"""What a TLS handshake showed, for whichever protocol has made one."""

from __future__ import annotations

from datetime import UTC, datetime

from scans.core.fingerprint.conversation import Handshake, Question
from scans.core.types import TlsFacts

LEGACY_VERSIONS = ("TLSv1", "TLSv1.1", "SSLv3")


def tls_facts(question: Question, shake: Handshake, *, now: datetime | None = None) -> TlsFacts:
    """Version, cipher and the chain, judged at this moment."""
    from scans.core.fingerprint.certificates import judge

    seen = judge(shake.chain, name=question.name, now=now or datetime.now(UTC), cipher=shake.cipher)
    legacy = (shake.version,) if shake.version in LEGACY_VERSIONS else None
    return TlsFacts(version=shake.version, cipher=shake.cipher, legacy_versions=legacy, **seen)
