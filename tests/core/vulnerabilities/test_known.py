"""What is known against the products of an address: who names it, by what it is judged, and what stays unknown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scans.core.feeds import Store
from scans.core.risk import gather, rate, rate_closed
from scans.core.risk.levels import rank
from scans.core.stored import stored_addresses
from scans.core.types import (
    SERVICE_ITSELF,
    AddressReport,
    EndOfLife,
    Facts,
    HttpFacts,
    Level,
    PortState,
    Probe,
    Service,
    ServiceState,
    SourceResult,
    SourceState,
    Technology,
    Vulnerability,
)
from scans.core.vulnerabilities import KEV, KnownAgainst, Library, known_against
from scans.core.vulnerabilities.known import MAX_VULNERABILITIES
from scans.core.vulnerabilities.products import cpe_name, distribution_of
from scans.core.wire import evidence_dict, wire_result
from tests.factories import make_report

DAY = date(2026, 11, 28)
NGINX = Service(
    port=80, state=ServiceState.IDENTIFIED, protocol="HTTP", product="nginx", version="1.18.0",
    cpe="cpe:2.3:a:f5:nginx:1.18.0:*:*:*:*:*:*:*",
)  # fmt: skip


def says(name: str = "internetdb", state: SourceState = SourceState.OK, **facts) -> SourceResult:
    return SourceResult(source=name, state=state, facts=Facts(**facts))


def page(*technologies: Technology, server: str | None = None) -> HttpFacts:
    return HttpFacts(status=200, technologies=technologies, server=server)


def report(known: KnownAgainst, *, is_global: bool = True, ports: tuple[int, ...] = (80,)) -> AddressReport:
    return AddressReport(
        address=ip_address("192.0.2.1"),
        is_global=is_global,
        probes=tuple(Probe(port, PortState.OPEN, "syn-ack", 1, 1.0) for port in ports),
        vulnerabilities=known.vulnerabilities,
        end_of_life=known.end_of_life,
    )


# --- CVEs ------------------------------------------------------------------------------------------------------------


def test_the_cves_that_sources_name_are_judged_by_both_lists_and_the_worst_comes_first(library):
    cves = ("CVE-2099-0002", "cve-2099-12345", "CVE-2099-0001", "CVE-2099-7777")
    told = [says(seen_cves=cves), says("other", seen_cves=("CVE-2099-0001",))]
    known = known_against([], told, library, day=DAY).vulnerabilities
    assert known is not None
    assert known[0] == Vulnerability(
        cve="CVE-2099-0001",
        named_by=("internetdb", "other"),
        epss=0.91234,
        is_exploited=True,
        due=date(2026, 12, 9),
        is_ransomware=True,
    )
    assert [(each.cve, each.is_exploited, each.epss) for each in known[1:]] == [
        ("CVE-2099-12345", True, 0.5),
        ("CVE-2099-0002", False, 0.000091),
        ("CVE-2099-7777", False, None),
    ]


@pytest.mark.parametrize("state", SourceState)
def test_only_a_source_that_spoke_names_any(library, state):
    known = known_against([], [says(state=state, seen_cves=("CVE-2099-0001",))], library, day=DAY).vulnerabilities
    assert bool(known) is (state in (SourceState.OK, SourceState.STALE))


def test_nobody_who_could_name_any_is_not_the_same_as_none_named(library):
    assert known_against([NGINX], [says(country="X")], library, day=DAY).vulnerabilities is None
    assert known_against([NGINX], [says(seen_cves=())], library, day=DAY).vulnerabilities == ()


def test_what_is_no_cve_is_nobodys_vulnerability(library):
    names = ("", "x", "CVE-2099-1", "CVE-2099-0001; drop", "CVE-２０９９-0001", "CVE-2099-" + "1" * 500)
    assert known_against([], [says(seen_cves=names)], library, day=DAY).vulnerabilities == ()


def test_without_the_lists_it_is_not_known_whether_anybody_exploits_it(tmp_path):
    (only,) = known_against([], [says(seen_cves=("CVE-2099-0001",))], Library(Store(str(tmp_path))), day=DAY).vulnerabilities
    assert (only.is_exploited, only.epss, only.due) == (None, None, None)
    evidence = gather([report(KnownAgainst(vulnerabilities=(only,)))])
    assert not evidence.everywhere.facts.keys() & {"vulns.kev", "vulns.max_epss", "vulns.max_cvss"}
    assert evidence.completeness.doubts == (
        "Whether the CVE named is exploited is not known: the list of those is not on this machine.",
    )


def test_a_damaged_list_costs_no_scan_and_is_told_once(lists, library, caplog):
    (lists / KEV.file_name).write_bytes(b"<html>")
    for _ in range(2):
        (only,) = known_against([], [says(seen_cves=("CVE-2099-0001",))], library, day=DAY).vulnerabilities
        assert (only.is_exploited, only.epss) == (None, 0.91234)
    assert [record.getMessage() for record in caplog.records if "kev" in record.getMessage()] == [
        "kev: line 1: not JSON, or cut off (Expecting value: line 1 column 1 (char 0))"
    ]


def test_of_very_many_the_worst_are_kept(library):
    names = tuple(f"CVE-2098-{n:04}" for n in range(500))
    known = known_against([], [says(seen_cves=(*names, "CVE-2099-0001"))], library, day=DAY).vulnerabilities
    assert known is not None
    assert len(known) == MAX_VULNERABILITIES
    assert known[0].cve == "CVE-2099-0001"


# --- End of life -----------------------------------------------------------------------------------------------------


def test_a_service_of_a_release_that_has_ended_is_named_with_port_and_day(library):
    assert known_against([NGINX], [], library, day=DAY).end_of_life == (
        EndOfLife(
            product="nginx",
            version="1.18.0",
            release="1.18",
            named_by=(SERVICE_ITSELF,),
            since=date(2021, 4, 20),
            ports=(80,),
        ),
    )


def test_whoever_names_the_same_product_and_version_stands_in_one_line(library):
    told = says(
        seen_products=("cpe:/a:nginx:nginx:1.18.0", "cpe:2.3:a:f5:nginx:1.29.1:*:*:*:*:*:*:*", "cpe:/a:f5:nginx", "x")
    )
    (only,) = known_against([NGINX, replace(NGINX, port=8080)], [told], library, day=DAY).end_of_life
    assert (only.ports, only.named_by) == ((80, 8080), ("internetdb", SERVICE_ITSELF))


def test_what_a_page_is_made_with_counts_by_its_name(library):
    made = page(Technology(name="PHP", version="7.4.3", sign="x"), Technology(name="jQuery", version="1.2", sign="x"))
    plain = Service(port=443, state=ServiceState.IDENTIFIED, protocol="HTTP", http=made)
    (only,) = known_against([plain], [], library, day=DAY).end_of_life
    assert (only.product, only.release, only.ports) == ("PHP", "7.4", (443,))


@pytest.mark.parametrize(("day", "count"), [(date(2021, 4, 19), 0), (date(2021, 4, 20), 1)])
def test_the_day_of_the_scan_decides(library, day, count):
    assert len(known_against([NGINX], [], library, day=day).end_of_life) == count


def test_where_no_version_is_known_or_no_list_is_there_nothing_is_said(library, tmp_path):
    assert known_against([replace(NGINX, version=None, cpe=None)], [], library, day=DAY).end_of_life is None
    assert known_against([NGINX], [], Library(Store(str(tmp_path / "nowhere"))), day=DAY).end_of_life is None
    assert (
        known_against([replace(NGINX, cpe=NGINX.cpe.replace("1.18", "1.29"))], [], library, day=DAY).end_of_life is not None
    )


@pytest.mark.parametrize(
    ("said", "distribution"),
    [
        ({"banner": "SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.10"}, "Ubuntu"),
        ({"version": "10.11.6-MariaDB-0+deb12u1"}, "Debian"),
        ({"http": page(server="Apache/2.4.41 (Ubuntu)")}, "Ubuntu"),
        ({"http": page(server="Apache/2.4.37 (Red Hat Enterprise Linux)")}, "Red Hat"),
        ({"http": page(server="Apache/2.4.6 (CentOS) OpenSSL/1.0.2k-fips")}, "CentOS"),
        ({"banner": "SSH-2.0-OpenSSH_9.2p1"}, None),
        ({}, None),
    ],
)
def test_a_build_that_says_whose_it_is_is_believed(said, distribution):
    assert distribution_of(replace(NGINX, version=None) if not said else replace(NGINX, **said)) == distribution


def test_a_distributions_build_is_a_doubt(library):
    built = replace(NGINX, http=page(server="nginx/1.18.0 (Ubuntu)"))
    known = known_against([built], [says(seen_cves=("CVE-2099-0001",))], library, day=DAY)
    assert {known.vulnerabilities[0].distribution, known.end_of_life[0].distribution} == {"Ubuntu"}
    assert gather([report(known)]).completeness.doubts == (
        "Ubuntu repairs programs without a new version: what a version indicates may be repaired.",
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("cpe:2.3:a:f5:nginx:1.18.0:*:*:*:*:*:*:*", ("a:f5:nginx", "1.18.0")),
        ("cpe:/a:OpenBSD:openssh:8.2p1", ("a:openbsd:openssh", "8.2p1")),
        ("cpe:2.3:a:x\\:y:z:1\\.0:*", ("a:x:y:z", "1.0")),
        ("cpe:/o:x:y%7e:-", ("o:x:y~", None)),
        ("cpe:/a:f5:nginx", ("a:f5:nginx", None)),
        ("cpe:2.3:a:*:nginx:1", None),
        ("cpe:2.3:a:f5", None),
        ("cpe:/z:f5:nginx:1", None),
        ("nginx 1.18", None),
        ("cpe:/a:" + "x" * 400, None),
        (None, None),
    ],
)
def test_cpe_names_of_both_kinds_are_read(said, expected):
    assert cpe_name(said) == expected


# --- Rated, stored, and supposed closed ------------------------------------------------------------------------------


def everything(library: Library) -> KnownAgainst:
    known = known_against([NGINX], [says(seen_cves=("CVE-2099-0001", "CVE-2099-0002"))], library, day=DAY)
    worst = replace(known.vulnerabilities[0], cvss=9.8, cvss_by="nvd")
    return replace(known, vulnerabilities=(worst, *known.vulnerabilities[1:]))


def test_all_of_it_is_rated_with_who_says_so(library):
    verdict = rate(gather([report(everything(library))]))
    assert {f.rule_id: (f.points, f.floor, f.evidence) for f in verdict.findings if f.rule_id.startswith("VUL")} == {
        "VUL-001": (40, Level.HIGH, "CVE-2099-0001 in CISA KEV (indicated by internetdb)"),
        "VUL-002": (15, None, "Highest EPSS 0.91234"),
        "VUL-003": (14, None, "Highest CVSS 9.8 (nvd, version match only)"),
        "VUL-004": (12, Level.MEDIUM, "Past end of life: nginx 1.18"),
    }
    assert rate(gather([report(everything(library), is_global=False)])).findings[0].floor is None


def test_it_is_rated_again_from_what_is_stored_and_is_the_same(library):
    seen = report(everything(library))
    evidence = json.loads(json.dumps(evidence_dict(make_report("192.0.2.1", seen)), allow_nan=False))
    (again,) = stored_addresses(evidence)
    assert (again.vulnerabilities, again.end_of_life) == (seen.vulnerabilities, seen.end_of_life)
    del evidence["addresses"][0]["vulnerabilities"], evidence["addresses"][0]["end_of_life"]
    (older,) = stored_addresses(evidence)
    assert (older.vulnerabilities, older.end_of_life) == (None, None)


def test_a_client_is_told_every_field_and_what_it_rests_on(library):
    evidence = evidence_dict(make_report("192.0.2.1", report(everything(library))))
    words = {"text": "", "recommendation": None, "deterministic_text": "", "state": "", "reason": "", "model": None}
    verdict = {"level": "", "score": 0, "ruleset": "", "findings": [], "completeness": {}}
    (address,) = wire_result(evidence, verdict, {**words, "citations": [], "usage": {}})["addresses"]
    assert address["vulnerabilities"][0] == {
        "cve": "CVE-2099-0001", "named_by": ["internetdb"], "ports": [], "product": None, "distribution": None, "cvss": 9.8,
        "cvss_by": "nvd", "epss": 0.91234, "is_exploited": True, "due": "2026-12-09", "is_ransomware": True,
        "basis": "version match only",
    }  # fmt: skip
    assert address["end_of_life"] == [
        {
            "product": "nginx", "version": "1.18.0", "release": "1.18", "named_by": ["the service itself"],
            "since": "2021-04-20", "ports": [80], "distribution": None, "basis": "version match only",
        }
    ]  # fmt: skip


def test_a_full_address_stays_small(library):
    names = tuple(f"CVE-2098-{n:07}" for n in range(500))
    products = tuple(f"cpe:2.3:a:f5:nginx:1.18.{n}:{'*:' * 6}*" for n in range(500))
    known = known_against([NGINX], [says("s" * 40, seen_cves=names, seen_products=products)], library, day=DAY)
    stored = evidence_dict(make_report("192.0.2.1", report(known)))["addresses"][0]
    assert len(json.dumps([stored["vulnerabilities"], stored["end_of_life"]])) < 64 * 1024


def test_a_port_that_is_closed_takes_along_what_only_it_showed(library):
    known = everything(library)
    by_port = Vulnerability(cve="CVE-2099-0003", named_by=("nvd",), ports=(80, 8080), cvss=7.0)
    seen = report(replace(known, vulnerabilities=(by_port,)), ports=(80, 8080))
    assert {"VUL-003", "VUL-004"} <= {f.rule_id for f in rate(gather([seen])).findings}
    one, both = rate_closed([seen], {80}), rate_closed([seen], {80, 8080})
    assert {f.rule_id for f in one.findings} & {"VUL-003", "VUL-004"} == {"VUL-003"}
    assert not {f.rule_id for f in both.findings} & {"VUL-003", "VUL-004"}
    unplaced = report(known)
    assert "VUL-001" in {f.rule_id for f in rate_closed([unplaced], {80}).findings}


VULNERABILITIES = st.builds(
    Vulnerability,
    cve=st.sampled_from(["CVE-2099-0001", "CVE-2099-0002", "CVE-2099-0003"]),
    named_by=st.sampled_from([("a",), ("b",)]),
    cvss=st.none() | st.floats(0, 10),
    epss=st.none() | st.floats(0, 1),
    is_exploited=st.none() | st.booleans(),
)
ENDED = st.builds(
    EndOfLife, product=st.sampled_from("xyz"), version=st.just("1"), release=st.sampled_from("12"), named_by=st.just(("a",))
)
KNOWN = st.builds(
    KnownAgainst,
    vulnerabilities=st.none() | st.lists(VULNERABILITIES, max_size=4).map(tuple),
    end_of_life=st.none() | st.lists(ENDED, max_size=4).map(tuple),
)


@given(KNOWN, st.lists(VULNERABILITIES, max_size=2), st.lists(ENDED, max_size=2))
def test_one_more_never_lowers_score_or_level(known, more, ended):
    wider = KnownAgainst(
        vulnerabilities=(*(known.vulnerabilities or ()), *more), end_of_life=(*(known.end_of_life or ()), *ended)
    )
    before, after = rate(gather([report(known)])), rate(gather([report(wider)]))
    assert after.score >= before.score
    assert rank(after.level) >= rank(before.level)


@given(st.text(max_size=60), st.text(max_size=30), st.lists(st.text(max_size=60), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_whatever_somebody_says_of_products_is_no_exception(library, product, version, said):
    odd = replace(NGINX, product=product, version=version, http=page(Technology(name=product, version=version, sign="x")))
    told = says(seen_products=(*said, f"cpe:/a:f5:nginx:{version}", f"cpe:2.3:a:{product}"), seen_cves=tuple(said))
    known = known_against([odd], [told], library, day=DAY)
    assert all(each.product.isprintable() and each.version.isprintable() for each in known.end_of_life or ())


def test_nothing_in_the_stage_looks_at_a_clock():
    for file in Path(known_against.__code__.co_filename).parent.glob("*.py"):
        assert ".now(" not in file.read_text()
        assert ".today(" not in file.read_text()
