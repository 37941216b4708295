"""The stand-in for the registries' RDAP: who holds which network, where that is not what ip-api says of its addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from demo.scenery import HOLDERS, Holder


def answer(path: str, _body: Any) -> Any:
    """Of one address: /ip/127.66.252.10. A LookupError for one that nobody holds."""
    address = IPv4Address(path.rpartition("/")[2])
    for text, holder in HOLDERS.items():
        if address in (network := IPv4Network(text)):
            return _about(network, holder)
    raise LookupError(path)


def _about(network: IPv4Network, holder: Holder) -> dict[str, object]:
    return {
        "objectClassName": "ip network",
        "startAddress": str(network[0]),
        "endAddress": str(network[-1]),
        "ipVersion": "v4",
        "name": holder.name,
        "country": holder.country,
        "port43": "whois.ripe.net",
        "entities": [
            _contact("registrant", ["fn", {}, "text", holder.owner], ["kind", {}, "text", "org"]),
            _contact("abuse", ["email", {}, "text", holder.abuse]),
        ],
    }


def _contact(role: str, *said: list[object]) -> dict[str, object]:
    return {"objectClassName": "entity", "roles": [role], "vcardArray": ["vcard", [["version", {}, "text", "4.0"], *said]]}
