"""Probes and those beside them keep to one rate together; neither takes the other's half, and one alone has all of it."""

from __future__ import annotations

import threading
from ipaddress import ip_address

import pytest

from scans.core.probe.beside import GIVE_WAY_SECONDS
from scans.core.probe.grants import Grant, GrantedRate
from scans.core.probe.network_grants import GrantedNetworks
from scans.core.probe.pacing import TokenBucket
from scans.core.probe.politeness import NetworkBuckets, PolitePace, network_of

HERE, THERE = ip_address("127.66.0.1"), ip_address("127.66.1.1")
SECONDS = 3


class Draw:
    """Draws on a pace for some seconds of a clock of its own, and counts."""

    def __init__(self, pace: PolitePace, *, address=HERE, step_seconds: float = 0.001) -> None:
        self._pace, self._address, self._step = pace, address, step_seconds
        self.now = 1000.0
        self.probes = self.beside = 0

    def run(self, *, probes: int, beside: int, probes_first: bool = True, seconds: float = SECONDS) -> None:
        """So many of either want one in every step."""
        for _ in range(round(seconds / self._step)):
            self.now += self._step
            for is_probes in (probes_first, not probes_first):
                if is_probes and probes:
                    self.probes += self._pace.take(probes, self._address, ahead=10**6, now=self.now)
                elif not is_probes:
                    for who in range(beside):
                        self.beside += self._pace.take_beside(who, self._address, now=self.now) == 0


def rate_of(per_second: float) -> PolitePace:
    return PolitePace(TokenBucket(per_second=per_second), None)


def network_rate_of(per_second: float) -> PolitePace:
    return PolitePace(TokenBucket(per_second=0), NetworkBuckets(per_second=per_second))


def granted(per_second: float) -> PolitePace:
    rate = GrantedRate(threading.Event())
    rate.put(Grant(count=10**6, starts_at=1000.0, per_second=per_second), enough=0)
    return PolitePace(rate, None)


def granted_to_network(per_second: float) -> PolitePace:
    networks = GrantedNetworks(threading.Event(), per_second=per_second)
    pace = PolitePace(TokenBucket(per_second=0), networks)
    pace.take(networks.free, HERE, ahead=0, now=1000.0)
    networks.put(network_of(HERE), Grant(count=10**6, starts_at=1000.0, per_second=per_second))
    return pace


KINDS = pytest.mark.parametrize("kind", [rate_of, network_rate_of, granted, granted_to_network])


@KINDS
@pytest.mark.parametrize("per_second", [30, 1000])
@pytest.mark.parametrize("probes_first", [True, False])
def test_while_both_are_short_each_has_half_whoever_comes_first(kind, per_second, probes_first):
    draw = Draw(kind(per_second))
    draw.run(probes=64, beside=6, probes_first=probes_first)
    most = per_second * (SECONDS + 0.1) + 2
    assert 0.95 * per_second * SECONDS <= draw.probes + draw.beside <= most
    assert 0.45 < draw.beside / (draw.probes + draw.beside) < 0.55


@KINDS
def test_one_alone_has_all(kind):
    draw = Draw(kind(100))
    draw.run(probes=64, beside=0)
    assert draw.probes >= 0.95 * 100 * SECONDS
    draw.run(probes=0, beside=5)
    assert draw.beside >= 0.95 * 100 * SECONDS
    assert draw.probes + draw.beside <= 100 * (2 * SECONDS + 0.1) + 2


def test_few_who_wait_take_no_more_than_they_want_and_leave_nothing_behind():
    draw = Draw(rate_of(100))
    for _ in range(10):  # one connection in a second
        draw.run(probes=64, beside=0, seconds=0.9)
        before = draw.beside
        while draw.beside == before:
            draw.run(probes=64, beside=1, seconds=0.001)
    assert draw.beside == 10
    assert draw.probes >= 0.95 * (100 * (draw.now - 1000) - 10)


def test_what_was_kept_for_somebody_who_leaves_is_for_everybody():
    for pace in (rate_of(10), network_rate_of(10)):
        assert pace.take(64, HERE, ahead=64, now=1000.0) == 1
        for who in "abc":
            assert pace.take_beside(who, HERE, now=1000.0) > 0
        taken = [pace.take(1, HERE, ahead=64, now=1000.0 + 0.11 * n) for n in range(1, 7)]
        assert taken == [1, 0, 1, 0, 1, 0]
        for who in "abc":
            pace.leave(who)
        assert pace.take(64, HERE, ahead=64, now=1000.66) == 1  # as many as a bucket for 0.1 s holds
        pace.leave("nobody")


def test_who_waits_for_one_network_keeps_nothing_of_another():
    pace = PolitePace(TokenBucket(per_second=0), NetworkBuckets(per_second=100))
    assert pace.take(64, HERE, ahead=64, now=1000.0) == 10
    assert pace.take_beside("a", HERE, now=1000.0) > 0
    assert pace.take(10, THERE, ahead=64, now=1000.0) == 10
    assert pace.take_beside("b", THERE, now=1000.1) == 0
    assert pace.take(64, HERE, ahead=64, now=1000.1) == 9
    assert pace.take_beside("a", HERE, now=1000.1) == 0


def test_a_connection_that_the_rate_of_all_forbids_costs_its_network_nothing():
    pace = PolitePace(TokenBucket(per_second=10), NetworkBuckets(per_second=20))
    assert pace.take(1, THERE, ahead=1, now=1000.0) == 1
    for _ in range(50):
        assert pace.take_beside("a", HERE, now=1000.0) > 0
    assert pace.take_beside("a", HERE, now=1000.1) == 0
    assert pace.take_beside("b", HERE, now=1000.2) == 0


def test_probes_that_have_ended_short_keep_nobody_waiting():
    pace = rate_of(100)
    assert pace.take(64, HERE, ahead=64, now=1000.0) == 10
    assert pace.take_beside("a", HERE, now=1000.05) > 0
    assert pace.take_beside("a", HERE, now=1000.0 + GIVE_WAY_SECONDS) == 0


def test_without_a_rate_nobody_waits():
    pace = PolitePace(TokenBucket(per_second=0), None)
    for n in range(1000):
        assert pace.take(10**6, HERE, ahead=10**6, now=1000.0) == 10**6
        assert pace.take_beside(n, HERE, now=1000.0) == 0


def test_two_threads_get_no_more_than_there_is():
    """With the clock standing still every token is handed out once, whatever the threads do to one another."""
    pace = PolitePace(TokenBucket(per_second=100_000), NetworkBuckets(per_second=50_000))
    taken = [0, 0]

    def probe() -> None:
        for _ in range(20_000):
            taken[0] += (got := pace.take(3, HERE, ahead=3, now=1000.0))
            if got > 1:
                pace.put_back(1, HERE)
                taken[0] -= 1

    def talk() -> None:
        for n in range(20_000):
            taken[1] += pace.take_beside(n % 7, HERE, now=1000.0) == 0
        for who in range(7):
            pace.leave(who)

    threads = [threading.Thread(target=work) for work in (probe, talk)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) + pace.take(10_000, HERE, ahead=1, now=1000.0) == 5000
