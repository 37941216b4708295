"""One scan of many addresses by the whole pipeline, and as a program: how much memory that takes.

    python -m tests.core.fingerprint.growth '{"127.66.1.100": [40001, 40002]}' SECONDS
    → [KiB that the process grew, services found]

It first scans services of its own that mean well, so that what is imported on the way and kept for good is there already.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from unittest.mock import patch

from scans.core import pipeline
from scans.core.fingerprint import FingerprintLane
from scans.core.options import FingerprintOptions, IntelOptions, Options, ProbeOptions, ScopeOptions
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Report
from tests import guard
from tests.core.fingerprint.asking import saying, serving
from tests.core.fingerprint.certs import encrypted, make, server_context
from tests.core.fingerprint.clock import PatientClock
from tests.patience import AGES

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>a</title>"


def scan_all(ports_by_address: Mapping[str, Sequence[int]], *, seconds: float) -> dict[str, Report]:
    """The report of each address, without asking anybody else. No time of the lane runs out because of a slow machine."""
    tools = Tools(
        options=Options(
            scope=ScopeOptions(allow=(ip_network("127.0.0.0/8"),), treat_as_global=(ip_network("127.66.0.0/16"),)),
            probe=ProbeOptions(rate_per_second=0),
            fingerprint=FingerprintOptions(seconds=seconds),
            intel=IntelOptions(offline=True),
        )
    )
    items = [
        Item(key=address, target=parse_target(address), ports=tuple(sorted(ports)))
        for address, ports in ports_by_address.items()
    ]
    patient = partial(FingerprintLane, clock=PatientClock(sees_servers=False))
    with patch.object(pipeline, "FingerprintLane", patient), patch.object(pipeline, "FINGERPRINT_GRACE_SECONDS", AGES):
        return {str(key): report for key, report in pipeline.scan(items, tools) if isinstance(report, Report)}


def main() -> None:
    """Warm up, measure, say it."""
    guard.install()
    ports_by_address, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
    with serving(encrypted(saying(PAGE, wait_for=b"\r\n\r\n"), server_context(make()))) as server:
        scan_all({"127.0.0.1": [server.port]}, seconds=seconds)
    before = _most_kib()
    reports = scan_all(ports_by_address, seconds=seconds)
    found = sum(len(address.services) for report in reports.values() for address in report.addresses)
    print(json.dumps([_most_kib() - before, found]))


def _most_kib() -> int:
    """The most ever held. Not getrusage's figure: a process inherits that from the one that started it."""
    held = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert held is not None
    return int(held[1])


if __name__ == "__main__":
    main()
