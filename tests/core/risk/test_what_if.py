"""What if ports were closed: the same as rating evidence in which they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scans.core.ports import DEFAULT_SERVICES
from scans.core.risk import best_relief, by_weight, gather, rate, rate_closed
from scans.core.risk.levels import rank
from scans.core.risk.what_if import MAX_TRIED_PORTS
from scans.core.types import Level
from tests.core.risk.test_scorer import WORKED_HOSTS
from tests.factories import make_address, make_services

HOSTS = [(host["name"], host["facts"]["ports"], host["facts"]["public"]) for host in WORKED_HOSTS if host["facts"]["ports"]]
OPEN_REDIS = (22, 443, 6379)


def seen(ports, *, is_global=True, without=()):
    """An address where exactly these ports are open, with what stands behind them where the samples know."""
    services = [service for service in make_services() if service.port in ports and service.port not in without]
    is_open = [port for port in ports if port not in without]
    known = sorted({*DEFAULT_SERVICES, *ports})
    return make_address(open_ports=is_open, ports=known, is_global=is_global, services=services)


@pytest.mark.parametrize(("name", "ports", "is_public"), HOSTS, ids=[host[0] for host in HOSTS])
def test_it_equals_rating_the_evidence_in_which_the_port_is_closed(name, ports, is_public):
    for port in ports:
        supposed = rate_closed([seen(ports, is_global=is_public)], {port})
        assert supposed == rate(gather([seen(ports, is_global=is_public, without=[port])])), f"{name}, {port}"


@pytest.mark.parametrize(("name", "ports", "is_public"), HOSTS, ids=[host[0] for host in HOSTS])
def test_closing_never_raises_and_closing_all_is_low_and_not_unknown(name, ports, is_public):
    here = [seen(ports, is_global=is_public)]
    now = rate(gather(here))
    for port in ports:
        then = rate_closed(here, {port})
        assert (rank(then.level), then.score) <= (rank(now.level), now.score)
    nothing = rate_closed(here, set(ports))
    assert (nothing.level, nothing.score, nothing.findings) == (Level.LOW, 0, ())


def test_a_port_is_closed_at_every_address_with_the_service_on_it():
    two = [seen(OPEN_REDIS), replace(seen(OPEN_REDIS, is_global=False), address=seen([]).address + 1)]
    assert rate(gather(two)).level is Level.CRITICAL
    assert rate_closed(two, {6379}) == rate(
        gather([seen(OPEN_REDIS, without=[6379]), replace(seen(OPEN_REDIS, without=[6379], is_global=False))])
    )


def test_the_best_port_to_close_is_the_one_that_lowers_the_verdict_most():
    here = [seen(OPEN_REDIS)]
    relief = best_relief(here, rate(gather(here)))
    assert relief is not None
    assert relief.port == 6379
    assert min((rank(rate_closed(here, {port}).level), rate_closed(here, {port}).score) for port in OPEN_REDIS) == (
        rank(relief.verdict.level),
        relief.verdict.score,
    )


def test_above_a_hundred_points_the_best_is_told_by_the_points():
    ports = [23, 445, 2375, 3306, 3389, 6379]
    here = [seen(ports)]
    now = rate(gather(here))
    relief = best_relief(here, now)
    assert now.score == 100
    assert relief is not None
    left = {port: sum(f.points for f in rate_closed(here, {port}).findings) for port in ports}
    assert left[relief.port] == min(left.values())


def test_where_no_port_helps_or_there_are_too_many_nothing_is_advised():
    nothing = [seen([])]
    assert best_relief(nothing, rate(gather(nothing))) is None
    many = [make_address(open_ports=range(1, MAX_TRIED_PORTS + 2), ports=())]
    assert best_relief(many, rate(gather(many))) is None


def test_the_ports_that_findings_name_come_first():
    here = [seen([22, 443, 3306, 6379])]
    assert by_weight([22, 443, 3306, 6379], here, rate(gather(here)))[:2] == [3306, 6379]
