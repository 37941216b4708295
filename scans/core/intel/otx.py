"""AlienVault OTX: how many threat reports ("pulses") mention an address.

GET /api/v1/indicators/IPv4/{ip}/general, or IPv6, the key in the header `X-OTX-API-KEY` (its client, OTXv2). It is slow:
clients give it 30 s. A 404 means that nothing is known, a 400 that the address is reserved, for OTX. Weak evidence: the
addresses of popular services are in many pulses, so no rule reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError
from scans.core.intel.replies import (
    another_address,
    as_number,
    is_about,
    is_unknown,
    lacks,
    mapping,
    text,
    the_object,
    whole,
)
from scans.core.types import Facts, IPAddress, SourceState

SECONDS = 30.0


class Otx(RemoteSource):
    """One address a request."""

    name = "otx"
    title = "AlienVault OTX"
    gives = "how many threat reports mention it"
    terms = "OTX's terms of use"
    is_default = False
    key = KeyUse.REQUIRED
    base_url = "https://otx.alienvault.com"
    limits = (Limit(60, 60),)  # with a key some 10,000 an hour are said to be allowed
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 24 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        url = f"{self.url}/api/v1/indicators/IPv{address.version}/{address}/general"
        reply = outside.http.get(url, headers={"X-OTX-API-KEY": self.settings.key}, seconds=SECONDS)
        if reply.status == 400 and isinstance(reply.json, dict):
            return Answers(facts={address: SourceError(SourceState.EMPTY, "the service holds the address for reserved")})
        return Answers(facts={address: Facts() if is_unknown(reply) else _facts(the_object(reply), address)})


def _facts(said: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(said.get("indicator"), address):
        return another_address()
    if (pulses := whole(mapping(said.get("pulse_info")), "count")) is None:
        return lacks("count of pulses")
    return Facts(
        pulses=pulses,
        country=text(said, "country_name"),
        country_code=text(said, "country_code"),
        asn=as_number(said, "asn"),
    )
