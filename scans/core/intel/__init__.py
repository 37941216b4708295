"""Intelligence sources: one file each, registered in SOURCES; `choice.py` picks those that are on, `lane.py` asks them."""

from __future__ import annotations

from scans.core.intel.base import Consultation, LocalSource, Outside, RemoteSource, Source, SourceError, consult, look_up
from scans.core.intel.choice import check_choice, switched_on
from scans.core.intel.cymru import Cymru
from scans.core.intel.dnsbl import Dnsbl
from scans.core.intel.ip_api import IpApi
from scans.core.intel.lane import IntelLane
from scans.core.intel.rdap import Rdap
from scans.core.intel.reverse_dns import ReverseDns

SOURCES: tuple[type[Source], ...] = (IpApi, Rdap, Cymru, ReverseDns, Dnsbl)

__all__ = [
    "SOURCES",
    "Consultation",
    "Cymru",
    "Dnsbl",
    "IntelLane",
    "IpApi",
    "LocalSource",
    "Outside",
    "Rdap",
    "RemoteSource",
    "ReverseDns",
    "Source",
    "SourceError",
    "check_choice",
    "consult",
    "look_up",
    "switched_on",
]
