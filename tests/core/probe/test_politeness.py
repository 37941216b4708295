"""No network is asked faster than its rate, none is held up by another, and one that is held back gets all of its rate."""

from __future__ import annotations

import errno
import threading
from collections import defaultdict
from ipaddress import ip_address

import pytest

from scans.core.probe.grants import Grant
from scans.core.probe.network_grants import GrantedNetworks
from scans.core.probe.politeness import MANY_NETWORKS, NetworkBuckets, network_of, network_text
from tests.core.probe.driving import collect, plan
from tests.core.probe.fake_network import FakeNetwork

HERE, THERE = (4, 1), (4, 2)


def world_of(*plans, latency_seconds: float = 0.01, **options) -> FakeNetwork:
    """What was sent where all these hosts were probed to their end."""
    world = FakeNetwork(lambda host, port, now: (latency_seconds, errno.ECONNREFUSED))
    engine = world.engine(**{"rate_per_second": 0, "max_inflight": 0, "per_host": 128, **options})
    for one in plans:
        engine.submit(one)
    engine.finish()
    assert len(collect(engine)) == len(plans)
    return world


def paced(address: str, ports: range):
    return plan(ports, key=address, address=address, is_paced=True)


def times_by_network(world: FakeNetwork) -> dict[str, list[float]]:
    found = defaultdict(list)
    for at, host, _ in world.sent:
        found[network_text(network_of(ip_address(host)))].append(at)
    return found


def check_rate(times: list[float], rate: float, *, slack: float = 1.1) -> None:
    """In no stretch more than the rate allows, and over all of it not much less."""
    for width in (10, 100, len(times) - 1):
        for first, last in zip(times, times[width:], strict=False):
            assert width <= (last - first) * rate + max(1, rate * 0.1) + 1
    assert times[-1] - times[0] < slack * len(times) / rate + 0.1


@pytest.mark.parametrize(
    ("hosts", "ports", "rate"),
    [(1, 3000, 1000), (40, 50, 1000), (250, 1, 100), (100, 24, 1000), (3, 100, 50), (250, 100, 20_000)],
)
def test_a_network_gets_its_rate_and_no_more_however_many_hosts_it_has(hosts, ports, rate):
    plans = [paced(f"10.1.{net}.{n + 1}", range(1, ports + 1)) for net in (1, 2) for n in range(hosts)]
    found = times_by_network(world_of(*plans, network_per_second=rate))
    assert found.keys() == {"10.1.1.0/24", "10.1.2.0/24"}
    for times in found.values():
        assert len(times) == hosts * ports
        check_rate(times, rate)


def test_a_very_low_rate_is_kept_too_though_some_of_it_is_lost():
    world = world_of(*(paced(f"10.1.1.{n}", range(1, 3)) for n in range(1, 21)), network_per_second=3)
    check_rate([at for at, _, _ in world.sent], 3, slack=2)


def test_a_network_that_is_held_back_holds_up_no_other():
    crowd = [paced(f"10.1.1.{n}", range(1, 25)) for n in range(1, 251)]
    world = world_of(*crowd, paced("10.1.2.1", range(1, 6)), plan(range(1, 6), key="near"), network_per_second=100)
    for host in ("10.1.2.1", "127.0.0.1"):
        assert max(at for at, of, _ in world.sent if of == host) - world.sent[0][0] < 0.1


def test_both_rates_hold_at_once():
    plans = [paced(f"10.1.{net}.{n}", range(1, 11)) for net in range(10) for n in range(1, 11)]
    world = world_of(*plans, rate_per_second=400, network_per_second=100)
    check_rate([at for at, _, _ in world.sent], 400)
    for times in times_by_network(world).values():
        check_rate(times, 100, slack=3)  # ten of them share the 400


def test_hosts_that_rest_cost_no_more_turns_than_there_is_to_do():
    plans = [paced(f"10.1.1.{n}", range(1, 25)) for n in range(1, 251)]
    world = FakeNetwork(lambda host, port, now: (0.01, errno.ECONNREFUSED))
    engine = world.engine(rate_per_second=0, network_per_second=500)
    for one in plans:
        engine.submit(one)
    engine.finish()
    collect(engine)
    assert engine.stats.turns < 1.5 * engine.stats.sent


def test_hosts_that_are_not_paced_have_no_network():
    world = world_of(*(plan(range(1, 101), key=n, address=f"10.1.1.{n}") for n in range(1, 51)), network_per_second=1)
    assert world.sent[-1][0] - world.sent[0][0] < 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ("::1", "::/48"),
    ],
)
def test_a_network_is_a_24_or_a_48(address, network):
    assert network_text(network_of(ip_address(address))) == network


def test_networks_that_have_rested_are_forgotten_before_there_are_too_many():
    buckets = NetworkBuckets(per_second=10)
    for number in range(3 * MANY_NETWORKS):
        assert buckets.take((4, number), 1, ahead=1, now=number / 1000) == 1
    assert len(buckets._known) <= MANY_NETWORKS + 1
    assert buckets.take((4, number), 9, ahead=9, now=number / 1000) == 0  # the last one is still known


# --- Grants ------------------------------------------------------------------------------------------------------


def grants(per_second: float = 100) -> tuple[GrantedNetworks, threading.Event]:
    return GrantedNetworks(bell := threading.Event(), per_second=per_second), bell


def test_the_first_few_need_no_grant_and_are_paid_for_with_the_first():
    networks, bell = grants()
    assert networks.take(HERE, 5, ahead=5, now=1.0) == networks.free == 5
    assert (networks.wanting(), bell.is_set(), networks.withdraw()) == ({}, False, {})
    assert networks.take(HERE, 8, ahead=20, now=1.0) == 5
    assert (networks.wanting(), bell.is_set(), networks.unpaid(HERE)) == ({HERE: 15}, True, 5)
    networks.put(HERE, Grant(count=15, starts_at=1.1, per_second=100))
    assert (networks.wanting(), networks.unpaid(HERE)) == ({}, 0)


def test_a_rate_so_low_that_a_few_are_many_begins_with_a_grant():
    networks, _ = grants(per_second=10)
    assert networks.take(HERE, 1, ahead=3, now=1.0) == 0
    assert networks.wanting() == {HERE: 3}


def test_a_grant_is_spent_at_its_rate_however_late_and_what_is_left_goes_back():
    networks, _ = grants()
    assert networks.take(HERE, 9, ahead=30, now=1.0) == 5
    networks.put(HERE, Grant(count=20, starts_at=1.5, per_second=100))
    assert [networks.take(HERE, 9, ahead=20, now=now) for now in (1.4, 1.5, 1.505, 1.53)] == [0, 1, 0, 3]
    assert networks.take(HERE, 9, ahead=20, now=30.0) == 9
    networks.put_back(HERE, 2)
    assert networks.take(THERE, 1, ahead=1, now=30.0) == 1
    assert networks.withdraw() == {HERE: 9}
    assert networks.withdraw() == {}


def test_who_waits_for_a_network_comes_back_one_after_the_other():
    networks, _ = grants()
    assert networks.take(HERE, 5, ahead=5, now=1.0) == 5
    assert networks.take(HERE, 9, ahead=30, now=1.0) == 0
    networks.put(HERE, Grant(count=20, starts_at=1.5, per_second=100))
    rests = [networks.rest_seconds(HERE, 2, now=1.0) for _ in range(3)]
    assert rests == pytest.approx([0.52, 0.54, 0.56])
    assert networks.rest_seconds(HERE, 2, now=1.5) == 0
    assert networks.take(HERE, 1, ahead=1, now=1.5) == 1
    assert networks.wanting() == {}  # 19 are left, and only those want any that come back until 1.56
    assert networks.take(HERE, 9, ahead=40, now=1.595) == 9
    assert networks.wanting() == {HERE: 31 - 10}
