"""The database behind the core: the cache of replies, and one budget for all processes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from django.db import connection
from django.utils import timezone

from scans.adapters import DatabaseBudget, DatabaseCache
from scans.core.budgets import BREAKING_FAILURES, Limit, Quota
from scans.core.tools import Kept
from scans.core.types import Facts, IPAddress, SourceResult, SourceState
from scans.models import RateBucket, SourceHealth, SourceReply
from tests.threads import at_once

A, B = ip_address("127.66.0.1"), ip_address("2001:db8::1")


IN_A_MINUTE, IN_TEN_MINUTES = (Limit(3, 60),), (Limit(0.1, 60),)


def reply(**facts) -> SourceResult:
    return SourceResult(source="ip-api", state=SourceState.OK, observed_at=datetime.now(UTC), facts=Facts(**facts))


def kept(address: IPAddress, result: SourceResult, seconds: int = 60) -> Kept:
    return Kept(address=address, result=result, lifetime_seconds=seconds)


@pytest.mark.django_db
def test_what_is_put_comes_back_marked_as_cached_in_one_query(django_assert_num_queries):
    names = ("a.invalid", "b.invalid")
    cache = DatabaseCache()
    cache.put_many([kept(A, reply(country="Germany", is_proxy=False, host_names=names)), kept(B, reply(asn=64500))])
    cache.put_many([kept(A, replace(reply(country="France"), source="rdap"))])
    with django_assert_num_queries(1):
        found = cache.get_many(["ip-api", "rdap"], [A, B])
    assert found["ip-api", A].facts == Facts(country="Germany", is_proxy=False, host_names=names)
    assert found["ip-api", B].facts == Facts(asn=64500)
    assert found["rdap", A].facts == Facts(country="France")
    assert len(found) == 3
    assert all(result.is_cached for result in found.values())
    assert cache.get_many(["another"], [A]) == {}


@pytest.mark.django_db
def test_an_expired_answer_is_only_served_as_a_stale_one_and_a_newer_one_replaces_it():
    cache = DatabaseCache()
    cache.put_many([kept(A, reply(country="Old"))])
    SourceReply.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    old = cache.get_many(["ip-api"], [A])["ip-api", A]
    assert (old.state, old.is_cached, old.facts.country) == (SourceState.STALE, True, "Old")
    cache.put_many([kept(A, reply(country="New"))])
    assert cache.get_many(["ip-api"], [A])["ip-api", A].facts.country == "New"
    SourceReply.objects.update(expires_at=timezone.now() - timedelta(days=8))
    assert cache.get_many(["ip-api"], [A]) == {}
    assert SourceReply.objects.count() == 1


@pytest.mark.django_db
def test_a_budget_grants_its_burst_and_then_says_how_long_to_wait():
    budget = DatabaseBudget()
    assert [budget.draw("ip-api", IN_A_MINUTE) for _ in range(3)] == [None, None, None]
    refusal = budget.draw("ip-api", IN_A_MINUTE)
    assert refusal is not None
    assert 0 < refusal.seconds <= 20
    RateBucket.objects.update(counted_at=timezone.now() - timedelta(seconds=21))
    assert budget.draw("ip-api", IN_A_MINUTE) is None


@pytest.mark.django_db
def test_a_day_is_counted_in_a_row_of_its_own_and_a_refusal_by_it_costs_nothing_else():
    budget, limits = DatabaseBudget(), (Limit(60, 60), Limit(2, 86400))
    assert [budget.draw("greynoise", limits) for _ in range(2)] == [None, None]
    refusal = budget.draw("greynoise", limits)
    assert refusal is not None
    assert 0 < refusal.seconds <= 86400
    assert refusal.reason.startswith("its quota is used up for another ")
    by_name = dict(RateBucket.objects.values_list("name", "tokens"))
    assert by_name["greynoise:2/86400s"] == 0
    assert by_name["greynoise:60/60s"] >= 1  # of three at once


@pytest.mark.django_db
def test_what_the_source_says_about_its_quota_outranks_our_count():
    budget, good = DatabaseBudget(), [reply(asn=1)]
    budget.draw("ip-api", IN_TEN_MINUTES)
    budget.observe("ip-api", IN_TEN_MINUTES, good, Quota(remaining=1, resets_in_seconds=60))
    assert RateBucket.objects.get().tokens == pytest.approx(0.1)  # such a limit never had a whole one


@pytest.mark.django_db
def test_a_source_that_says_its_quota_is_used_up_is_left_alone_until_then():
    budget = DatabaseBudget()
    budget.draw("ip-api", IN_A_MINUTE)
    budget.observe("ip-api", IN_A_MINUTE, [reply(asn=1)], Quota(remaining=1, resets_in_seconds=60))
    assert RateBucket.objects.get().tokens == 1
    budget.observe("ip-api", IN_A_MINUTE, [reply(asn=1)], Quota(remaining=0, resets_in_seconds=370))
    refusal = budget.draw("ip-api", IN_A_MINUTE)
    assert refusal is not None
    assert 60 < refusal.seconds <= 370


@pytest.mark.django_db
def test_a_source_that_fails_again_and_again_is_left_alone_and_one_answer_heals_it():
    budget = DatabaseBudget()
    bad = [SourceResult(source="rdap", state=SourceState.FAILED, reason="HTTP 500")]
    for _ in range(BREAKING_FAILURES):
        assert budget.draw("rdap", IN_A_MINUTE) is None
        RateBucket.objects.all().delete()
        budget.observe("rdap", IN_A_MINUTE, bad, None)
    refusal = budget.draw("rdap", IN_A_MINUTE)
    assert refusal is not None
    assert refusal.state is SourceState.FAILED
    health = SourceHealth.objects.get()
    assert (health.failures, health.last_miss) == (BREAKING_FAILURES, "failed: HTTP 500")
    budget.observe("rdap", IN_A_MINUTE, [replace(reply(), source="rdap")], None)
    assert budget.draw("rdap", IN_A_MINUTE) is None
    assert SourceHealth.objects.get().failures == 0


@pytest.mark.django_db
def test_a_healthy_source_is_written_down_only_now_and_then(django_assert_num_queries):
    budget = DatabaseBudget()
    budget.observe("rdap", IN_A_MINUTE, [reply()], None)
    at = SourceHealth.objects.get().answered_at
    budget.observe("rdap", IN_A_MINUTE, [reply()], None)
    assert SourceHealth.objects.get().answered_at == at


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_draw_more_than_there_is():
    limits = (Limit(3, 7 * 86400), Limit(50, 28 * 86400))
    assert DatabaseBudget().draw("ip-api", limits) is None
    granted, problems = [], []

    def draw() -> None:
        try:
            granted.extend(True for _ in range(5) if DatabaseBudget().draw("ip-api", limits) is None)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    at_once(draw, threads=8)
    assert problems == []
    assert len(granted) == 2  # one is gone already
