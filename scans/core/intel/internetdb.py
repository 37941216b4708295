"""Shodan InternetDB: what Shodan saw at an address in its last weekly look: ports, products, names, CVEs.

GET /{ip}, no key; a 404 means that nothing is known (the API's published schema). Its CVEs are inferred from versions, and
its ports are not ours: they are kept apart from what a scan finds. How much may be asked is not published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit
from scans.core.intel.base import Answers, Outside, RemoteSource, SourceError
from scans.core.intel.replies import another_address, is_about, is_unknown, lacks, texts, the_object, wholes
from scans.core.types import Facts, IPAddress


class InternetDb(RemoteSource):
    """One address a request."""

    name = "internetdb"
    title = "Shodan InternetDB"
    gives = "ports, products, names, tags and CVEs that Shodan saw, up to a week old"
    terms = "non-commercial use only"
    is_default = False
    base_url = "https://internetdb.shodan.io"
    limits = (Limit(1, 1),)
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 24 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        reply = outside.http.get(f"{self.url}/{address}")
        return Answers(facts={address: Facts() if is_unknown(reply) else _facts(the_object(reply), address)})


def _facts(said: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(said.get("ip"), address):
        return another_address()
    if not isinstance(said.get("ports"), list):
        return lacks("ports")
    cves = [text for text in texts(said, "vulns") or () if re.fullmatch(r"CVE-\d{4}-\d{4,7}", text, re.ASCII)]
    return Facts(
        seen_ports=wholes(said, "ports", low=1, high=65535),
        seen_cves=tuple(cves) or None,
        seen_products=texts(said, "cpes"),
        seen_names=texts(said, "hostnames"),
        tags=texts(said, "tags"),
    )
