"""The intel lane by itself: what is asked, when, of whom, and what stands in for an answer that does not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from queue import SimpleQueue
from typing import Any

import pytest
from django.db import connection

from scans.adapters import DatabaseBudget
from scans.core.budgets import BREAKING_FAILURES, Limit, Quota
from scans.core.egress import Egress
from scans.core.intel import Consultation, IntelLane, LocalSource, Outside, RemoteSource, Source
from scans.core.intel.base import Answers, SourceError, SourceSettings
from scans.core.intel.lane import MAX_REQUESTS
from scans.core.intel.replies import network, text, the_object
from scans.core.options import IntelOptions, Options
from scans.core.tools import Answered, Budget, Kept, MemoryBudget, MemoryCache, Tools
from scans.core.types import Facts, IPAddress, SourceResult, SourceState
from tests.fakes import Answer, FakeService, Request, service, wait_until
from tests.patience import PATIENCE
from tests.threads import Room, at_once

A, B, V6 = ip_address("127.66.0.1"), ip_address("127.66.0.2"), ip_address("2001:db8::1")
MANY = [A + n for n in range(100)]


class Remote(RemoteSource):
    """Asks for one address at a time."""

    name = "remote"
    is_default = True
    limits = (Limit(10_000, 1),)
    lifetime_seconds = empty_lifetime_seconds = 60

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        said = the_object(outside.http.get(f"{self.url}/{addresses[0]}"))
        return Answers(facts={addresses[0]: Facts(country=text(said, "country"), network=network(said, "network"))})


class WholeNetworks(Remote):
    name = "networks"
    is_network_wide = True
    max_requests = 1


class OnlyIPv4(Remote):
    name = "only-ipv4"
    is_ipv4_only = True


class Scarce(Remote):
    name = "scarce"
    limits = (Limit(5, 28 * 86400),)


class Here(LocalSource):
    name = "here"
    is_default = True

    def look_up(self, address: IPAddress) -> tuple[Facts, datetime | None]:
        return Facts(is_cdn=address == A), datetime(2026, 11, 1, tzinfo=UTC)


class CountingCache(MemoryCache):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[int] = []

    def get_many(self, sources: Sequence[str], addresses: Iterable[IPAddress]) -> Answered:
        wanted = list(addresses)
        self.queries.append(len(wanted))
        return super().get_many(sources, wanted)


@dataclass
class Driven:
    """A lane and what its threads send back, on a clock that the test sets."""

    kinds: Sequence[type[Source]]
    fake: FakeService | None = None
    budget: Budget = field(default_factory=MemoryBudget)
    cache: MemoryCache = field(default_factory=CountingCache)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = self.fake.base_url if self.fake else "http://127.0.0.1:9"
        sources = [kind(SourceSettings(base_url=url)) for kind in self.kinds]
        intel = IntelOptions(connect_timeout_seconds=PATIENCE, read_timeout_seconds=PATIENCE, **self.options)
        tools = Tools(options=Options(intel=intel), cache=self.cache, budget=self.budget)
        self.events: SimpleQueue[Consultation] = SimpleQueue()
        self.lane = IntelLane(sources, tools, Egress(tools.options, [url]), self.events.put)
        self.now = time.monotonic()

    def turn(self) -> None:
        self.lane.turn(now=time.monotonic(), is_urgent=True)

    def until_all_have_answered(self, addresses: Iterable[IPAddress]) -> None:
        """Turn and take in what comes until every source has answered about every address."""

        def have_all() -> bool:
            self.turn()
            while not self.events.empty():
                self.lane.receive(self.events.get())
            return all(self.lane.has_all(address, now=self.now) for address in addresses)

        assert wait_until(have_all)
        self.lane.keep()

    def results(self, address: IPAddress) -> dict[str, SourceResult]:
        return {result.source: result for result in self.lane.results(address, now=self.now)}

    def asked(self, addresses: Iterable[IPAddress]) -> dict[str, SourceResult]:
        """Ask, wait for all, and tell what came of the first."""
        wanted = list(addresses)
        self.lane.ask(wanted, now=self.now)
        self.until_all_have_answered(wanted)
        return self.results(wanted[0])


def german(_: Request) -> Answer:
    return Answer.json({"country": "Germany", "network": "127.66.0.0/26"})


def kept(*addresses: IPAddress, seconds: int, source: str = "remote") -> list[Kept]:
    answers = SourceResult(
        source=source, state=SourceState.OK, observed_at=datetime.now(UTC), facts=Facts(country="Kept"), elapsed_ms=7
    )
    return [Kept(address=address, result=answers, lifetime_seconds=seconds) for address in addresses]


def test_what_this_machine_knows_is_there_at_once_and_offline_too():
    driven = Driven([Here], options={"offline": True})
    driven.lane.ask([A, B], now=driven.now)
    assert driven.lane.has_all(A, now=driven.now)  # before any turn
    result = driven.results(A)["here"]
    assert (result.state, result.facts.is_cdn, result.contacted) == (SourceState.OK, True, ())
    assert result.observed_at == datetime(2026, 11, 1, tzinfo=UTC)


def test_offline_only_those_over_the_network_are_left_out():
    with service(german) as fake:
        driven = Driven([Here, Remote], fake, options={"offline": True})
        found = driven.asked([A])
    assert fake.requests == []
    assert (found["here"].state, found["remote"].state) == (SourceState.OK, SourceState.SKIPPED)


def test_the_cache_is_asked_once_a_turn_for_all_addresses_and_sources():
    with service(german) as fake:
        driven = Driven([Remote, Scarce, Here], fake)
        driven.cache.put_many([*kept(*MANY, seconds=60), *kept(*MANY, seconds=60, source="scarce")])
        driven.lane.ask(MANY, now=driven.now)
        driven.lane.ask(MANY, now=driven.now)  # other targets, the same addresses
        driven.turn()
        driven.turn()
    assert fake.requests == []
    assert driven.cache.queries == [100]
    assert all(driven.lane.has_all(address, now=driven.now) for address in MANY)
    assert driven.results(A)["remote"].is_cached


def test_sources_on_this_machine_alone_ask_no_cache():
    driven = Driven([Here])
    driven.asked([A])
    assert driven.cache.queries == []


def test_what_was_answered_is_kept_for_the_next_lane():
    with service(german) as fake:
        driven = Driven([Remote], fake)
        assert driven.asked([A])["remote"].is_cached is False
        again = Driven([Remote], fake, cache=driven.cache)
        assert again.asked([A])["remote"].is_cached is True
    assert len(fake.requests) == 1


def test_an_older_answer_stands_in_for_a_failed_one_and_says_so():
    with service(lambda _: Answer(status=500)) as fake:
        driven = Driven([Remote], fake)
        driven.cache.put_many(kept(A, seconds=-60))
        driven.cache.put_many(kept(B, seconds=-8 * 86400))  # too old
        found, other = driven.asked([A, B])["remote"], driven.results(B)["remote"]
    assert (found.state, found.reason) == (SourceState.STALE, "an older answer; HTTP 500")
    assert (found.facts.country, found.is_cached) == ("Kept", True)
    assert found.contacted == (fake.base_url.removeprefix("http://"),)  # it was told all the same
    assert (other.state, other.reason, other.facts) == (SourceState.FAILED, "HTTP 500", Facts())
    assert driven.cache.queries == [2]
    assert driven.cache.get_many(["remote"], [A])["remote", A].state is SourceState.STALE  # and is not kept as a new one


def test_an_older_answer_stands_in_where_the_source_may_not_be_asked():
    budget = MemoryBudget()
    limited = SourceResult(source="remote", state=SourceState.RATE_LIMITED, reason="too many requests")
    budget.observe("remote", Remote.limits, [limited], Quota(remaining=0, resets_in_seconds=600))
    with service(german) as fake:
        driven = Driven([Remote], fake, budget=budget)
        driven.cache.put_many(kept(A, seconds=-60))
        found, other = driven.asked([A, B])["remote"], driven.results(B)["remote"]
    assert fake.requests == []
    assert (found.state, found.facts.country) == (SourceState.STALE, "Kept")
    assert found.reason.startswith("an older answer; its quota is used up for another ")
    assert (other.state, other.facts) == (SourceState.RATE_LIMITED, Facts())


def test_an_older_answer_stands_in_for_one_that_does_not_come_in_time():
    with service(lambda _: Answer(delay_seconds=PATIENCE)) as fake:
        driven = Driven([Remote], fake)
        driven.cache.put_many(kept(A, seconds=-60))
        driven.lane.ask([A, B], now=driven.now)
        driven.turn()
        assert wait_until(lambda: len(fake.requests) == 2)
        found = driven.results(A)["remote"]
    assert (found.state, found.reason) == (SourceState.STALE, "an older answer; no answer in time")


def test_an_answer_about_a_network_spares_its_neighbours():
    inside, outside = MANY[:64], MANY[64:68]  # .1 to .64, of which .64 is not in 127.66.0.0/26
    with service(german) as fake:
        driven = Driven([WholeNetworks], fake)
        driven.asked(inside)
        assert [request.path for request in fake.requests] == ["/127.66.0.1", "/127.66.0.64"]
        first, near = driven.results(A)["networks"], driven.results(B)["networks"]
        driven.asked(outside)
    assert (first.is_cached, near.is_cached) == (False, True)
    assert near.contacted == ()  # nobody was told about it
    assert near.facts == first.facts
    assert len(fake.requests) == 6
    assert ("networks", B) in driven.cache.get_many(["networks"], [B])  # and it is kept as its own


def test_an_answer_about_a_wide_network_spares_near_ones_only():
    with service(lambda _: Answer.json({"country": "Germany", "network": "127.0.0.0/8"})) as fake:
        driven = Driven([WholeNetworks], fake)
        driven.asked([A, B, A + 256, A + 65536])
        driven.asked([A + 2])  # which comes later
    assert [request.path for request in fake.requests] == ["/127.66.0.1", "/127.66.1.1", "/127.67.0.1"]
    assert driven.results(B)["networks"].is_cached
    assert driven.results(A + 2)["networks"].facts == driven.results(A)["networks"].facts
    assert ("networks", A + 2) in driven.cache.get_many(["networks"], [A + 2])


def test_a_network_that_cannot_be_meant_spares_nobody():
    with service(lambda _: Answer.json({"country": "Germany", "network": "all of them"})) as fake:
        Driven([WholeNetworks], fake).asked([A, B])
    assert len(fake.requests) == 2


def test_who_is_blocked_for_longer_than_the_grace_is_not_waited_for():
    budget = MemoryBudget()
    for name, seconds in (("remote", 600), ("scarce", 2)):
        limited = SourceResult(source=name, state=SourceState.RATE_LIMITED, reason="too many requests")
        budget.observe(name, (), [limited], Quota(remaining=0, resets_in_seconds=seconds))
    long, short = Driven([Remote, Here], budget=budget), Driven([Scarce, Here], budget=budget)
    for driven in (long, short):
        driven.lane.ask([A], now=driven.now)
        driven.lane.turn(now=driven.now, is_urgent=True)
    assert long.lane.has_all(A, now=long.now)
    assert long.results(A)["remote"].state is SourceState.RATE_LIMITED
    assert long.results(A)["here"].state is SourceState.OK
    assert not short.lane.has_all(A, now=short.now)


def test_an_address_of_ipv6_is_never_put_to_a_source_that_only_knows_ipv4():
    with service(german) as fake:
        driven = Driven([OnlyIPv4, Remote], fake)
        found = driven.asked([V6, A])
    assert (found["only-ipv4"].state, found["remote"].state) == (SourceState.NOT_APPLICABLE, SourceState.OK)
    assert sorted(request.path for request in fake.requests) == ["/127.66.0.1", "/127.66.0.1", "/2001:db8::1"]


def held(room: Room, release: threading.Event) -> Callable[[Request], Answer]:
    """A service that keeps everybody inside until it is told to let go."""

    def answer(request: Request) -> Answer:
        with room:
            release.wait(PATIENCE)
        return german(request)

    return answer


def turn_until_held(driven: Driven, fake: FakeService, *, most: int) -> None:
    """Turn until so many requests are inside, and then some more."""

    def are_in() -> bool:
        driven.turn()
        return len(fake.requests) == most

    assert wait_until(are_in)
    for _ in range(20):
        driven.turn()
        time.sleep(0.02)  # for one too many to arrive, if there is one


def test_a_source_is_asked_no_more_at_once_than_it_says():
    room, release = Room(), threading.Event()
    with service(held(room, release)) as fake:
        driven = Driven([Remote], fake)
        driven.lane.ask(MANY[:9], now=driven.now)
        turn_until_held(driven, fake, most=Remote.max_requests)
        assert len(fake.requests) == Remote.max_requests
        release.set()
        driven.until_all_have_answered(MANY[:9])
    assert room.most == Remote.max_requests
    assert len(fake.requests) == 9


def test_all_sources_together_have_a_limit_too(monkeypatch):
    monkeypatch.setattr(Remote, "max_requests", MAX_REQUESTS)
    monkeypatch.setattr(OnlyIPv4, "max_requests", MAX_REQUESTS, raising=False)
    room, release = Room(), threading.Event()
    with service(held(room, release)) as fake:
        driven = Driven([Remote, OnlyIPv4], fake)
        driven.lane.ask(MANY[:20], now=driven.now)
        turn_until_held(driven, fake, most=MAX_REQUESTS)
        release.set()
        driven.until_all_have_answered(MANY[:20])
    assert room.most == MAX_REQUESTS
    assert len(fake.requests) == 40


@pytest.mark.parametrize("kind", [MemoryBudget, DatabaseBudget])
@pytest.mark.django_db(transaction=True)
def test_ten_at_once_share_one_budget(kind: type[Budget]):
    shared, lanes, lock = kind(), iter(range(10)), threading.Lock()
    found: list[SourceResult] = []

    def scan() -> None:
        with lock:
            first = A + 10 * next(lanes)
        addresses = [first + n for n in range(3)]
        try:
            driven = Driven([Scarce], fake, budget=shared if kind is MemoryBudget else kind())
            driven.asked(addresses)
            found.extend(driven.results(address)["scarce"] for address in addresses)
        finally:
            connection.close()

    with service(german) as fake:
        at_once(scan, threads=10)
    assert len(fake.requests) == 5
    assert len(found) == 30
    assert sorted(result.state for result in found) == [SourceState.OK] * 5 + [SourceState.RATE_LIMITED] * 25


class Zones(Remote):
    """What it is asked about answers, or does not."""

    name = "zones"
    is_answered_by_targets = True

    def lookup(self, addresses: Sequence[IPAddress], outside: Outside) -> Answers:
        return Answers(facts={address: SourceError(SourceState.FAILED, "no answer in time") for address in addresses})


class Services(Zones):
    name = "services"
    is_answered_by_targets = False


@pytest.mark.parametrize(("kind", "is_left_alone"), [(Zones, False), (Services, True)])
def test_broken_networks_of_targets_do_not_stop_a_source_that_only_they_answer(kind, is_left_alone):
    driven = Driven([kind])
    for address in MANY[: 2 * BREAKING_FAILURES]:
        assert driven.asked([address])[kind.name].state is SourceState.FAILED
    refusal = driven.budget.draw(kind.name, kind.limits)
    assert (refusal is not None) == is_left_alone
