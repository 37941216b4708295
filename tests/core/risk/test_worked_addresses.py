"""Whole hosts, from what the stages saw to the verdict, worked out by hand: every rule's points, the score, the level."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from scans.core.risk import RiskEvidence, default_pack, gather, rate
from scans.core.risk.fact import Fact
from scans.core.types import (
    AddressReport,
    Cookie,
    Facts,
    HttpFacts,
    PortState,
    Probe,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    TlsFacts,
)
from scans.core.wire import verdict_dict

FILE = Path(__file__).parent / "worked_addresses.yaml"
HOSTS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
ALL_HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
MOMENT = datetime(2026, 11, 1, tzinfo=UTC)


def page_of(said: dict[str, Any], *, is_tls: bool) -> HttpFacts:
    lacks, cookies = said.pop("lacks", ()), said.pop("cookies", ())
    follows_to_tls = said.pop("follows_to_tls", False)
    return HttpFacts(
        status=301 if follows_to_tls else 200,
        last_status=200 if follows_to_tls else None,
        content_type="text/html",
        security_headers=tuple((name, value) for name, value in ALL_HEADERS.items() if name not in lacks),
        cookies=tuple(Cookie(**cookie) for cookie in cookies),
        is_encrypted=is_tls or follows_to_tls,
        **said,
    )


def service_of(said: dict[str, Any]) -> Service:
    page, tls = said.pop("page", None), said.pop("tls", None)
    lists = {name: tuple(values) for name, values in (tls or {}).items()}
    if page is not None:
        said = {"protocol": "HTTP", **said}
    return Service(
        state=ServiceState.IDENTIFIED,
        is_tls=tls is not None,
        http=None if page is None else page_of(page, is_tls=tls is not None),
        tls=None if tls is None else TlsFacts(version="TLSv1.3", cipher="X", **{"legacy_versions": (), **lists}),
        **said,
    )


def address_of(said: dict[str, Any]) -> AddressReport:
    states = {state: said.pop(state.value, ()) for state in (PortState.OPEN, PortState.CLOSED, PortState.FILTERED)}
    probes = sorted(Probe(port, state, "", 1, None) for state, ports in states.items() for port in ports)
    says = {name: tuple(value) if isinstance(value, list) else value for name, value in said.pop("says", {}).items()}
    source = SourceResult(
        source="ip-api",
        state=SourceState(said.pop("source", "ok")),
        observed_at=MOMENT,
        facts=Facts(**says),
    )
    address = AddressReport(
        address=ip_address(said.pop("address", "198.51.100.7")),
        is_global=said.pop("public", True),
        probes=tuple(probes),
        sources=(source,),
        services=tuple(service_of(service) for service in said.pop("services", ())),
    )
    assert not said, "a word that means nothing"
    return address


def evidence_of(host: dict[str, Any]) -> RiskEvidence:
    """What the stages saw, and what is known against products."""
    given = json.loads(json.dumps(host))  # a copy, to take apart
    seen = gather([address_of(address) for address in given["addresses"]])
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.get("facts", {}).items()}
    said = {name: Fact(value=value, sources=("x",)) for name, value in values.items()}
    everywhere, public = (replace(part, facts={**part.facts, **said}) for part in (seen.everywhere, seen.public))
    return replace(seen, everywhere=everywhere, public=public)


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host["name"])
def test_a_worked_host_fires_exactly_these_rules(host):
    verdict = rate(evidence_of(host))
    expected = host["expect"]
    assert {finding.rule_id: finding.points for finding in verdict.findings} == expected["rules"]
    assert (verdict.score, verdict.level) == (expected.get("score", sum(expected["rules"].values())), expected["level"])


def test_there_are_more_than_thirty_and_some_of_every_level():
    assert len(HOSTS) == len({host["name"] for host in HOSTS}) >= 37
    assert {host["expect"]["level"] for host in HOSTS} == {"unknown", "low", "medium", "high", "critical"}


def test_every_rule_is_in_one_of_them():
    assert {rule_id for host in HOSTS for rule_id in host["expect"]["rules"]} == {rule.id for rule in default_pack().rules}


def test_a_verdict_keeps_all_that_it_rests_on():
    (host,) = [host for host in HOSTS if host["name"] == "Redis that answers anybody"]
    verdict = verdict_dict(rate(evidence_of(host)))
    assert verdict["ruleset"] == default_pack().version
    assert verdict["completeness"] == {
        "ports_answered": 1, "ports_tested": 1, "sources_answered": 1, "sources_asked": 1, "doubts": [],
    }  # fmt: skip
    assert all(finding["evidence"] and finding["remediation"] and finding["reference"] for finding in verdict["findings"])
