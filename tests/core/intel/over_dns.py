"""Asks one source over DNS, of a name server of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

from scans.core.egress import Egress
from scans.core.intel import Consultation, RemoteSource, consult
from scans.core.intel.base import SourceSettings
from scans.core.options import IntelOptions, Options
from scans.core.types import SourceResult
from tests.name_servers import NameServer, Said, Says
from tests.patience import PATIENCE

ONE = "203.0.113.10"


def ask(
    kind: type[RemoteSource], addresses: Sequence[str], *servers: NameServer | tuple[str, int], seconds: float = PATIENCE
) -> Mapping[str, SourceResult]:
    """The results by address, as it is written."""
    results = consulted(kind, addresses, *servers, seconds=seconds).results
    return {str(address): result for address, result in results.items()}


def consulted(
    kind: type[RemoteSource], addresses: Sequence[str], *servers: NameServer | tuple[str, int], seconds: float = PATIENCE
) -> Consultation:
    """The same with what it says of the source."""
    at = tuple(server.address if isinstance(server, NameServer) else server for server in servers)
    intel = IntelOptions(dns_servers=at, dns_timeout_seconds=seconds)
    asked = [ip_address(address) for address in addresses]
    return consult(kind(SourceSettings()), asked, Egress(Options(intel=intel)), intel)


def zone(records: Mapping[str, Said]) -> Callable[[str, str], Said]:
    """Answers from a table whose keys are a name and a type: "host.example A"; NXDOMAIN for all else."""
    lower = {key.lower(): said for key, said in records.items()}
    return lambda name, kind: lower.get(f"{name} {kind}".lower(), Says.NXDOMAIN)
