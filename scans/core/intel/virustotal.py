"""VirusTotal: how many of its engines flag an address, and who owns the network around it.

GET /api/v3/ip_addresses/{ip}, the key in the header `x-apikey`; a 404 means that nothing is known. The public API answers
4 times a minute, 500 times a day and 15,500 times a month, and a 429 does not say when to come back (limits as collected in
api-evangelist/virustotal, header and errors as in vt-py 0.22.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError
from scans.core.intel.replies import (
    another_address,
    is_about,
    is_unknown,
    lacks,
    mapping,
    network,
    text,
    texts,
    the_object,
    whole,
)
from scans.core.types import Facts, IPAddress


class VirusTotal(RemoteSource):
    """One address a request."""

    name = "virustotal"
    title = "VirusTotal"
    gives = "how many engines flag it; AS, network and registry"
    terms = "the public API is for non-commercial use: 4 requests a minute, 500 a day"
    is_default = False
    key = KeyUse.REQUIRED
    base_url = "https://www.virustotal.com"
    limits = (Limit(1, 20), Limit(480, 86400))  # so 4 in any minute, 14,880 in a month
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 24 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        reply = outside.http.get(f"{self.url}/api/v3/ip_addresses/{address}", headers={"x-apikey": self.settings.key})
        return Answers(
            facts={address: Facts() if is_unknown(reply) else _facts(mapping(the_object(reply).get("data")), address)}
        )


def _facts(data: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(data.get("id"), address):
        return another_address()
    said = mapping(data.get("attributes"))
    if (flags := whole(mapping(said.get("last_analysis_stats")), "malicious")) is None:
        return lacks("count of engines")
    owner, registry = text(said, "as_owner"), text(said, "regional_internet_registry")
    return Facts(
        vendor_flags=flags,
        country_code=text(said, "country"),
        isp=owner,
        asn=whole(said, "asn", high=2**32 - 1),
        as_name=owner,
        network=network(said, "network"),
        registry=registry.lower().replace(" ", "") if registry else None,  # "RIPE NCC" elsewhere is ripencc
        tags=texts(said, "tags"),
    )
