"""The stand-in for ip-api.com: its batch endpoint, about providers that do not exist."""

from __future__ import annotations

from typing import Any

from demo.scenery import LOST, PROVIDERS

HEADERS = {"X-Rl": "14", "X-Ttl": "60"}  # so many requests are left in so many seconds


def answer(_path: str, addresses: Any) -> Any:
    """One answer for each address, in their order."""
    return [_about(str(address)) for address in addresses]


def _about(address: str) -> dict[str, object] | None:
    if address == LOST:
        return None
    provider = PROVIDERS.get(address)
    if provider is None:
        return {"status": "fail", "message": "reserved range", "query": address}
    flags = {name: provider.flag == name for name in ("proxy", "mobile", "hosting")}
    return {
        "status": "success",
        "query": address,
        "country": provider.country,
        "countryCode": provider.code,
        "regionName": provider.region,
        "city": provider.city,
        "isp": provider.carrier,
        "org": provider.owner,
        "as": f"AS{provider.asn} {provider.owner}",
        "asname": provider.owner.upper().replace(" ", "-"),
        **flags,
    }
