"""ip-api.com: country, network owner, and flags for proxies, mobile networks and hosting.

Free use: no key, plain HTTP only, non-commercial, 15 batches of 100 a minute; every reply says what is left in
X-Rl and when the window ends in X-Ttl; who keeps asking at 0 is banned for good (ip-api.com/docs/api:batch,
ip-api.com/docs/unban). With a key it is the pro service: HTTPS on another host, no minute limit, the key in the query
(members.ip-api.com/faq). A failure is a 200 with `status: "fail"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from scans.core.budgets import Limit, Quota
from scans.core.http import Reply
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError, SourceSettings
from scans.core.intel.replies import another_address, as_number, check_status, flag, is_about, number, text
from scans.core.types import Facts, IPAddress, SourceState

FIELDS = "status,message,query,country,countryCode,regionName,city,lat,lon,timezone,isp,org,as,asname,mobile,proxy,hosting"
FAIL_MESSAGES = ("private range", "reserved range", "invalid query")  # nothing else of what it writes is shown
PRO_URL = "https://pro.ip-api.com"


class IpApi(RemoteSource):
    """The batch endpoint."""

    name = "ip-api"
    title = "ip-api.com"
    gives = "country, city, provider, AS; proxy, mobile and hosting flags"
    terms = "free service: plain HTTP, non-commercial use only; a key of the pro service lifts both, and the limit"
    is_default = True
    key = KeyUse.OPTIONAL
    base_url = "http://ip-api.com"
    tells = "the address, over plain HTTP unless there is a key"
    batch_size = 100
    max_requests = 4
    limits = (Limit(12, 60),)  # of 15
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 3600

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        if settings.key:
            self.limits = (Limit(300, 60),)  # the pro service names none

    @property
    def url(self) -> str:
        """With a key the pro service's, over HTTPS: the key never goes out over plain HTTP by itself."""
        return self.settings.base_url or (PRO_URL if self.settings.key else self.base_url)

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about up to 100 addresses in one request."""
        params = {"fields": FIELDS, **({"key": self.settings.key} if self.settings.key else {})}
        reply = outside.http.post_json(f"{self.url}/batch", params=params, body=[str(a) for a in addresses])
        quota = _quota(reply.headers)
        check_status(reply, quota=quota)
        return Answers(facts=_facts_by_address(addresses, reply, quota), quota=quota)


def _facts_by_address(
    addresses: Sequence[IPAddress], reply: Reply, quota: Quota | None
) -> Mapping[IPAddress, Facts | SourceError]:
    """Answers stand in the order of the questions."""
    if not isinstance(said := reply.json, list) or len(said) != len(addresses):
        raise SourceError(SourceState.FAILED, "the reply is not a list of as many answers", quota=quota)
    return {address: _facts(answer, address) for address, answer in zip(addresses, said, strict=True)}


def _facts(answer: object, address: IPAddress) -> Facts | SourceError:
    if not isinstance(answer, dict):
        return SourceError(SourceState.FAILED, "the answer is not an object")
    if "query" in answer and not is_about(answer["query"], address):
        return another_address()
    if answer.get("status") == "fail":
        said = text(answer, "message")
        return SourceError(SourceState.EMPTY, said if said in FAIL_MESSAGES else "nothing known, and no reason given")
    if answer.get("status") != "success":
        return SourceError(SourceState.FAILED, "the answer says neither success nor fail")
    return Facts(
        country=text(answer, "country"),
        country_code=text(answer, "countryCode"),
        region=text(answer, "regionName"),
        city=text(answer, "city"),
        latitude=number(answer, "lat", low=-90, high=90),
        longitude=number(answer, "lon", low=-180, high=180),
        timezone=text(answer, "timezone"),
        isp=text(answer, "isp"),
        organisation=text(answer, "org"),
        asn=as_number(answer, "as"),
        as_name=text(answer, "asname"),
        is_proxy=flag(answer, "proxy"),
        is_mobile=flag(answer, "mobile"),
        is_hosting=flag(answer, "hosting"),
    )


def _quota(headers: Mapping[str, str]) -> Quota | None:
    remaining, resets = headers.get("X-Rl", ""), headers.get("X-Ttl", "")
    if not (re.fullmatch(r"\d{1,6}", remaining) and re.fullmatch(r"\d{1,6}", resets)):
        return None
    return Quota(remaining=int(remaining), resets_in_seconds=min(3600.0, float(resets)))
