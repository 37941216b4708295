"""ip-api.com: country, network owner, and flags for proxies, mobile networks and hosting.

Free use: no key, plain HTTP only, non-commercial, 15 batches of 100 a minute; every reply says what is left in
X-Rl and when the window ends in X-Ttl; who keeps asking at 0 is banned for good (ip-api.com/docs/api:batch,
ip-api.com/docs/unban). A failure is a 200 with `status: "fail"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scans.core.http import Http, Reply
from scans.core.intel.base import Answers, Quota, Source, SourceError
from scans.core.text import clean_text
from scans.core.types import Facts, IPAddress, SourceState

FIELDS = "status,message,query,country,countryCode,regionName,city,isp,org,as,asname,mobile,proxy,hosting"
PARKED_SECONDS = 60  # after a 429 that names no end of its window


class IpApi(Source):
    """The free batch endpoint."""

    name = "ip-api"
    terms = "free service: plain HTTP, non-commercial use only"
    batch_size = 100
    requests_per_minute = 12  # of 15: the service's clock and ours differ
    lifetime_seconds = 24 * 3600
    empty_lifetime_seconds = 3600

    def lookup(self, addresses: Sequence[IPAddress], http: Http) -> Answers:
        """Ask about up to 100 addresses in one request."""
        url = f"{self.options.ip_api_base_url}/batch"
        reply = http.post_json(url, params={"fields": FIELDS}, body=[str(a) for a in addresses])
        quota = _quota(reply.headers)
        if reply.status == 429:
            quota = Quota(remaining=0, resets_in_seconds=quota.resets_in_seconds if quota else PARKED_SECONDS)
            raise SourceError(SourceState.RATE_LIMITED, "too many requests", quota=quota)
        if reply.status in (401, 403):
            raise SourceError(SourceState.UNAUTHORIZED, f"HTTP {reply.status}", quota=quota)
        if reply.status != 200:
            raise SourceError(SourceState.FAILED, f"HTTP {reply.status}", quota=quota)
        return Answers(facts=self._facts_by_address(addresses, reply, quota), quota=quota)

    def _facts_by_address(
        self, addresses: Sequence[IPAddress], reply: Reply, quota: Quota | None
    ) -> Mapping[IPAddress, Facts | SourceError]:
        """Answers stand in the order of the questions."""
        if not isinstance(reply.json, list) or len(reply.json) != len(addresses):
            raise SourceError(SourceState.FAILED, "the reply is not a list of as many answers", quota=quota)
        return {address: _facts(answer) for address, answer in zip(addresses, reply.json, strict=True)}


def _facts(answer: object) -> Facts | SourceError:
    if not isinstance(answer, dict):
        return SourceError(SourceState.FAILED, "the answer is not an object")
    if answer.get("status") != "success":
        return SourceError(SourceState.EMPTY, _text(answer, "message") or "no reason given")
    number = re.match(r"AS(\d{1,10})\b", _text(answer, "as") or "")
    return Facts(
        country=_text(answer, "country"),
        country_code=_text(answer, "countryCode"),
        region=_text(answer, "regionName"),
        city=_text(answer, "city"),
        isp=_text(answer, "isp"),
        organisation=_text(answer, "org"),
        asn=int(number[1]) if number else None,
        as_name=_text(answer, "asname"),
        is_proxy=_flag(answer, "proxy"),
        is_mobile=_flag(answer, "mobile"),
        is_hosting=_flag(answer, "hosting"),
    )


def _text(answer: Mapping[str, Any], name: str) -> str | None:
    value = answer.get(name)
    return clean_text(value, limit=120) or None if isinstance(value, str) else None


def _flag(answer: Mapping[str, Any], name: str) -> bool | None:
    value = answer.get(name)
    return value if isinstance(value, bool) else None


def _quota(headers: Mapping[str, str]) -> Quota | None:
    remaining, resets = headers.get("X-Rl", ""), headers.get("X-Ttl", "")
    if not (re.fullmatch(r"\d{1,6}", remaining) and re.fullmatch(r"\d{1,6}", resets)):
        return None
    return Quota(remaining=int(remaining), resets_in_seconds=min(3600.0, float(resets)))
