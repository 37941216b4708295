"""The pipeline as a whole: real listeners, a real ip-api stand-in, and everything that can go wrong around them."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from scans.core import pipeline, wire
from scans.core.budgets import Quota
from scans.core.options import FingerprintOptions, IntelOptions, Options, ProbeOptions, ResolveOptions, ScopeOptions
from scans.core.pipeline import Interrupted, Item
from scans.core.probe import ProbeEngine
from scans.core.targets import parse_target
from scans.core.tools import MemoryBudget, Tools
from scans.core.types import IPAddress, Level, Outcome, PortState, Report, SourceResult, SourceState
from tests.fakes import Answer, in_turn, ip_api, service, wait_until
from tests.patience import AGES, AT_ONCE, PATIENCE
from tests.servers import listening, refusing, silent

PUBLIC = ip_network("127.66.0.0/16")  # a loopback range that counts as public in these tests
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def tools(base_url: str = "http://127.0.0.1:9", **intel: float) -> Tools:
    patient = {"connect_timeout_seconds": PATIENCE, "read_timeout_seconds": PATIENCE}
    return Tools(
        options=Options(
            resolve=ResolveOptions(timeout_seconds=PATIENCE),
            scope=ScopeOptions(allow=LOOPBACK, treat_as_global=(PUBLIC,)),
            probe=ProbeOptions(rate_per_second=0),
            fingerprint=FingerprintOptions(is_on=False),  # it has tests of its own: test_pipeline_services.py
            intel=IntelOptions(
                **{"sources": ("ip-api",), "urls": {"ip-api": base_url}, "grace_seconds": PATIENCE, **patient, **intel}
            ),
        )
    )


def items(texts: Iterable[str], ports: Sequence[int]) -> list[Item]:
    return [Item(key=n, target=parse_target(text), ports=tuple(ports)) for n, text in enumerate(texts)]


def scan(texts: Iterable[str], ports: Sequence[int], kit: Tools) -> dict[Hashable, Report]:
    found = dict(pipeline.scan(items(texts, ports), kit))
    assert all(isinstance(report, Report) for report in found.values())
    return {key: report for key, report in found.items() if isinstance(report, Report)}


def states(report: Report) -> dict[int, PortState]:
    return {probe.port: probe.state for probe in report.addresses[0].probes}


def test_open_closed_and_filtered_are_told_apart_and_rated():
    with listening() as listener, refusing() as refused, silent() as dark:
        report = scan(["127.0.0.1"], [listener, refused, dark.port], tools())[0]
    assert states(report) == {listener: PortState.OPEN, refused: PortState.CLOSED, dark.port: PortState.FILTERED}
    assert report.outcome is Outcome.DONE
    assert report.verdict.completeness.ports_answered == 2


def test_ipv6_is_scanned_like_ipv4():
    with listening("::1") as listener:
        assert states(scan(["::1"], [listener], tools())[0]) == {listener: PortState.OPEN}


def test_a_url_adds_its_own_port():
    with listening() as listener, refusing() as refused:
        report = scan([f"http://127.0.0.1:{listener}/path"], [refused], tools())[0]
    assert states(report) == {listener: PortState.OPEN, refused: PortState.CLOSED}


def test_a_name_is_resolved_and_its_addresses_are_pinned():
    with listening() as listener:
        report = scan(["localhost"], [listener], tools())[0]
    assert "127.0.0.1" in [str(address.address) for address in report.addresses]


def test_a_name_that_does_not_resolve_is_an_explicit_error():
    report = scan(["no-such-name.invalid"], [80], tools())[0]
    assert (report.outcome, report.error_code) == (Outcome.ERROR, "resolve_failed")
    assert report.error is not None
    assert report.error.startswith("Failed to resolve no-such-name.invalid: ")
    assert report.verdict.level is Level.UNKNOWN


def test_an_address_out_of_scope_is_refused_and_gets_no_packet():
    with listening() as listener:
        kit = tools()
        kit = replace(kit, options=replace(kit.options, scope=ScopeOptions()))
        report = scan(["127.0.0.1"], [listener], kit)[0]
    assert (report.outcome, report.error_code) == (Outcome.REFUSED, "refused_scope")
    assert states(report) == {listener: PortState.REFUSED}
    assert "SCAN_ALLOW_NETWORKS" in (report.error or "")


def test_many_public_addresses_are_one_request_to_ip_api():
    with service(ip_api) as fake, refusing("127.66.0.1") as port:
        reports = scan([f"127.66.0.{n}" for n in range(1, 100)], [port], tools(fake.base_url))
    assert len(reports) == 99
    assert len(fake.requests) == 1
    source = reports[0].addresses[0].sources[0]
    assert (source.state, source.is_cached, source.facts.country) == (SourceState.OK, False, "Germany")


def test_what_was_asked_before_comes_from_the_cache():
    with service(ip_api) as fake, refusing("127.66.0.1") as port:
        kit = tools(fake.base_url)
        scan(["127.66.0.1"], [port], kit)
        again = scan(["127.66.0.1"], [port], kit)[0].addresses[0].sources[0]
    assert len(fake.requests) == 1
    assert again.is_cached


def test_an_address_that_is_not_public_is_never_asked_about():
    with service(ip_api) as fake, listening() as port:
        source = scan(["127.0.0.1"], [port], tools(fake.base_url))[0].addresses[0].sources[0]
    assert fake.requests == []
    assert source.state is SourceState.NOT_APPLICABLE


@pytest.mark.parametrize(
    "answer",
    [Answer(status=500), Answer(status=429), Answer(body=b"<html>"), Answer(body=b"[]", delay_seconds=AGES)],
    ids=["500", "429", "html", "slow"],
)
def test_a_failing_source_costs_its_own_fields_only(answer):
    with service(lambda _: answer) as fake, listening("127.66.0.1") as port:
        report = scan(["127.66.0.1"], [port], tools(fake.base_url, grace_seconds=2))[0]
    assert states(report) == {port: PortState.OPEN}
    assert report.addresses[0].sources[0].state in (SourceState.FAILED, SourceState.RATE_LIMITED)
    assert "ip-api" in report.summary.text


def test_a_used_up_quota_is_recorded_and_not_waited_for():
    with service(ip_api) as fake, refusing("127.66.0.1") as port:
        kit = tools(fake.base_url, grace_seconds=0.3)
        budget = MemoryBudget()
        budget.observe("ip-api", (), [], Quota(remaining=0, resets_in_seconds=10 * AGES))
        report = scan(["127.66.0.1"], [port], replace(kit, budget=budget))[0]
    assert fake.requests == []
    source = report.addresses[0].sources[0]
    assert source.state is SourceState.RATE_LIMITED
    assert re.fullmatch(r"its quota is used up for another (3000|2\d\d\d) s", source.reason)


def test_a_service_that_does_not_answer_is_not_called_a_quota():
    with service(lambda _: Answer(body=b"[]", delay_seconds=AGES)) as fake, refusing("127.66.0.1") as port:
        kit = tools(fake.base_url, grace_seconds=0.5)
        reports = scan([f"127.66.{n // 250}.{n % 250 + 1}" for n in range(500)], [port], kit)
    reasons = Counter(report.addresses[0].sources[0].reason for report in reports.values())
    assert reasons["no answer in time"] >= 300  # as many batches as one may send at once


def test_a_quota_that_the_service_ends_is_obeyed():
    def last_one(request):
        return Answer(body=ip_api(request).body, headers={"X-Rl": "0", "X-Ttl": "3000"})

    with service(in_turn([last_one, ip_api])) as fake, refusing("127.66.0.1") as port:
        kit = tools(fake.base_url)
        scan(["127.66.0.1"], [port], kit)
        kit = replace(kit, options=tools(fake.base_url, grace_seconds=0.3).options)
        second = scan(["127.66.0.2"], [port], kit)[0]
    assert len(fake.requests) == 1
    assert second.addresses[0].sources[0].state is SourceState.RATE_LIMITED


def test_a_silent_host_does_not_hold_up_the_others():
    with silent() as dark, listening("127.0.0.2", 0) as open_port:
        work = items(["127.0.0.1", "127.0.0.2"], [dark.port, open_port])
        assert [key for key, _ in pipeline.scan(work, tools())] == [1, 0]


def test_items_are_pulled_as_capacity_frees():
    pulled, finished, most = 0, 0, 0

    def many():
        nonlocal pulled
        for item in items([f"127.0.0.{n}" for n in range(1, 200)], [1]):
            pulled += 1
            yield item

    for _ in pipeline.scan(many(), tools(), max_probes=10):
        finished += 1
        most = max(most, pulled - finished)
    assert finished == 199
    assert most <= 20  # ten in the lanes, and at most as many waiting to be yielded


def test_reports_leave_in_portions_so_that_more_is_looked_for_in_between(monkeypatch):
    monkeypatch.setattr(pipeline, "MAX_AT_ONCE", 3)
    with refusing("127.0.0.1") as port:
        work = items(["127.0.0.1"] * 50, [port])
        batches = list(pipeline.scan_in_batches(work, tools()))
    assert max(map(len, batches)) <= 3
    assert sorted(key for batch in batches for key, _ in batch) == list(range(50))


def test_what_is_ready_of_several_groups_leaves_in_turns():
    begun = datetime.now(UTC)
    works = [
        pipeline._Work(item=replace(item, group=group), started_at=begun)
        for item, group in zip(items(["127.0.0.1"] * 6, [1]), "aaaabc", strict=True)
    ]
    assert [work.item.key for work in pipeline._in_turns(works)] == [0, 4, 5, 1, 2, 3]


def test_an_urgent_item_is_pulled_although_there_is_no_room():
    pulled = 0

    def two(work: Sequence[Item]) -> Iterator[Item]:
        nonlocal pulled
        for item in work:
            pulled += 1
            yield item

    with silent() as dark, refusing() as port:
        slow, quick = items(["127.0.0.1"], [dark.port])[0], items(["127.0.0.1"] * 2, [port])[1]
        kit = asking_for_ages(tools())
        ready = pipeline.scan_in_batches(two([slow, quick]), kit, max_probes=1, is_urgent=lambda: pulled == 1)
        assert [key for key, _ in next(ready)] == [1]
        kit.stop.set()
        assert [key for batch in ready for key, _ in batch] == [0]


def asking_for_ages(kit: Tools) -> Tools:
    """Silent ports are asked again and again."""
    return replace(kit, options=replace(kit.options, probe=ProbeOptions(rate_per_second=0, attempts=10_000)))


@contextmanager
def half_way(monkeypatch, then: Callable[[], None]) -> Iterator[None]:
    """Do it when one of two ports of item 0 has its state."""
    made: list[ProbeEngine] = []

    class Watched(ProbeEngine):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            made.append(self)

    def watch() -> None:
        if wait_until(lambda: made and made[0].progress((0, ip_address("127.0.0.1"))) == (1, 2)):
            then()

    monkeypatch.setattr(pipeline, "ProbeEngine", Watched)
    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()


def test_a_stop_hands_back_what_is_unfinished_with_what_is_known(monkeypatch):
    kit = asking_for_ages(tools())
    with silent() as dark, refusing() as refused, half_way(monkeypatch, kit.stop.set):
        started = time.monotonic()
        ((_, result),) = pipeline.scan(items(["127.0.0.1"], [dark.port, refused]), kit)
        elapsed = time.monotonic() - started
    assert isinstance(result, Interrupted)
    assert elapsed < AT_ONCE
    assert result.has_progress
    assert [probe.port for probe in result.known[ip_address("127.0.0.1")]] == [refused]


def test_names_that_resolve_in_the_moment_of_a_stop_are_handed_back():
    kit = tools()

    def names():
        for item in items(["localhost"] * 40, [1]):
            yield replace(item, target=parse_target(f"http://localhost:{1000 + item.key}/"))
        kit.stop.set()

    back = dict(pipeline.scan(names(), kit))
    assert set(back) == set(range(40))  # each comes back once, finished or not, and none is lost to an exception


def test_nothing_now_is_asked_again_while_something_is_under_way():
    with silent() as dark, refusing("127.0.0.2") as port:
        slow, quick = items(["127.0.0.1", "127.0.0.2"], [dark.port])
        slow = replace(slow, ports=(dark.port,))
        quick = replace(quick, ports=(port,))
        asked: list[float] = []

        def source():
            yield slow
            yield None
            asked.append(time.monotonic())
            yield quick
            yield None

        started = time.monotonic()
        key, _ = next(pipeline.scan(source(), asking_for_ages(tools())))
    assert key == 1
    assert 0.9 < asked[0] - started < AT_ONCE


class CountedEvent(threading.Event):
    """Counts how often it is looked at: once in every turn of the pipeline."""

    looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return super().is_set()


def test_when_the_last_item_ends_right_after_nothing_now_it_is_asked_again_and_not_waited_for_in_vain():
    with refusing() as port:
        kit = replace(tools(), stop=CountedEvent())
        (item,) = items(["127.0.0.1"], [port])
        found = dict(pipeline.scan(iter([item, None, None]), kit))
    assert set(found) == {0}
    assert kit.stop.looks < 1000  # turning on the spot for that second would be many thousands


def test_an_item_that_nobody_wants_any_more_is_stopped_and_not_yielded(monkeypatch):
    kit = asking_for_ages(tools())
    with silent() as dark, refusing() as port, half_way(monkeypatch, lambda: kit.drops.put(0)):
        started = time.monotonic()
        found = dict(pipeline.scan(items(["127.0.0.1"], [dark.port, port]), kit))
        elapsed = time.monotonic() - started
    assert found == {}
    assert elapsed < AT_ONCE


def test_refused_targets_share_what_is_said_of_their_ports():
    kit = tools()
    ports = tuple(range(1, 65536))
    reports = [r for _, r in pipeline.scan(items([f"10.0.0.{n}" for n in range(64)], ports), kit)]
    assert len({id(report.addresses[0].probes) for report in reports}) == 1
    stored = [wire.evidence_dict(report)["addresses"][0]["port_states"] for report in reports]
    assert all(states is stored[0] for states in stored)


def test_an_interrupted_target_goes_on_where_it_stopped():
    with listening() as listener, refusing() as refused:
        address: IPAddress = ip_address("127.0.0.1")
        known = {address: tuple(p for p in scan(["127.0.0.1"], [refused], tools())[0].addresses[0].probes)}
        item = Item(key=0, target=parse_target("localhost"), ports=tuple(sorted((listener, refused))), known=known)
        ((_, report),) = pipeline.scan([item], tools())
    assert isinstance(report, Report)
    assert states(report) == {listener: PortState.OPEN, refused: PortState.CLOSED}


def test_a_source_that_raises_is_a_recorded_failure():
    def broken(_):
        return Answer.json([{"status": "success", "as": 12345, "country": ["a", "list"]}])

    with service(broken) as fake, refusing("127.66.0.1") as port:
        source: SourceResult = scan(["127.66.0.1"], [port], tools(fake.base_url))[0].addresses[0].sources[0]
    assert source.state is SourceState.EMPTY


def test_nothing_is_left_running():
    before = threading.active_count()
    with refusing() as port:
        scan(["127.0.0.1"], [port], tools())
    assert threading.active_count() <= before
