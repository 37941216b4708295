"""Limits and health of sources, on a scripted clock."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core import budgets
from scans.core.budgets import BREAKING_FAILURES, BROKEN_SECONDS, BURST, Bucket, Health, Limit, Quota, after
from scans.core.types import SourceState

MINUTE, DAY = Limit(12, 60), Limit(100, 86400)
NOON = 20_000 * 86400 + 43200.0


def full(*limits: Limit, now: float = NOON) -> Mapping[Limit, Bucket]:
    return {limit: Bucket.full(limit, now=now) for limit in limits}


def drawn(buckets: Mapping[Limit, Bucket], times: list[float]) -> list[float]:
    """The times at which a request was granted."""
    granted = []
    for at in times:
        buckets, refusal = budgets.draw(buckets, now=at)
        if refusal is None:
            granted.append(at)
    return granted


def test_after_the_burst_requests_come_evenly():
    granted = drawn(full(MINUTE), [NOON + second for second in range(121)])
    assert granted[:3] == [NOON, NOON + 1, NOON + 2]
    assert [b - a for a, b in pairwise(granted[3:])] == [5.0] * (len(granted) - 4)


def test_a_day_ends_at_midnight_and_not_a_day_after_the_first_request():
    buckets, refusal = full(DAY), None
    for _ in range(101):
        buckets, refusal = budgets.draw(buckets, now=NOON)
    assert refusal is not None
    assert refusal.seconds == 43200
    _, refusal = budgets.draw(buckets, now=NOON + 43200)
    assert refusal is None


def test_a_refusal_by_one_limit_takes_nothing_from_the_others():
    buckets = {**full(MINUTE), DAY: Bucket(tokens=0, counted_at=NOON - NOON % 86400)}
    buckets, refusal = budgets.draw(buckets, now=NOON)
    assert refusal is not None
    assert buckets[MINUTE].tokens == BURST


def test_a_count_from_a_clock_that_was_ahead_is_forgotten():
    _, refusal = budgets.draw({MINUTE: Bucket(tokens=0, counted_at=NOON + 7200)}, now=NOON)
    assert refusal is not None
    assert refusal.seconds <= 5
    _, refusal = budgets.draw({DAY: Bucket(tokens=0, counted_at=NOON + 30 * 86400)}, now=NOON)
    assert refusal is None


@given(
    limits=st.sets(st.builds(Limit, st.integers(1, 50), st.sampled_from([1.0, 30.0, 60.0, 3600.0, 86400.0])), min_size=1),
    steps=st.lists(st.floats(0, 4000), max_size=200),
)
def test_no_window_of_a_limit_ever_holds_more_than_it_and_its_burst(limits, steps):
    times, now = [], NOON
    for step in steps:
        now += step
        times.append(now)
    granted = drawn(full(*limits), times)
    for limit in limits:
        most = limit.requests + min(BURST, limit.requests) if limit.is_short else 2 * limit.requests
        for start in granted:
            assert sum(start <= at < start + limit.seconds for at in granted) <= most + 1e-6


def test_failures_in_a_row_open_the_breaker_and_an_answer_closes_it():
    health = Health()
    for _ in range(BREAKING_FAILURES - 1):
        health = after(health, [SourceState.FAILED], None, now=NOON)
        assert health.refusal(now=NOON) is None
    health = after(health, [SourceState.FAILED, SourceState.UNAUTHORIZED], None, now=NOON)
    refusal = health.refusal(now=NOON)
    assert refusal is not None
    assert (refusal.seconds, refusal.state) == (BROKEN_SECONDS, SourceState.FAILED)
    assert health.refusal(now=NOON + BROKEN_SECONDS) is None
    still = after(health, [SourceState.FAILED], None, now=NOON + BROKEN_SECONDS)  # the one request that tries again
    assert still.refusal(now=NOON + BROKEN_SECONDS) is not None
    assert after(health, [SourceState.FAILED, SourceState.EMPTY], None, now=NOON) == Health()


@pytest.mark.parametrize(("parks", "seconds"), [(1, 60), (2, 120), (3, 240), (7, 3600), (50, 3600)])
def test_a_429_that_names_no_end_is_obeyed_longer_each_time(parks, seconds):
    health = Health()
    for _ in range(parks):
        health = after(Health(parks=health.parks), [SourceState.RATE_LIMITED], None, now=NOON)
    refusal = health.refusal(now=NOON)
    assert refusal is not None
    assert (refusal.seconds, refusal.state) == (seconds, SourceState.RATE_LIMITED)


def test_a_quota_that_is_used_up_with_a_good_answer_parks_until_the_source_says():
    health = after(Health(), [SourceState.OK], Quota(remaining=0, resets_in_seconds=370), now=NOON)
    assert health.blocked_until == NOON + 370


def test_what_the_source_says_of_its_shortest_limit_is_believed_if_it_is_less():
    left = budgets.believed(full(MINUTE, DAY), Quota(remaining=1, resets_in_seconds=60))
    assert (left[MINUTE].tokens, left[DAY].tokens) == (1, 100)
    assert budgets.believed(full(MINUTE), Quota(remaining=14, resets_in_seconds=60))[MINUTE].tokens == BURST
