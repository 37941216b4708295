"""The stage: from what services and sources name to what is known against it. Day and list files are given."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import TypeVar

from scans.core.feeds import Feed, FeedError, FeedMissingError, Store
from scans.core.text import clean_text
from scans.core.types import EndOfLife, Service, SourceResult, SourceState, Vulnerability
from scans.core.vulnerabilities.cve import read_cve
from scans.core.vulnerabilities.endoflife import ENDOFLIFE, EndOfLifeTable, Product
from scans.core.vulnerabilities.epss import EPSS, Epss
from scans.core.vulnerabilities.kev import KEV, Kev
from scans.core.vulnerabilities.nvd import Nvd, Scores
from scans.core.vulnerabilities.products import SeenProduct, distribution_of, seen_products

log = logging.getLogger(__name__)

MAX_PRODUCTS_ASKED = MAX_CVES_ASKED = 5  # of one address; without a key it may be asked eight times a minute
NOTHING_ASKED: Mapping[str, Scores] = MappingProxyType({})
MAX_VULNERABILITIES = 100  # of one address: the worst of them
MAX_NAME_CHARS = 60
SPEAKING_STATES = frozenset({SourceState.OK, SourceState.STALE})
Table = TypeVar("Table")


class Library:
    """The list files of this machine, each read when it is first needed; None for one that is missing or damaged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: set[str] = set()  # what is wrong with files, each said once

    @property
    def kev(self) -> Kev | None:
        """What is known to be exploited."""
        return self._table(KEV)

    @property
    def epss(self) -> Epss | None:
        """How likely each CVE is exploited."""
        return self._table(EPSS)

    @property
    def end_of_life(self) -> EndOfLifeTable | None:
        """Until when releases are repaired."""
        return self._table(ENDOFLIFE)

    def _table(self, feed: Feed[Table]) -> Table | None:
        try:
            return self._store.load(feed).table
        except FeedMissingError:
            return None
        except (FeedError, OSError) as error:  # costs no scan
            if (said := f"{feed.name}: {error}") not in self._told:
                self._told.add(said)
                log.warning("%s", said)
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownAgainst:
    """Of one address. None: not known, because nobody could say."""

    vulnerabilities: tuple[Vulnerability, ...] | None = None
    end_of_life: tuple[EndOfLife, ...] | None = None


def known_against(
    services: Iterable[Service],
    sources: Iterable[SourceResult],
    library: Library,
    *,
    day: date,
    scores: Mapping[str, Scores] = NOTHING_ASKED,
) -> KnownAgainst:
    """What is known against an address. `day` is that of the scan: a release that ends tomorrow has not ended.

    `scores` is what the NVD said, by the CPE names and CVE ids that it was asked about.
    """
    own = list(services)
    told = [result for result in sources if result.state in SPEAKING_STATES]
    products = seen_products(own, told)
    releases = library.end_of_life if products else None
    return KnownAgainst(
        vulnerabilities=_vulnerabilities(own, told, library, scores),
        end_of_life=_end_of_life(products, releases, day) if releases else None,
    )


# CVEs


def subjects(services: Iterable[Service], sources: Iterable[SourceResult], library: Library) -> tuple[str, ...]:
    """What to ask the NVD about an address: the products that its services name for certain, then the worst CVEs."""
    given = list(services)
    cpes = list(dict.fromkeys(service.cpe for service in given if service.cpe))[:MAX_PRODUCTS_ASKED]
    told = [result for result in sources if result.state in SPEAKING_STATES]
    named = _vulnerabilities(given, told, library, NOTHING_ASKED) or ()
    return (*cpes, *(known.cve for known in named[:MAX_CVES_ASKED]))


@dataclass(slots=True)
class _Named:
    """Who names a CVE, and for which of the services."""

    sources: set[str] = field(default_factory=set)
    services: list[Service] = field(default_factory=list)


def _vulnerabilities(
    services: Sequence[Service], sources: Iterable[SourceResult], library: Library, scores: Mapping[str, Scores]
) -> tuple[Vulnerability, ...] | None:
    """The worst MAX_VULNERABILITIES that sources name; None if no source spoke of any."""
    spoken = [result for result in sources if result.facts.seen_cves is not None]
    by_product = [(service, scores[service.cpe]) for service in services if service.cpe and service.cpe in scores]
    if not spoken and not by_product:
        return None
    named: dict[str, _Named] = {}
    for result in spoken:
        for cve in filter(None, map(read_cve, result.facts.seen_cves or ())):
            named.setdefault(cve, _Named()).sources.add(result.source)
    for service, found in by_product:
        for cve in found:
            one = named.setdefault(cve, _Named())
            one.sources.add(Nvd.name)
            one.services.append(service)
    if not named:
        return ()
    cvss = {cve: score for found in scores.values() for cve, score in found.items()}
    kev, epss = library.kev, library.epss
    elsewhere = next(filter(None, map(distribution_of, services)), None)
    known = []
    for cve, one in named.items():
        exploited, score = kev.get(cve) if kev else None, cvss.get(cve)
        first = one.services[0] if one.services else None
        known.append(
            Vulnerability(
                cve=cve,
                named_by=tuple(sorted(one.sources)),
                ports=tuple(sorted({service.port for service in one.services})),
                product=clean_text(f"{first.product} {first.version}", limit=MAX_NAME_CHARS) if first else None,
                distribution=distribution_of(first) if first else elsewhere,
                cvss=score,
                cvss_by=Nvd.name if score is not None else None,
                epss=epss.score(cve) if epss else None,
                is_exploited=None if kev is None else exploited is not None,
                due=exploited.due if exploited else None,
                is_ransomware=exploited.is_ransomware if exploited else None,
            )
        )
    return tuple(sorted(known, key=_urgency)[:MAX_VULNERABILITIES])


def _urgency(known: Vulnerability) -> tuple[bool, float, float, str]:
    """Exploited first, then by how likely it is to be, then by how bad it would be."""
    return not known.is_exploited, -(known.epss or 0), -(known.cvss or 0), known.cve


# End of life


def _end_of_life(products: Iterable[SeenProduct], table: EndOfLifeTable, day: date) -> tuple[EndOfLife, ...]:
    """Each product and version once, whoever names it; what ended first comes first."""
    seen: dict[tuple[str, str], tuple[Product, list[SeenProduct]]] = {}
    for product in products:
        if listed := _listed(product, table):
            version = clean_text(product.version, limit=MAX_NAME_CHARS)
            seen.setdefault((listed.label, version), (listed, []))[1].append(product)
    found = []
    for (label, version), (listed, who) in seen.items():
        release = listed.release_of(version)
        if release and release.has_ended(day):
            found.append(
                EndOfLife(
                    product=label,
                    version=version,
                    release=release.name,
                    named_by=tuple(sorted({product.named_by for product in who})),
                    since=release.ends,
                    ports=tuple(sorted({product.port for product in who if product.port is not None})),
                    distribution=next((product.distribution for product in who if product.distribution), None),
                )
            )
    return tuple(sorted(found, key=lambda ended: (ended.since or date.min, ended.product, ended.version)))


def _listed(product: SeenProduct, table: EndOfLifeTable) -> Product | None:
    """The entry of a product: by its CPE name where it has one, otherwise by its name."""
    return table.by_cpe.get(product.cpe) if product.cpe else table.by_name.get(product.name.casefold())
