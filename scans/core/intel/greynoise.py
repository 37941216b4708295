"""GreyNoise Community: whether an address scans the whole internet, or is a well-known service's.

GET /v3/community/{ip}, the key, if any, in the header `key`; IPv4 only. A 404 with an object means that it was not seen; a
400 that the address is not routable for GreyNoise (docs.greynoise.io, getcommunityip). The words of its messages change
from year to year: only status, booleans and the classification are read. Without a key it answers some 25 times a week,
with a free one 50 times; what others say of these numbers differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError, SourceSettings
from scans.core.intel.replies import another_address, flag, is_about, is_unknown, lacks, text, the_object
from scans.core.types import Facts, IPAddress, SourceState

CLASSES = ("malicious", "benign", "unknown")
WEEK = 7 * 86400.0


class GreyNoise(RemoteSource):
    """One address a request."""

    name = "greynoise"
    title = "GreyNoise Community"
    gives = "whether it scans the whole internet, and whether that is malicious"
    terms = "GreyNoise's terms of the community service; some 25 requests a week, 50 with a free key"
    is_default = False
    key = KeyUse.OPTIONAL
    base_url = "https://api.greynoise.io"
    limits = (Limit(24, WEEK),)
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 24 * 3600
    is_ipv4_only = True

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.key:
            self.limits = (Limit(48, WEEK),)

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        headers = {"key": self.settings.key} if self.settings.key else None
        reply = outside.http.get(f"{self.url}/v3/community/{address}", headers=headers)
        if reply.status == 400 and isinstance(reply.json, dict):
            return Answers(facts={address: SourceError(SourceState.EMPTY, "the service holds the address for not routable")})
        return Answers(facts={address: Facts() if is_unknown(reply) else _facts(the_object(reply), address)})


def _facts(said: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(said.get("ip"), address):
        return another_address()
    is_noise, is_riot, classification = flag(said, "noise"), flag(said, "riot"), text(said, "classification")
    if is_noise is None or is_riot is None:
        return lacks("noise and riot flags")
    return Facts(
        classification=classification if classification in CLASSES else None,
        classified_as=_unless_unknown(text(said, "name")),
        tags=tuple(tag for tag, is_so in (("noise", is_noise), ("riot", is_riot)) if is_so) or None,
    )


def _unless_unknown(name: str | None) -> str | None:
    return None if name == "unknown" else name
