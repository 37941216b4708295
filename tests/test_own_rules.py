"""RISK_RULES in the application: every result is rated by an operator's rules and says so, whatever came of its target."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.utils import timezone

from scans.conf import risk_pack
from scans.core.options import RiskOptions
from scans.core.risk import default_pack, gather, rate
from scans.core.types import Level
from scans.models import TargetResult
from scans.selectors.dashboard import _port_count
from scans.selectors.job_findings import job_findings
from scans.selectors.results import host_result
from scans.services import doctor
from scans.services.audit import COMMAND_LINE, SYSTEM
from scans.services.cancel import cancel_job
from scans.services.jobs import submit_scan
from scans.services.slices import run_slice
from scans.services.waivers import WaiverRequest, add_waiver
from scans.supervisor import banner
from tests.factories import VULNERABILITIES, make_address, make_report, make_result
from tests.servers import listening, public
from tests.services.test_jobs import request


@pytest.fixture
def own_rules(tmp_path, settings):
    """A file by which one open port is a high risk and a public web server a critical one."""
    own = tmp_path / "rules.yaml"
    own.write_text(
        "rules:\n  - {id: EXP-001, tiers: [{at: 1, points: 50}]}\n"
        "  - {id: ORG-001, title: T, match: ports, categories: [web], points: 1, cap: 1, floor: critical,\n"
        "     evidence: E, remediation: R, reference: H}\n"
    )
    settings.SCANNER = replace(settings.SCANNER, risk=RiskOptions(rules_file=str(own)))
    return own


@pytest.mark.django_db(transaction=True)
def test_every_result_is_rated_by_them_and_names_them(own_rules):
    with listening(public(1)) as port:
        submit_scan(request(public(1), "no.such.invalid", "10.0.0.1", ports=(port,)))
        run_slice()
    cancel_job(submit_scan(request(public(1), ports=(1,))), by=SYSTEM)
    found = {row.target: row.verdict for row in TargetResult.objects.filter(job__outcome="partial")}
    assert (found[public(1)]["score"], found[public(1)]["level"]) == (52, "high")
    assert found[public(1)]["findings"][0]["points"] == 50
    rulesets = {row.verdict["ruleset"] for row in TargetResult.objects.all()}
    assert rulesets == {risk_pack().version}
    assert risk_pack().version.startswith(f"{default_pack().version}+")


@pytest.mark.django_db
def test_people_see_which_rules_hold(own_rules, client):
    assert f"rules {risk_pack().version}" in client.get("/").content.decode()
    assert doctor.facts()["risk rules"] == f"{risk_pack().version} + {own_rules}"
    for text in (banner.workers(), banner.everything(admin=None)):
        assert f"Risk rules {risk_pack().version}: the built-in ones with {own_rules} over them." in text


@pytest.mark.django_db
def test_a_risk_of_a_rule_of_their_own_can_be_accepted_and_found(own_rules, client):
    own_rules_and_built_in = re.findall(r'value="([A-Z]{3}-\d{3})"', client.get("/waivers").content.decode())
    assert {"ORG-001", "EXP-001"} <= set(own_rules_and_built_in)
    asked = WaiverRequest(
        rule_id="ORG-001", scope="127.66.0.1", port=80, owner="Web", reason="Meant", last_day=timezone.now().date()
    )
    assert add_waiver(asked, origin=COMMAND_LINE).rule_id == "ORG-001"
    assert "ORG-001" in client.get("/waivers").content.decode()


def test_the_colours_of_the_dashboards_ports_follow_them(own_rules):
    assert _port_count(80, 3).floor is Level.CRITICAL


def test_the_banner_says_nothing_of_rules_that_are_as_they_came():
    assert "Risk rules" not in banner.workers()


@pytest.mark.django_db
def test_pages_put_a_finding_of_theirs_about_what_is_exploited_as_high_as_a_built_in_one(own_rules):
    own_rules.write_text(
        "rules:\n  - {id: ORG-002, title: T, match: list, fact: vulns.kev, points: 1, cap: 1,\n"
        "     evidence: E, remediation: R, reference: H}\n"
    )
    seen = replace(make_address(open_ports=[23, 3389]), vulnerabilities=VULNERABILITIES)
    report = make_report("127.66.0.1", seen)
    row = make_result(replace(report, verdict=rate(gather(report.addresses), risk_pack())))
    order = [finding["rule_id"] for finding in host_result(row)["findings"]]
    assert sorted(order[:2]) == ["ORG-002", "VUL-001"]
    assert [group.rule_id for group in job_findings(row.job).groups] == order
