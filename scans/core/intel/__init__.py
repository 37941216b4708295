"""Intelligence sources: one file each, registered in SOURCES; `choice.py` picks those that are on, `lane.py` asks them."""

from __future__ import annotations

from scans.core.feeds import AnyFeed
from scans.core.intel.abuseipdb import AbuseIpDb
from scans.core.intel.base import Consultation, LocalSource, Outside, RemoteSource, Source, SourceError, consult, look_up
from scans.core.intel.choice import check_choice, switched_on
from scans.core.intel.cloud import Cloud
from scans.core.intel.cymru import Cymru
from scans.core.intel.dnsbl import Dnsbl
from scans.core.intel.firehol import Firehol
from scans.core.intel.geo import Geo
from scans.core.intel.greynoise import GreyNoise
from scans.core.intel.internetdb import InternetDb
from scans.core.intel.ip_api import IpApi
from scans.core.intel.ipinfo import IpInfo
from scans.core.intel.ipsum import Ipsum
from scans.core.intel.lane import IntelLane
from scans.core.intel.otx import Otx
from scans.core.intel.rdap import Rdap
from scans.core.intel.reverse_dns import ReverseDns
from scans.core.intel.spamhaus_drop import SpamhausDrop
from scans.core.intel.tor_exits import TorExits
from scans.core.intel.virustotal import VirusTotal

# In this order they are asked about, and shown: of what several say, the first counts.
SOURCES: tuple[type[Source], ...] = (
    IpApi,
    Rdap,
    Cymru,
    ReverseDns,
    Geo,
    Cloud,
    TorExits,
    SpamhausDrop,
    Firehol,
    Ipsum,
    Dnsbl,
    InternetDb,
    GreyNoise,
    AbuseIpDb,
    VirusTotal,
    Otx,
    IpInfo,
)
FEEDS: tuple[AnyFeed, ...] = tuple(feed for kind in SOURCES for feed in kind.feeds)

__all__ = [
    "FEEDS",
    "SOURCES",
    "AbuseIpDb",
    "Cloud",
    "Consultation",
    "Cymru",
    "Dnsbl",
    "Firehol",
    "Geo",
    "GreyNoise",
    "IntelLane",
    "InternetDb",
    "IpApi",
    "IpInfo",
    "Ipsum",
    "LocalSource",
    "Otx",
    "Outside",
    "Rdap",
    "RemoteSource",
    "ReverseDns",
    "Source",
    "SourceError",
    "SpamhausDrop",
    "TorExits",
    "VirusTotal",
    "check_choice",
    "consult",
    "look_up",
    "switched_on",
]
