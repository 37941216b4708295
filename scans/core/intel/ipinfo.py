"""IPinfo Lite: country and AS of an address.

GET /lite/{ip}, the token as a Bearer header, as IPinfo's own client (5.6.0) sends it, and not in the query as the
documentation shows it. An address that is routed nowhere is a 200 with `bogon: true`. No limit is documented; the data are
CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError
from scans.core.intel.replies import another_address, as_number, is_about, lacks, text, the_object
from scans.core.types import Facts, IPAddress


class IpInfo(RemoteSource):
    """One address a request."""

    name = "ipinfo"
    title = "IPinfo Lite"
    gives = "country and AS"
    terms = "CC BY-SA 4.0: name IPinfo (https://ipinfo.io) where its data are shown, pass them on under the same licence"
    is_default = False
    key = KeyUse.REQUIRED
    base_url = "https://api.ipinfo.io"
    limits = (Limit(300, 60),)
    max_requests = 4
    lifetime_seconds = 7 * 86400
    empty_lifetime_seconds = 86400

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        reply = outside.http.get(f"{self.url}/lite/{address}", headers={"Authorization": f"Bearer {self.settings.key}"})
        return Answers(facts={address: _facts(the_object(reply), address)})


def _facts(said: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(said.get("ip"), address):
        return another_address()
    if said.get("bogon") is True:
        return Facts()
    name = text(said, "as_name")
    facts = Facts(
        country=text(said, "country"),
        country_code=text(said, "country_code"),
        isp=name,
        asn=as_number(said, "asn"),
        as_name=name,
    )
    return facts if facts != Facts() else lacks("country and AS")
