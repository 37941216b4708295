"""What is made once of hosts that look alike is what would be made of each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from scans.core import risk, summary, wire
from scans.core.alike import MAX_KEPT, Alike, Rated
from scans.core.targets import read_items
from scans.core.types import AddressReport, Outcome, PortState, Probe, Report, SourceResult, SourceState

SILENT = [PortState.FILTERED, PortState.UNREACHABLE, PortState.ERROR, PortState.NOT_TESTED]
PROBES = st.builds(
    Probe, st.integers(1, 5), st.sampled_from([*SILENT, PortState.OPEN, PortState.CLOSED]), st.just("timeout"),
    st.integers(1, 2), st.sampled_from([None, None, None, 0.5]),
)  # fmt: skip
SOURCES = st.builds(
    SourceResult, source=st.sampled_from(["ip-api", "rdap"]), state=st.sampled_from([*SourceState]),
    reason=st.just("offline"), observed_at=st.sampled_from([None, None, datetime(2026, 1, 1, tzinfo=UTC)]),
)  # fmt: skip
HOSTS = st.lists(
    st.builds(
        AddressReport, address=st.ip_addresses(v=4), is_global=st.booleans(),
        sources=st.lists(SOURCES, max_size=2).map(tuple),
        probes=st.lists(PROBES, max_size=4, unique_by=lambda probe: probe.port).map(lambda probes: tuple(sorted(probes))),
        answers_everywhere=st.sampled_from([None, False, True]),
    ),
    min_size=1, max_size=2,
).map(tuple)  # fmt: skip


def rate(addresses: tuple[AddressReport, ...]) -> Rated:
    verdict = risk.rate(risk.gather(addresses))
    return verdict, summary.summarise(target(addresses), addresses, verdict)


def target(addresses: tuple[AddressReport, ...]):
    return read_items([str(addresses[0].address)], limit=1)[0][0]


def documents(addresses: tuple[AddressReport, ...], rated: Rated):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    report = Report(
        target=target(addresses), outcome=Outcome.DONE, addresses=addresses, verdict=rated[0], summary=rated[1],
        started_at=at, finished_at=at,
    )  # fmt: skip
    stored = wire.evidence_dict(report), wire.verdict_dict(report.verdict), wire.summary_dict(report.summary)
    return stored, wire.wire_result(*stored)


@given(hosts=st.lists(HOSTS, min_size=1, max_size=8))
def test_every_host_has_what_it_would_have_by_itself(hosts):
    alike = Alike()
    for addresses in [*hosts, *hosts]:
        shared, rated = alike.rated(addresses, rate)
        assert shared == addresses
        assert documents(shared, rated) == documents(addresses, rate(addresses))


def test_dark_hosts_are_rated_once_and_others_each():
    asked = []

    def counted(addresses):
        asked.append(addresses)
        return rate(addresses)

    dark = AddressReport(
        address=ip_address("127.0.0.1"), is_global=False, probes=(Probe(1, PortState.FILTERED, "", 2, None),)
    )
    alike = Alike()
    for n in range(10):
        alike.rated((replace(dark, address=ip_address(f"127.0.0.{n}")),), counted)
    assert len(asked) == 1
    alike.rated((replace(dark, probes=(Probe(1, PortState.CLOSED, "", 1, 0.2),)),), counted)
    alike.rated((replace(dark, probes=(Probe(1, PortState.CLOSED, "", 1, 0.2),)),), counted)
    alike.rated((dark, dark), counted)
    assert len(asked) == 4


def test_what_is_kept_is_bounded():
    alike = Alike()
    for port in range(1, 3 * MAX_KEPT):
        probes = (Probe(port, PortState.FILTERED, "", 2, None),)
        alike.rated((AddressReport(address=ip_address("127.0.0.1"), is_global=False, probes=probes),), rate)
    assert len(alike._known) <= MAX_KEPT
