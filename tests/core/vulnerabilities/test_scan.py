"""From a port and a source to a verdict: what a scan finds is looked up in the lists of its directory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from scans.core import pipeline
from scans.core.pipeline import Item
from scans.core.targets import parse_target
from scans.core.tools import Tools
from scans.core.types import Level, Report
from tests.core.fingerprint.asking import saying, serving
from tests.core.test_pipeline_services import PAGE, tools
from tests.fakes import Answer, service
from tests.patience import PATIENCE
from tests.servers import public

OLD = PAGE.replace(b"nginx/1.22.1", b"nginx/1.18.0 (Ubuntu)")


def test_a_scan_rates_what_a_source_and_a_port_name_by_the_lists_of_this_machine(lists):
    seen = {
        "ip": public(81),
        "ports": [],
        "hostnames": [],
        "tags": [],
        "cpes": [],
        "vulns": ["CVE-2099-0001", "CVE-2099-0002"],
    }
    given = tools(grace_seconds=PATIENCE)
    with service(lambda _: Answer.json(seen)) as fake, serving(saying(OLD, wait_for=b"\r\n\r\n"), public(81)) as server:
        intel = replace(
            given.options.intel, sources=("internetdb",), urls={"internetdb": fake.base_url}, directory=str(lists)
        )
        kit = Tools(options=replace(given.options, intel=intel))
        item = Item(key=0, target=parse_target(public(81)), ports=(server.port,))
        ((_, report),) = pipeline.scan([item], kit)
    assert isinstance(report, Report)
    (address,) = report.addresses
    worst, other = address.vulnerabilities or ()
    assert (worst.cve, worst.is_exploited, worst.due, worst.epss) == ("CVE-2099-0001", True, date(2026, 12, 9), 0.91234)
    assert (other.cve, other.is_exploited) == ("CVE-2099-0002", False)
    (ended,) = address.end_of_life or ()
    assert (ended.product, ended.release, ended.ports, ended.distribution) == ("nginx", "1.18", (server.port,), "Ubuntu")
    points = {finding.rule_id: finding.points for finding in report.verdict.findings}
    assert {rule: points[rule] for rule in points if rule.startswith("VUL")} == {"VUL-001": 40, "VUL-002": 15, "VUL-004": 12}
    assert report.verdict.level in (Level.HIGH, Level.CRITICAL)
    assert any(doubt.startswith("Ubuntu repairs programs without") for doubt in report.verdict.completeness.doubts)
