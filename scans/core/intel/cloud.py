"""Ranges that clouds and content delivery networks publish: whose an address is, for which service, in which region.

Each provider has a file and a format of its own. An address may stand in several networks of several files: the one that
names a service beats one that only names the provider (AWS lists everything under AMAZON, too), then the smallest network
counts. Instead of its own format each file may also be lines, "192.0.2.0/24 SERVICE REGION", of which the last two may be
left out; the small files that come with the program are such lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scans.core.feeds import (
    Contents,
    Feed,
    FeedError,
    NetworkTable,
    Sieve,
    json_object,
    moment,
    network_of,
    numbered_lines,
)
from scans.core.intel.base import BAD_FILE, LocalSource, SourceError
from scans.core.intel.replies import mapping, text
from scans.core.types import Facts, IPAddress, IPNetwork, SourceState

MAX_NAME_CHARS = 60
MAX_SERVICES = 20  # of one address
TERMS = "published by each provider for its customers' firewalls"
NO_REGION = {"", "GLOBAL", "global"}
# Not networks; and of actions most of Azure, since a runner may be anywhere there: that does not make a host GitHub's.
GITHUB_OTHER_KEYS = {"ssh_keys", "commit_signing_keys", "actions", "actions_inbound"}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a provider says of a network. Without a service it is about all its networks."""

    provider: str
    service: str | None = None
    region: str | None = None
    is_cdn: bool = False
    border_group: str | None = None


Claims = NetworkTable[Claim]
Hit = tuple[Claim, IPNetwork, datetime | None]
Listed = Iterator[tuple[str, object, Claim]]  # where it stands in the file, the network as written, and what is said of it
Reader = Callable[[Mapping[str, Any]], Listed]


def _aws(said: Mapping[str, Any]) -> Listed:
    """prefixes[] and ipv6_prefixes[] of {ip_prefix or ipv6_prefix, region, service, network_border_group}."""
    for list_name, name in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")):
        for where, one in _objects(said, list_name):
            service, region = text(one, "service", limit=MAX_NAME_CHARS), _region(one, "region")
            named = None if service == "AMAZON" else service
            border = text(one, "network_border_group", limit=MAX_NAME_CHARS)
            yield where, one.get(name), Claim("Amazon Web Services", named, region, service == "CLOUDFRONT", border)


def _gcp(said: Mapping[str, Any]) -> Listed:
    """prefixes[] of {ipv4Prefix or ipv6Prefix, scope}: what customers use."""
    for where, one in _objects(said, "prefixes"):
        network = one.get("ipv4Prefix", one.get("ipv6Prefix"))
        yield where, network, Claim("Google Cloud", "Google Cloud", _region(one, "scope"))


def _google(said: Mapping[str, Any]) -> Listed:
    """prefixes[] of {ipv4Prefix or ipv6Prefix}: all of Google, its customers' included."""
    for where, one in _objects(said, "prefixes"):
        yield where, one.get("ipv4Prefix", one.get("ipv6Prefix")), Claim("Google")


def _azure(said: Mapping[str, Any]) -> Listed:
    """values[] of {name, properties{region, addressPrefixes[]}}; the name is Service.Region; AzureCloud is all."""
    for where, tag in _objects(said, "values"):
        service, _, part = (text(tag, "name", limit=MAX_NAME_CHARS) or "").partition(".")
        properties = mapping(tag.get("properties"))
        is_cdn = service == "AzureFrontDoor" and part != "Backend"
        claim = Claim("Microsoft Azure", None if service == "AzureCloud" else service, _region(properties, "region"), is_cdn)
        for at, network in enumerate(_list(properties, "addressPrefixes"), start=1):
            yield f"{where}, prefix {at}", network, claim


def _cloudflare(said: Mapping[str, Any]) -> Listed:
    """result{ipv4_cidrs[], ipv6_cidrs[]}."""
    return _plain(mapping(said.get("result")), ("ipv4_cidrs", "ipv6_cidrs"), Claim("Cloudflare", "CDN", is_cdn=True))


def _fastly(said: Mapping[str, Any]) -> Listed:
    """addresses[] and ipv6_addresses[]."""
    return _plain(said, ("addresses", "ipv6_addresses"), Claim("Fastly", "CDN", is_cdn=True))


def _oracle(said: Mapping[str, Any]) -> Listed:
    """regions[] of {region, cidrs[] of {cidr, tags[]}}; OCI and OSN stand for its two networks, other tags for services."""
    for where, region in _objects(said, "regions"):
        for at, one in _objects(region, "cidrs"):
            tags = (clean for tag in _list(one, "tags") if (clean := text({"tag": tag}, "tag", limit=MAX_NAME_CHARS)))
            service = next((tag for tag in tags if tag not in ("OCI", "OSN")), None)
            yield f"{where}, {at}", one.get("cidr"), Claim("Oracle Cloud", service, _region(region, "region"))


def _github(said: Mapping[str, Any]) -> Listed:
    """A list of networks by service, among keys that are about other things. Hooks come from anywhere at GitHub's."""
    services = sorted(key for key, value in said.items() if isinstance(value, list) and key not in GITHUB_OTHER_KEYS)
    for service in services:
        name = text({"name": service}, "name", limit=MAX_NAME_CHARS)
        yield from _plain(said, (service,), Claim("GitHub", None if service == "hooks" else name))


def _plain(said: Mapping[str, Any], names: Iterable[str], claim: Claim) -> Listed:
    for name in names:
        for at, network in enumerate(_list(said, name), start=1):
            yield f"{name[:MAX_NAME_CHARS]} {at}", network, claim


def _objects(said: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for at, one in enumerate(_list(said, name), start=1):
        yield f"{name} {at}", mapping(one)


def _list(said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name)
    return value if isinstance(value, list) else []


def _region(said: Mapping[str, Any], name: str) -> str | None:
    found = text(said, name, limit=MAX_NAME_CHARS)
    return None if found in NO_REGION else found


def _lines(body: bytes, claim: Claim) -> Listed:
    """Our own form, and Cloudflare's ips-v4 and ips-v6."""
    for number, line in numbered_lines(body):
        if line.startswith("#"):
            continue
        network, *words = line.split()
        named = {"service": text({"w": words[0]}, "w", limit=MAX_NAME_CHARS)} if words else {}
        region = text({"w": words[1]}, "w", limit=MAX_NAME_CHARS) if len(words) > 1 else None
        yield f"line {number}", network, Claim(claim.provider, named.get("service", claim.service), region, claim.is_cdn)


def _reader(claim: Claim, reader: Reader, date: tuple[str, str] | None) -> Callable[[bytes], Contents[Claims]]:
    """A reader of one provider's file. `date`: where the file says of when it is, and how it writes that."""

    def read(body: bytes) -> Contents[Claims]:
        if body.lstrip()[:1] == b"{":
            said = json_object(body)
            return _contents(reader(said), moment(said.get(date[0]), date[1]) if date else None)
        dated = re.search(rb"^# Dated: (\d{4}-\d\d-\d\d)$", body, re.MULTILINE)
        return _contents(_lines(body, claim), moment(dated[1].decode(), "%Y-%m-%d") if dated else None)

    return read


def _contents(listed: Iterable[tuple[str, object, Claim]], dated: datetime | None) -> Contents[Claims]:
    sieve, found = Sieve(), []
    same: dict[Claim, Claim] = {}  # tens of thousands of networks share some hundreds
    parsed: dict[object, IPNetwork | None] = {}  # and a network stands there under several services
    for where, written, claim in listed:
        as_text = written if isinstance(written, str) else None
        if as_text not in parsed:
            parsed[as_text] = network_of(as_text)
        if network := parsed[as_text]:
            found.append((network, same.setdefault(claim, claim)))
        else:
            sieve.leave_out(where, written, "a network")
    return sieve.contents(NetworkTable(found), len(found), dated=dated)


def _feed(
    name: str,
    claim: Claim,
    reader: Reader,
    *,
    url: str = "",
    homepage: str = "",
    date: tuple[str, str] | None = None,
    title: str = "",
    refresh_days: int = 1,
    max_mebibytes: int = 2,
) -> Feed[Claims]:
    return Feed(
        name=name,
        title=f"the ranges of {title or claim.provider}",
        terms=TERMS,
        file_name=f"{name}.ranges",
        url=url,
        homepage=homepage or url,
        refresh_seconds=refresh_days * 24 * 3600,
        max_bytes=max_mebibytes << 20,
        read=_reader(claim, reader, date),
    )


FEEDS = (
    _feed(
        "cloudflare",
        Claim("Cloudflare", "CDN", is_cdn=True),
        _cloudflare,
        url="https://api.cloudflare.com/client/v4/ips",
        homepage="https://www.cloudflare.com/ips/",
    ),
    _feed("fastly", Claim("Fastly", "CDN", is_cdn=True), _fastly, url="https://api.fastly.com/public-ip-list"),
    _feed(
        "aws",
        Claim("Amazon Web Services"),
        _aws,
        url="https://ip-ranges.amazonaws.com/ip-ranges.json",
        date=("createDate", "%Y-%m-%d-%H-%M-%S"),
        max_mebibytes=8,
    ),
    _feed(
        "azure",  # its address changes with every release: only a person finds it
        Claim("Microsoft Azure"),
        _azure,
        homepage="https://www.microsoft.com/en-us/download/details.aspx?id=56519",
        refresh_days=7,
        max_mebibytes=20,
    ),
    _feed(
        "gcp",
        Claim("Google Cloud", "Google Cloud"),
        _gcp,
        url="https://www.gstatic.com/ipranges/cloud.json",
        date=("creationTime", "%Y-%m-%dT%H:%M:%S.%f"),
    ),
    _feed(
        "oracle",
        Claim("Oracle Cloud"),
        _oracle,
        url="https://docs.oracle.com/en-us/iaas/tools/public_ip_ranges.json",
        date=("last_updated_timestamp", "%Y-%m-%dT%H:%M:%S.%f"),
    ),
    _feed("github", Claim("GitHub"), _github, url="https://api.github.com/meta"),
    _feed(
        "google",
        Claim("Google"),
        _google,
        url="https://www.gstatic.com/ipranges/goog.json",
        date=("creationTime", "%Y-%m-%dT%H:%M:%S.%f"),
        title="all of Google",
    ),
)


class Cloud(LocalSource):
    """Whose cloud an address is in."""

    name = "cloud"
    title = "Cloud ranges"
    gives = "cloud or CDN, its service and region"
    terms = TERMS
    is_default = True
    feeds = FEEDS

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        """See LocalSource. A provider without a file is not asked; one whose file is bad only spoils a "nothing known"."""
        found: list[Hit] = []
        has_bad, oldest = False, None
        for feed in FEEDS:
            if not self.store.has(feed):
                continue
            try:
                loaded = self.store.load(feed)
            except FeedError:
                has_bad = True
                continue
            found += [(hit.value, hit.network, loaded.of) for hit in loaded.table.find(address)]
            oldest = min(filter(None, (oldest, loaded.of)), default=None)
        if found:
            return _best(found)
        if has_bad:
            raise SourceError(SourceState.FAILED, BAD_FILE)
        if not any(self.store.has(feed) for feed in FEEDS):
            raise SourceError(SourceState.SKIPPED, "there are no ranges here: `manage.py feeds update` brings them")
        return Facts(), oldest


def _best(found: list[Hit]) -> tuple[Facts, datetime | None]:
    """The claim that says most; what it leaves open of the region, another one of the same provider may say."""
    claim, network, of = max(
        found, key=lambda one: (one[0].service is not None, one[1].prefixlen, one[0].region is not None)
    )
    same = [other for other, _, _ in found if other.provider == claim.provider]
    regions = (other.region for other in same if other.region)
    service = None if claim.service == claim.provider else claim.service
    services = sorted({other.service for other in same if other.service})
    facts = Facts(
        cloud_provider=claim.provider,
        cloud_service=service,
        cloud_region=claim.region or next(regions, None),
        cloud_network=str(network),
        cloud_services=tuple(services[:MAX_SERVICES]) if len(services) > 1 else None,
        cloud_border_group=claim.border_group,
        is_cdn=claim.is_cdn or None,
    )
    return facts, of
