"""Which addresses may be scanned: a table of tricky ones, and what must hold for all."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scans.core.options import LOOPBACK, ScopeOptions
from scans.core.policy import ScopePolicy, embedded_ipv4


def networks(*texts):
    return tuple(ip_network(text) for text in texts)


DEFAULT = ScopePolicy(ScopeOptions())

# Every row says what becomes of the addresses under default settings. `rule` is "global" exactly when they are allowed.
TABLE = {
    "unspecified": "0.0.0.0 :: ::ffff:0.0.0.0 64:ff9b:: 2002::1",
    "this-network": "0.0.0.1 0.255.255.255 ::ffff:0.0.0.1 ::2 2002:1::",
    "loopback": (
        "127.0.0.1 127.0.0.2 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::127.0.0.1"
        " ::ffff:0:127.0.0.1 2002:7f00:1:: 2002:7f00:1::1 2001:0:7f00:1::f7f7:f7f7 2001:0:808:808::80ff:fffe"
    ),
    "private": (
        "10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 fc00:: fc00::1 fd00::1"
        " fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::ffff:10.0.0.1 ::ffff:192.168.1.1 64:ff9b::a00:1 ::10.0.0.1 2002:a00:1::"
        " 2001:0:a00:1::f7f7:f7f7 2001:0:808:808::f5ff:fffe fd00:ec2::253"
    ),
    "carrier-nat": "100.64.0.0 100.64.0.1 100.127.255.255 100.100.100.199 ::ffff:100.64.0.1 64:ff9b::6440:1 2002:6440:1::",
    "link-local": "169.254.0.0 169.254.1.1 169.254.169.253 169.254.255.255 fe80:: fe80::1 febf:ffff:: ::ffff:169.254.1.1",
    "protocol": "192.0.0.0 192.0.0.8 192.0.0.11 192.0.0.255 2001:1:: 2001:1::4 2001:5:: 2001:4:111:: 2001:1ff::1",
    "documentation": (
        "192.0.2.0 192.0.2.255 198.51.100.1 203.0.113.1 2001:db8:: 2001:db8:ffff::1 3fff:: 3fff:fff:: ::ffff:192.0.2.1"
        " 64:ff9b::192.0.2.1 2001:0:4136:e378:8000:63bf:3fff:fdd2"  # RFC 4380's own example carries 192.0.2.45
    ),
    "benchmark": "198.18.0.0 198.19.255.255 2001:2:: 2001:2:0:ffff::1 ::ffff:198.18.0.1",
    "reserved": "240.0.0.0 254.1.2.3 255.255.255.254 ::ffff:240.0.0.1",
    "6to4-relay": "192.88.99.0 192.88.99.1 192.88.99.255 ::ffff:192.88.99.1",
    "multicast": "224.0.0.0 224.0.0.1 239.255.255.255 ff00:: ff02::1 ff0e::1 ffff::1 ::ffff:224.0.0.1 64:ff9b::e000:1",
    "broadcast": "255.255.255.255 ::ffff:255.255.255.255 2002:ffff:ffff::",
    "metadata": (
        "169.254.169.254 169.254.170.2 169.254.170.23 169.254.0.23 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254"
        " fd00:ec2::23 fd20:ce::254 ::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b::168.63.129.16"
        " 2002:a9fe:a9fe:: 2002:a83f:8110::1 2001:0:a9fe:a9fe:: 2001:0:808:808::5601:5601 ::ffff:0:168.63.129.16"
    ),
    "ipv4-compatible": "::8.8.8.8 ::1.0.0.0",
    "ipv4-translated": "::ffff:0:8.8.8.8",
    "nat64-local": "64:ff9b:1::8.8.8.8 64:ff9b:1:ffff:ffff:ffff:808:808",
    "6to4": "2002:808:808:: 2002:808:808::1",
    "teredo": "2001:0:808:808::f7f7:f7f7",
    "discard": "100:: 100::1 100:0:0:1::1",
    "segment-routing": "5f00:: 5f00::1 5f00:ffff::",
    "site-local": "fec0:: fec0::1 feff::1",
    "unallocated": "1:: 64:ff9b:2:: 100:0:0:2:: 200::1 1fff:: 4000:: 4000::1 6000::1 fbff::1 fe00::1 ::1:0:0:1",
    "zone-id": "fe80::1%eth0 2600::1%1 ::1%lo",
    "global": (
        "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15"
        " 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.0.9 192.0.0.10 192.0.1.0"
        " 192.0.3.0 192.31.196.1 192.52.193.1 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.48.1"
        " 198.17.255.255 198.20.0.0 198.51.99.255 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2001:1::1 2001:1::2"
        " 2001:1::3 2001:3::1 2001:4:112::1 2001:20::1 2001:2f:ffff::1 2001:30::1 2001:200::1 2001:db7:ffff::1 2001:db9::"
        " 2003::1 2600::1 2620:4f:8000::1 3ffe:ffff:: 3fff:1000:: ::ffff:8.8.8.8 64:ff9b::808:808 64:ff9b::192.0.0.9"
    ),
}
ROWS = [(text, rule) for rule, texts in TABLE.items() for text in texts.split()]


def test_the_table_is_long_and_has_no_repeats():
    assert len({text for text, _ in ROWS}) == len(ROWS) >= 120


@pytest.mark.parametrize(("text", "rule"), ROWS)
def test_each_tricky_address_falls_under_its_rule(text, rule):
    decision = DEFAULT.check(ip_address(text))
    assert (decision.rule, decision.allowed, decision.is_global) == (rule, rule == "global", rule == "global")
    assert DEFAULT.may_connect(ip_address(text)) == decision.allowed
    assert str(ip_address(text)) in decision.reason
    assert bool(decision.remedy) == (not decision.allowed)


# --- The words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        (
            "10.1.2.3",
            "10.1.2.3 is a private address.",
            "Set SCAN_ALLOW_NETWORKS=10.1.2.3, or networks that hold it, to allow it.",
        ),
        (
            "2002:7f00:1::",
            "2002:7f00:1:: carries 127.0.0.1, which is a loopback address (the scanner's own machine).",
            "Set SCAN_ALLOW_NETWORKS=127.0.0.1,2002:7f00:1::, or networks that hold it, to allow it.",
        ),
        (
            "169.254.169.254",
            "169.254.169.254 is a cloud metadata service.",
            "It can never be allowed: such services hand out credentials of the scanner's own machine.",
        ),
        (
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe carries 169.254.169.254, which is a cloud metadata service.",
            "It can never be allowed: such services hand out credentials of the scanner's own machine.",
        ),
    ],
)
def test_a_refusal_says_why_and_what_to_do(text, reason, remedy):
    decision = DEFAULT.check(ip_address(text))
    assert (decision.reason, decision.remedy) == (reason, remedy)


@pytest.mark.parametrize(("text", "rule"), [row for row in ROWS if row[1] != "global"])
def test_the_remedy_of_a_refusal_works_or_says_never(text, rule):
    address = ip_address(text)
    remedy = DEFAULT.check(address).remedy
    if remedy.startswith("It can never be allowed: "):
        everything = ScopeOptions(allow=networks("0.0.0.0/0", "::/0"), treat_as_global=networks("0.0.0.0/0", "::/0"))
        assert not ScopePolicy(everything).may_connect(address)
    else:
        value = remedy.removeprefix("Set SCAN_ALLOW_NETWORKS=").partition(", or ")[0]
        decision = ScopePolicy(ScopeOptions(allow=networks(*value.split(",")))).check(address)
        assert (decision.allowed, decision.is_global, decision.rule) == (True, False, "operator-allow")


# --- The order -----------------------------------------------------------------------------------------------------


def test_what_can_never_be_allowed_is_denied_inside_an_allowed_network():
    policy = ScopePolicy(ScopeOptions(allow=networks("169.254.0.0/16", "fd00::/8", "100.64.0.0/10", "224.0.0.0/4")))
    assert policy.may_connect(ip_address("169.254.1.1"))
    assert policy.may_connect(ip_address("fd00:ec2::253"))
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1"):
        assert not policy.may_connect(ip_address(text))


def test_deny_wins_over_allow_and_over_treat_as_global():
    scope = ScopeOptions(
        allow=networks("10.0.0.0/8"),
        deny=networks("10.1.0.0/16", "8.8.8.8", "127.66.1.0/24"),
        treat_as_global=networks("127.66.0.0/16"),
    )
    policy = ScopePolicy(scope)
    assert policy.may_connect(ip_address("10.2.0.1"))
    assert policy.may_connect(ip_address("8.8.4.4"))
    assert policy.may_connect(ip_address("127.66.0.1"))
    for text in ("10.1.0.1", "8.8.8.8", "127.66.1.1", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        decision = policy.check(ip_address(text))
        assert (decision.rule, decision.allowed, decision.is_global) == ("operator-deny", False, False)
        assert "SCAN_DENY_NETWORKS" in decision.remedy


def test_a_remedy_never_points_to_a_setting_that_could_not_help():
    policy = ScopePolicy(ScopeOptions(deny=networks("2002::/16")))
    assert policy.check(ip_address("2002:e000:1::")).rule == "multicast"
    assert policy.check(ip_address("2002:a00:1::")).rule == "operator-deny"


def test_allowed_private_addresses_are_not_global_and_allowed_global_ones_stay_global():
    policy = ScopePolicy(ScopeOptions(allow=networks("10.0.0.0/8", "8.0.0.0/8")))
    assert (policy.check(ip_address("10.0.0.1")).allowed, policy.check(ip_address("10.0.0.1")).is_global) == (True, False)
    assert policy.check(ip_address("8.8.8.8")).is_global
    assert not policy.check(ip_address("::ffff:10.0.0.1")).is_global


def test_the_local_profile_allows_loopback_and_nothing_else_that_is_not_global():
    policy = ScopePolicy(ScopeOptions(allow=LOOPBACK))
    for text, rule in ROWS:
        if rule in ("global", "loopback"):
            continue
        assert not policy.may_connect(ip_address(text)), text
    for text in ("127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"):
        assert policy.check(ip_address(text)).rule == "operator-allow"
    for text in ("2002:7f00:1::", "::127.0.0.1"):  # allowed inside, but the tunnel around it is not
        assert not policy.may_connect(ip_address(text))


def test_a_range_treated_as_global_is_allowed_and_global_and_its_neighbours_are_not():
    policy = ScopePolicy(ScopeOptions(treat_as_global=networks("127.66.0.0/16")))
    for text in ("127.66.0.0", "127.66.255.255", "::ffff:127.66.0.1"):
        decision = policy.check(ip_address(text))
        assert (decision.allowed, decision.is_global, decision.rule) == (True, True, "treat-as-global")
    for text in ("127.65.255.255", "127.67.0.0", "127.0.0.1"):
        assert not policy.may_connect(ip_address(text))


# --- What must hold for all ----------------------------------------------------------------------------------------

DENIED_IPV4 = networks(
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
)  # fmt: skip
ANY_128 = st.integers(0, 2**128 - 1)
ENCODINGS = {
    "mapped": lambda v4, noise: 0xFFFF << 32 | v4,
    "compatible": lambda v4, noise: v4,
    "nat64": lambda v4, noise: 0x64FF9B << 96 | v4,
    "6to4": lambda v4, noise: 0x2002 << 112 | v4 << 80 | noise & (2**80 - 1),
    "teredo server": lambda v4, noise: 0x20010000 << 96 | v4 << 64 | noise & (2**64 - 1),
    "teredo client": lambda v4, noise: 0x20010000 << 96 | noise & (2**64 - 1) << 32 | v4 ^ 0xFFFFFFFF,
}
# Even where the operator opens the tunnels themselves, what is inside must be allowed on its own.
OPEN_TUNNELS = ScopePolicy(ScopeOptions(allow=networks("::/96", "2002::/16", "2001::/32")))


@st.composite
def denied_ipv4(draw):
    network = draw(st.sampled_from(DENIED_IPV4))
    return int(network[0]) + draw(st.integers(0, network.num_addresses - 1))


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(deadline=None)
@given(v4=denied_ipv4(), noise=ANY_128)
def test_a_denied_ipv4_is_refused_in_every_encoding(encoding, v4, noise):
    address = IPv6Address(ENCODINGS[encoding](v4, noise))
    if encoding == "compatible" and v4 < 2:
        return  # :: and ::1, which have rules of their own
    assert IPv4Address(v4) in embedded_ipv4(address)
    assert not DEFAULT.may_connect(IPv4Address(v4))
    assert not DEFAULT.may_connect(address)
    assert not OPEN_TUNNELS.may_connect(address)
    assert not OPEN_TUNNELS.check(address).is_global


@settings(deadline=None)
@given(ANY_128)
def test_an_ipv6_outside_the_space_in_use_is_allowed_only_for_the_ipv4_it_carries(value):
    address = IPv6Address(value)
    if value >> 125 != 1:
        carried = embedded_ipv4(address)
        assert not DEFAULT.may_connect(address) or all(DEFAULT.check(v4).is_global for v4 in carried or [IPv4Address(0)])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=8),
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=8),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8),
)
def test_operator_lists_mean_what_ipaddress_says_they_mean(allow, deny, values):
    allow, deny = ([IPv4Network((value, length), strict=False) for value, length in pairs] for pairs in (allow, deny))
    policy = ScopePolicy(ScopeOptions(allow=tuple(allow), deny=tuple(deny)))
    edges = [edge + step for net in allow + deny for edge in (int(net[0]), int(net[-1])) for step in (-1, 0, 1)]
    for address in (IPv4Address(value) for value in values + edges if 0 <= value < 2**32):
        decision = policy.check(address)
        if DEFAULT.check(address).remedy.startswith("It can never"):
            assert not decision.allowed
        elif any(address in net for net in deny):
            assert decision.rule == "operator-deny"
        elif any(address in net for net in allow):
            assert decision.rule == "operator-allow"
        else:
            assert decision == DEFAULT.check(address)


def test_memory_stays_bounded_and_answers_stay_right_over_many_addresses():
    policy = ScopePolicy(ScopeOptions())
    rng = random.Random(7)
    for value in (rng.getrandbits(32) for _ in range(40_000)):
        policy.may_connect(IPv4Address(value))
    assert policy._cached_decision.cache_info().currsize <= 16384
    assert not policy.may_connect(ip_address("127.0.0.1"))
    assert policy.may_connect(ip_address("8.8.8.8"))
