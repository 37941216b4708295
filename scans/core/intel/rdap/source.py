"""The source: asks the registry that has the block, and follows it to another one of the list, but nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from scans.core.budgets import Limit
from scans.core.egress import origin
from scans.core.feeds import Store
from scans.core.intel.base import Answers, Outside, RemoteSource, SourceError, SourceSettings
from scans.core.intel.rdap import bootstrap
from scans.core.intel.rdap.reading import read_network
from scans.core.intel.replies import is_unknown, the_object
from scans.core.types import IPAddress, SourceState

ACCEPT = {"Accept": "application/rdap+json, application/json"}


class Rdap(RemoteSource):
    """The registries' RDAP services."""

    name = "rdap"
    title = "RDAP"
    gives = "organisation, registered network, its registry and country, mailbox for abuse"
    terms = "each registry's own; not for reading whole registries"
    is_default = True
    base_url = bootstrap.FALLBACK
    tells = "the address; in its place AFRINIC, APNIC, LACNIC or RIPE NCC, where the block is theirs"
    limits = (Limit(120, 60), Limit(900, 86400))  # RIPE NCC: 1,000 objects about persons a day (ipwhois, issue 292)
    max_requests = 4
    lifetime_seconds = 7 * 24 * 3600
    empty_lifetime_seconds = 24 * 3600
    is_network_wide = True
    feeds = tuple(bootstrap.FEEDS.values())

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings)
        self._store = Store(settings.directory)

    @property
    def services(self) -> tuple[str, ...]:
        """What the bootstrap files name; only the one that is set, if one is."""
        return (self.settings.base_url,) if self.settings.base_url else tuple(sorted(bootstrap.all_bases(self._store)))

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        """Ask about one address."""
        (address,) = addresses
        base = self.settings.base_url or bootstrap.base_url(address, self._store)
        reply = outside.http.get(f"{base}/ip/{address}", headers=ACCEPT, may_redirect=self.may_redirect)
        if is_unknown(reply):
            return Answers(facts={address: SourceError(SourceState.EMPTY, "not registered")})
        return Answers(facts={address: read_network(the_object(reply), address)})

    def may_redirect(self, url: str) -> bool:
        """Whether this is a registry: by scheme, host and port."""
        return origin(url) in {origin(base) for base in self.services}
