"""Intelligence sources: one file each, registered in SOURCES; `lane.py` asks them for one scan."""

from __future__ import annotations

from scans.core.intel.base import Consultation, Quota, Source, SourceError, consult
from scans.core.intel.ip_api import IpApi
from scans.core.intel.lane import IntelLane

SOURCES: tuple[type[Source], ...] = (IpApi,)

__all__ = ["SOURCES", "Consultation", "IntelLane", "IpApi", "Quota", "Source", "SourceError", "consult"]
