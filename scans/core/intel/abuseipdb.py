"""AbuseIPDB: how many people reported an address in the last 90 days, and what the service makes of it: 0 to 100.

GET /api/v2/check with the key in the header `Key`; without `Accept: application/json` errors are HTML. A free key may
ask 1,000 times a day, by UTC; X-RateLimit-Remaining says what is left, and a 429 when to come back (limits as
collected in api-evangelist/abuseipdb, fields as in abuseipdb_wrapper 0.2.0). The reports' texts, which anybody may write,
are not asked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.budgets import Limit, Quota
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError
from scans.core.intel.replies import another_address, flag, is_about, lacks, mapping, text, texts, the_object, whole
from scans.core.types import Facts, IPAddress

DAY = 86400.0
DAYS = "90"  # how far back reports count
HOSTING, MOBILE = "Data Center/Web Hosting/Transit", "Mobile ISP"  # of its usage types


class AbuseIpDb(RemoteSource):
    """One address a request."""

    name = "abuseipdb"
    title = "AbuseIPDB"
    gives = "abuse score and number of reports; provider, kind of use"
    terms = "a free key is for 1,000 requests a day; commercial use asks for a paid plan"
    is_default = False
    key = KeyUse.REQUIRED
    base_url = "https://api.abuseipdb.com"
    limits = (Limit(950, DAY),)
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 24 * 3600

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        reply = outside.http.get(
            f"{self.url}/api/v2/check",
            params={"ipAddress": str(address), "maxAgeInDays": DAYS},
            headers={"Key": self.settings.key, "Accept": "application/json"},
        )
        quota = _quota(reply.headers, now=time.time())
        return Answers(facts={address: _facts(mapping(the_object(reply, quota=quota).get("data")), address)}, quota=quota)


def _facts(said: Mapping[str, Any], address: IPAddress) -> Facts | SourceError:
    if not is_about(said.get("ipAddress"), address):
        return another_address()
    if (score := whole(said, "abuseConfidenceScore", high=100)) is None:
        return lacks("score")
    use = text(said, "usageType")
    return Facts(
        abuse_score=score,
        abuse_reports=whole(said, "totalReports"),
        country_code=text(said, "countryCode"),
        isp=text(said, "isp"),
        is_hosting=True if use == HOSTING else None,  # another use that it names does not rule hosting out
        is_mobile=True if use == MOBILE else None,
        is_tor_exit=flag(said, "isTor") or None,  # the list of exits knows better who is none
        seen_names=texts(said, "hostnames"),
    )


def _quota(headers: Mapping[str, str], *, now: float) -> Quota | None:
    """What is left of the day, which ends when the service says, or else at midnight UTC."""
    remaining, resets = headers.get("X-RateLimit-Remaining", ""), headers.get("X-RateLimit-Reset", "")
    if not re.fullmatch(r"\d{1,9}", remaining, re.ASCII):
        return None
    seconds = float(resets) - now if re.fullmatch(r"\d{1,12}", resets, re.ASCII) else DAY - now % DAY
    return Quota(remaining=int(remaining), resets_in_seconds=min(DAY, max(1.0, seconds)))
