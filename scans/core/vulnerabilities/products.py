"""Which products, in which version, are seen at an address: by the words of its services, and by CPE names of sources.

CPE names (NISTIR 7695) come as a formatted string, cpe:2.3:a:f5:nginx:1.18.0:*:…, or as the older URI,
cpe:/a:f5:nginx:1.18.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from scans.core.types import SERVICE_ITSELF, Service, ServiceState, SourceResult

MAX_PRODUCTS = 100  # of one address
_UNSAID = ("", "*", "-")
# Whose packages carry repairs of later versions; what a build says of itself: "Ubuntu-3ubuntu0.10", "(Debian)", "+deb12u1".
_DISTRIBUTIONS = {
    "Ubuntu": re.compile(r"ubuntu", re.IGNORECASE),
    "Debian": re.compile(r"debian|\+deb\d|~deb\d", re.IGNORECASE),
    "Raspbian": re.compile(r"raspbian", re.IGNORECASE),
    "Red Hat": re.compile(r"red ?hat|\brhel\b|\.el\d", re.IGNORECASE),
    "CentOS": re.compile(r"centos", re.IGNORECASE),
    "Fedora": re.compile(r"fedora", re.IGNORECASE),
    "AlmaLinux": re.compile(r"almalinux", re.IGNORECASE),
    "Rocky Linux": re.compile(r"rocky ?linux", re.IGNORECASE),
    "Oracle Linux": re.compile(r"oracle ?linux", re.IGNORECASE),
    "Amazon Linux": re.compile(r"amazon ?linux|\.amzn\d", re.IGNORECASE),
    "SUSE": re.compile(r"\bsuse\b|opensuse", re.IGNORECASE),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenProduct:
    """A product in a version, and who says so."""

    name: str  # as its maker or its CPE name calls it
    version: str
    named_by: str
    port: int | None = None
    cpe: str | None = None  # part, vendor and product: a:f5:nginx
    distribution: str | None = None


def seen_products(services: Iterable[Service], sources: Iterable[SourceResult]) -> list[SeenProduct]:
    """All that name a version. Those that the address itself shows come first."""
    own = [product for service in services for product in _of_service(service)]
    told = [product for result in sources for product in _of_source(result)]
    return [*own, *told][:MAX_PRODUCTS]


def cpe_name(said: object) -> tuple[str, str | None] | None:
    """Part, vendor and product of a CPE name in lower case ("a:f5:nginx"), and the version; None for what is none."""
    if not isinstance(said, str) or len(said) > 300:
        return None
    text = said.strip().lower()
    if text.startswith("cpe:2.3:"):
        parts = [part.replace("\\", "") for part in re.split(r"(?<!\\):", text)[2:]]
    elif text.startswith("cpe:/"):
        parts = [unquote(part) for part in text.removeprefix("cpe:/").split(":")]
    else:
        return None
    if len(parts) < 3 or parts[0] not in ("a", "o", "h") or any(part in _UNSAID for part in parts[1:3]):
        return None
    version = parts[3] if len(parts) > 3 and parts[3] not in _UNSAID else None
    return ":".join(parts[:3]), version


def distribution_of(service: Service) -> str | None:
    """The distribution whose build a service says it is; None if it says nothing of that."""
    said = " ".join(filter(None, (service.version, service.banner, service.http.server if service.http else None)))
    return next((name for name, sign in _DISTRIBUTIONS.items() if sign.search(said)), None)


def _of_service(service: Service) -> Iterator[SeenProduct]:
    if service.state is not ServiceState.IDENTIFIED:
        return
    distribution = distribution_of(service)
    named = cpe_name(service.cpe)
    if named and named[1] and service.product:
        yield SeenProduct(
            name=service.product,
            version=service.version or named[1],
            named_by=SERVICE_ITSELF,
            port=service.port,
            cpe=named[0],
            distribution=distribution,
        )
    for technology in service.http.technologies if service.http else ():
        if technology.version:
            yield SeenProduct(
                name=technology.name,
                version=technology.version,
                named_by=SERVICE_ITSELF,
                port=service.port,
                distribution=distribution,
            )


def _of_source(result: SourceResult) -> Iterator[SeenProduct]:
    for cpe in result.facts.seen_products or ():
        named = cpe_name(cpe)
        if named and named[1]:
            product = named[0].rpartition(":")[2].replace("_", " ")
            yield SeenProduct(name=product, version=named[1], named_by=result.source, cpe=named[0])
