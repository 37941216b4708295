"""Intelligence sources: one file each, registered in SOURCES; `choice.py` picks those that are on, `lane.py` asks them."""

from __future__ import annotations

from scans.core.feeds import AnyFeed
from scans.core.intel.base import Consultation, LocalSource, Outside, RemoteSource, Source, SourceError, consult, look_up
from scans.core.intel.choice import check_choice, switched_on
from scans.core.intel.cloud import Cloud
from scans.core.intel.firehol import Firehol
from scans.core.intel.ip_api import IpApi
from scans.core.intel.ipsum import Ipsum
from scans.core.intel.lane import IntelLane
from scans.core.intel.spamhaus_drop import SpamhausDrop
from scans.core.intel.tor_exits import TorExits

SOURCES: tuple[type[Source], ...] = (IpApi, Cloud, TorExits, SpamhausDrop, Firehol, Ipsum)
FEEDS: tuple[AnyFeed, ...] = tuple(feed for kind in SOURCES if issubclass(kind, LocalSource) for feed in kind.feeds)

__all__ = [
    "FEEDS",
    "SOURCES",
    "Consultation",
    "IntelLane",
    "IpApi",
    "LocalSource",
    "Outside",
    "RemoteSource",
    "Source",
    "SourceError",
    "check_choice",
    "consult",
    "look_up",
    "switched_on",
]
