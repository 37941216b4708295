"""Which networks hold an address: compared with asking every network in turn."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from scans.core.feeds import NetworkTable, unmapped
from scans.core.feeds.networks import MAX_VALUES


def networks(bits: int):
    """Often within one another, often side by side: few bits vary, at the front and at the end."""
    kind = IPv4Address if bits == 32 else IPv6Address
    numbers = st.builds(lambda high, low: (high << (bits - 4)) | low, st.integers(0, 15), st.integers(0, 15))
    lengths = st.sampled_from([0, 1, 2, 3, 4, bits - 5, bits - 4, bits - 2, bits - 1, bits])
    return st.builds(lambda n, length: ip_network((kind(n), length), strict=False), numbers, lengths)


ANY_NETWORK = st.one_of(networks(32), networks(128))


@given(st.lists(ANY_NETWORK, max_size=25), st.lists(ANY_NETWORK, max_size=10))
def test_it_finds_what_asking_each_network_in_turn_finds(listed, others):
    table = NetworkTable([(network, number) for number, network in enumerate(listed)])
    edges = [edge for network in [*listed, *others] for edge in (network.network_address, network.broadcast_address)]
    for address in [*edges, *(edge + 1 for edge in edges if int(edge) + 1 < 2**edge.max_prefixlen)]:
        found = [(hit.network, hit.value) for hit in table.find(address)]
        holding = [(n, number) for number, n in enumerate(listed) if n.version == address.version and address in n]
        assert sorted(found, key=str) == sorted(holding, key=str)
        assert [network.prefixlen for network, _ in found] == sorted((n.prefixlen for n, _ in holding), reverse=True)


def test_a_network_that_begins_far_before_the_address_still_holds_it():
    table = NetworkTable([(ip_network("10.0.0.0/8"), "all"), (ip_network("10.1.0.0/16"), "some")])
    assert [hit.value for hit in table.find(ip_address("10.200.0.1"))] == ["all"]
    assert [hit.value for hit in table.find(ip_address("10.1.2.3"))] == ["some", "all"]
    assert list(table.find(ip_address("11.0.0.0"))) == []


def test_the_last_address_of_all_is_in_the_network_that_ends_there():
    table = NetworkTable([(ip_network("0.0.0.0/0"), "v4"), (ip_network("::/0"), "v6")])
    assert [hit.value for hit in table.find(ip_address("255.255.255.255"))] == ["v4"]
    assert [hit.value for hit in table.find(ip_address("ffff::"))] == ["v6"]


def test_an_ipv4_address_in_ipv6_clothes_is_asked_about_as_itself():
    assert unmapped(ip_address("::ffff:192.0.2.5")) == ip_address("192.0.2.5")
    assert unmapped(ip_address("2001:db8::1")) == ip_address("2001:db8::1")
    assert unmapped(ip_address("192.0.2.5")) == ip_address("192.0.2.5")


def test_a_network_that_is_listed_without_end_costs_a_look_up_no_more_than_some():
    network = ip_network("192.0.2.0/24")
    table = NetworkTable((network, number) for number in range(10_000))
    assert [hit.value for hit in table.find(ip_address("192.0.2.1"))] == list(range(MAX_VALUES))
