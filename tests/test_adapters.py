"""The database behind the core: the cache of replies, and one budget for all processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from django.db import connection
from django.utils import timezone

from scans.adapters import DatabaseBudget, DatabaseCache
from scans.core.types import Facts, SourceResult, SourceState
from scans.models import RateBucket, SourceReply
from tests.threads import at_once

A, B = ip_address("127.66.0.1"), ip_address("2001:db8::1")


def reply(**facts) -> SourceResult:
    return SourceResult(source="ip-api", state=SourceState.OK, observed_at=datetime.now(UTC), facts=Facts(**facts))


@pytest.mark.django_db
def test_what_is_put_comes_back_marked_as_cached_in_one_query(django_assert_num_queries):
    DatabaseCache().put_many(
        {A: reply(country="Germany", is_proxy=False), B: reply(asn=64500)}, lifetime_seconds={A: 60, B: 60}
    )
    with django_assert_num_queries(1):
        found = DatabaseCache().get_many("ip-api", [A, B])
    assert found[A].facts == Facts(country="Germany", is_proxy=False)
    assert found[B].facts == Facts(asn=64500)
    assert all(result.is_cached for result in found.values())
    assert DatabaseCache().get_many("another", [A]) == {}


@pytest.mark.django_db
def test_an_expired_answer_is_not_served_and_a_newer_one_replaces_it():
    cache = DatabaseCache()
    cache.put_many({A: reply(country="Old")}, lifetime_seconds={A: 60})
    SourceReply.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert cache.get_many("ip-api", [A]) == {}
    cache.put_many({A: reply(country="New")}, lifetime_seconds={A: 60})
    assert cache.get_many("ip-api", [A])[A].facts.country == "New"
    assert SourceReply.objects.count() == 1


@pytest.mark.django_db
def test_a_budget_grants_its_burst_and_then_says_how_long_to_wait():
    budget = DatabaseBudget()
    assert [budget.draw("ip-api", per_minute=3) for _ in range(3)] == [0, 0, 0]
    assert 0 < budget.draw("ip-api", per_minute=3) <= 20
    RateBucket.objects.update(counted_at=timezone.now() - timedelta(seconds=21))
    assert budget.draw("ip-api", per_minute=3) == 0


@pytest.mark.django_db
def test_what_the_source_says_about_its_quota_outranks_our_count():
    budget = DatabaseBudget()
    budget.draw("ip-api", per_minute=0.1)
    budget.observe("ip-api", remaining=1, resets_in_seconds=60)
    assert budget.draw("ip-api", per_minute=0.1) == 0
    assert budget.draw("ip-api", per_minute=0.1) > 500
    budget.observe("ip-api", remaining=0, resets_in_seconds=370)
    assert 200 < budget.draw("ip-api", per_minute=0.1) <= 370


@pytest.mark.django_db(transaction=True)
def test_many_at_once_never_draw_more_than_there_is():
    DatabaseBudget().draw("ip-api", per_minute=0.1)
    granted, problems = [], []

    def draw() -> None:
        try:
            granted.extend(wait for _ in range(5) if (wait := DatabaseBudget().draw("ip-api", per_minute=0.1)) == 0)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    at_once(draw, threads=8)
    assert problems == []
    assert len(granted) == 2  # one is gone already, and none grows back within ten minutes
