"""NVD, the National Vulnerability Database: which CVEs a product has in a version, and how severe a CVE is (CVSS).

It is asked about products and CVEs, and never about an address, so it is no source of the intelligence lane: `nvd_lane.py`
asks it once the products are known. GET /rest/json/cves/2.0 with `virtualMatchString` (a CPE name) or `cveId`; the key, if
any, in the header `apiKey`. 5 requests in 30 s are allowed without a key and 50 with one; a 403 means too many, too
(nvd.nist.gov/developers/start-here). What a CVE applies to is checked here once more, by its ranges of versions.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from scans.core.budgets import Limit
from scans.core.http import Reply
from scans.core.intel.base import Answers, KeyUse, Outside, RemoteSource, SourceError, SourceSettings
from scans.core.intel.replies import mapping, number, the_object
from scans.core.types import IPAddress, SourceState
from scans.core.vulnerabilities.cve import read_cve
from scans.core.vulnerabilities.products import cpe_name

NOTICE = (
    "This product uses data from the NVD API but is not endorsed or certified by the NVD."  # as its terms ask, word for word
)
WITHOUT_KEY, WITH_KEY = Limit(4, 30), Limit(45, 30)  # of 5 and 50
MAX_CVES = 50  # of one product: a reply of more would be larger than replies may be
MAX_MATCHES = 2000  # of one CVE
_METRICS = ("cvssMetricV40", "cvssMetricV31", "cvssMetricV30", "cvssMetricV2")
_BEFORE_RELEASE = ("alpha", "beta", "dev", "pre", "rc")
_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {  # of the bound to the version
    "versionStartIncluding": operator.le,
    "versionStartExcluding": operator.lt,
    "versionEndIncluding": operator.ge,
    "versionEndExcluding": operator.gt,
}
Scores = Mapping[str, float | None]  # by CVE id; None: it has no score yet


class Nvd(RemoteSource):
    """One product or CVE a request."""

    name = "nvd"
    title = "NVD"
    gives = "CVEs of products in a version, and how severe a CVE is (CVSS)"
    terms = NOTICE
    is_default = False
    key = KeyUse.OPTIONAL
    base_url = "https://services.nvd.nist.gov"
    tells = "CPE names of products that public addresses show, and CVE ids; no address"
    lifetime_seconds = empty_lifetime_seconds = 24 * 3600

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self.limits = (WITH_KEY if settings.key else WITHOUT_KEY,)

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """It knows of no address: see ask()."""
        raise SourceError(SourceState.NOT_APPLICABLE, "it is asked about products, and never about addresses")

    def ask(self, subject: str, outside: Outside) -> Scores:
        """The CVEs of a product by its CPE name, or one CVE by its id, with their scores. Raises SourceError."""
        cve = read_cve(subject)
        question = {"cveId": cve} if cve else {"virtualMatchString": subject, "resultsPerPage": str(MAX_CVES)}
        headers = {"apiKey": self.settings.key} if self.settings.key else None
        reply = outside.http.get(f"{self.url}/rest/json/cves/2.0", params=question, headers=headers)
        known = dict(_known(reply, subject=None if cve else subject))
        return {cve: known[cve]} if cve and cve in known else {} if cve else known


def _known(reply: Reply, *, subject: str | None) -> Iterator[tuple[str, float | None]]:
    """Each CVE of a reply that applies to the subject, or each if none is given. Raises SourceError."""
    if reply.status == 404:  # it holds the id or the name for none that there is
        return
    if reply.status == 403:
        raise SourceError(SourceState.RATE_LIMITED, "too many requests")
    listed = the_object(reply).get("vulnerabilities")
    if not isinstance(listed, list):
        raise SourceError(SourceState.FAILED, "the reply lacks its list of vulnerabilities")
    for entry in listed[:MAX_CVES]:
        said = mapping(mapping(entry).get("cve"))
        cve = read_cve(said.get("id"))
        if cve and said.get("vulnStatus") != "Rejected" and (subject is None or applies_to(said, subject)):
            yield cve, _score(mapping(said.get("metrics")))


def _score(metrics: Mapping[str, Any]) -> float | None:
    """The base score by the newest version of CVSS that there is one of, the NVD's own first."""
    for name in _METRICS:
        given = metrics.get(name)
        scored = [mapping(each) for each in given] if isinstance(given, list) else []
        for metric in sorted(scored, key=lambda each: each.get("type") != "Primary"):
            if (score := number(mapping(metric.get("cvssData")), "baseScore", low=0, high=10)) is not None:
                return score
    return None


def applies_to(cve: Mapping[str, Any], subject: str) -> bool:
    """Whether a CVE's own ranges of versions hold the version of a CPE name."""
    named = cpe_name(subject)
    if named is None or named[1] is None:
        return False
    return any(_holds(match, *named) for match in islice(_matches(cve), MAX_MATCHES))


def _matches(cve: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for configuration in _list(cve, "configurations"):
        for node in _list(configuration, "nodes"):
            yield from _list(node, "cpeMatch")


def _holds(match: Mapping[str, Any], product: str, version: str | None) -> bool:
    criteria = cpe_name(match.get("criteria"))
    if match.get("vulnerable") is not True or criteria is None or criteria[0] != product or version is None:
        return False
    if criteria[1] is not None:  # one version, and no range
        return order(criteria[1]) == order(version)
    own = order(version)
    return all(compare(order(str(match[name])[:100]), own) for name, compare in _BOUNDS.items() if name in match)


def order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: 1.2 < 1.10, 1.0rc1 < 1.0 = 1.0.0 < 1.0p1 < 1.0.1."""
    parts: list[tuple[int, int, str]] = []
    for digits, letters in [*re.findall(r"([0-9]{1,18})|([a-z]{1,20})", version.lower()), ("", "")]:
        if digits:
            parts.append((2, int(digits), ""))
            continue
        while parts and parts[-1] == (2, 0, ""):  # zeros at the end of a number say nothing
            parts.pop()
        if letters:
            parts.append((0 if letters in _BEFORE_RELEASE else 1, 0, letters))
    return (*parts, (1, -1, ""))


def _list(said: object, name: str) -> list[Any]:
    value = mapping(said).get(name)
    return value if isinstance(value, list) else []
