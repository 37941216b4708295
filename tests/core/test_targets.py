"""Text to targets: what is accepted, what is refused and in which words, and that no second reading exists."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from scans.core.targets import (
    MAX_REJECTED,
    TargetError,
    asked_path,
    expand,
    fold,
    parse_target,
    read_items,
    shown,
    split_lines,
    unmap,
)
from scans.core.types import TargetKind
from tests.patience import AGES


def refusal(text: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    return caught.value


OCTAL = "begins with a zero, which some programs read as octal"


# --- Addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("  192.0.2.1\r\n", "192.0.2.1"),
        ("\u00a0192.0.2.1\u00a0", "192.0.2.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::", "::"),
        ("::1", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:0201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_an_address_is_read_in_its_canonical_form(text, host):
    target = parse_target(text)
    assert (target.kind, target.host, target.address) == (TargetKind.IP, host, ip_address(host))
    assert (target.port, target.scheme, target.path) == (None, None, "")


def test_a_mapped_address_is_the_ipv4_address_and_says_so():
    assert parse_target("::ffff:192.0.2.1").notes == ("IPv4-mapped address read as 192.0.2.1",)
    assert unmap(IPv6Address("::ffff:192.0.2.1")) == IPv4Address("192.0.2.1")
    assert unmap(IPv6Address("::192.0.2.1")) == IPv6Address("::192.0.2.1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("203.0.113.300", "203.0.113.300 is not an address: the last part is above 255."),
        ("999.0.113.3", "999.0.113.3 is not an address: the first part is above 255."),
        ("0177.0.0.1", f"0177.0.0.1 is not an address: the first part {OCTAL}."),
        ("127.0.0.01", f"127.0.0.01 is not an address: the last part {OCTAL}."),
        ("0x7f.0.0.1", "0x7f.0.0.1 is not an address: the first part is not a decimal number."),
        ("0x7f.1", "0x7f.1 is not an address: it has 2 parts, an address has four."),
        ("127.1", "127.1 is not an address: it has 2 parts, an address has four."),
        ("2130706433", "2130706433 is not an address: it has 1 part, an address has four."),
        ("0", "0 is not an address: it has 1 part, an address has four."),
        ("0x", "0x is not an address: it has 1 part, an address has four."),
        ("0x7F000001", "0x7F000001 is not an address: it has 1 part, an address has four."),
        ("10.0.0.0.1", "10.0.0.0.1 is not an address: it has 5 parts, an address has four."),
        ("127.0.0.1.", "127.0.0.1. is not an address: an address has no dot at its end."),
        ("a.invalid.7", "a.invalid.7 is not an address: it has 3 parts, an address has four."),
        ("a.b.c.7", "a.b.c.7 is not an address: the first part is not a decimal number."),
        ("①②⑦.0.0.1", "①②⑦.0.0.1 is not an address: it is not written in plain digits and dots."),
        ("127。0。0。1", "127。0。0。1 is not an address: it is not written in plain digits and dots."),
        ("１２７.0.0.1", "１２７.0.0.1 is not an address: it is not written in plain digits and dots."),
        ("2001:db8::1::2", "2001:db8::1::2 is not an IPv6 address."),
        ("::ffff:0177.0.0.1", "::ffff:0177.0.0.1 is not an IPv6 address."),
        ("[2001:db8::1]", "[2001:db8::1] is in brackets, which belong around an IPv6 address in a URL only."),
    ],
)
def test_a_numeric_host_that_is_no_plain_address_is_refused_with_the_part_that_is_wrong(text, reason):
    error = refusal(text)
    assert (str(error), error.code, error.text) == (reason, "bad_address", text)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%1", "http://[fe80::1%25eth0]/", "::1%"])
def test_a_zone_id_is_refused(text):
    assert refusal(text).code == "zone_id"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        (" \t ", "empty"),
        ("127.0.0.1\x00.example", "control_character"),
        ("a\tb.invalid", "control_character"),
        ("http://a.invalid/\r\nHost: b", "control_character"),
        ("a\u202eb.invalid", "control_character"),
        ("a\u200bb.invalid", "control_character"),
        ("a\ud800b.invalid", "control_character"),
        ("a\u2028b.invalid", "control_character"),
        ("a b.invalid", "white_space"),
        ("a\u3000b.invalid", "white_space"),
        ("192.0.2.1 - 192.0.2.9", "white_space"),
        ("http://a.invalid\\@b.invalid/", "backslash"),
        ("\\\\a.invalid\\share", "backslash"),
        ("a" * 2049, "too_long"),
        ("192.0.2.0/24", "is_range"),
        ("192.0.2.1-192.0.2.2", "is_range"),
    ],
)
def test_text_that_two_programs_could_read_differently_is_refused(text, code):
    assert refusal(text).code == code


# --- Names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", "localhost"),
        ("WWW.Example.INVALID", "www.example.invalid"),
        ("example.invalid.", "example.invalid"),
        ("_dmarc.example.invalid", "_dmarc.example.invalid"),
        ("a_b.invalid", "a_b.invalid"),
        ("r3---sn-x.invalid", "r3---sn-x.invalid"),
        ("0-9.invalid", "0-9.invalid"),
        ("1.2.3.4.invalid", "1.2.3.4.invalid"),
        ("192.0.2.7-static.isp.invalid", "192.0.2.7-static.isp.invalid"),
        ("my-host", "my-host"),
        ("Bücher.invalid", "xn--bcher-kva.invalid"),
        ("BU\u0308CHER.invalid", "xn--bcher-kva.invalid"),
        ("XN--BCHER-KVA.invalid", "xn--bcher-kva.invalid"),
        ("straße.invalid", "xn--strae-oqa.invalid"),
        ("ｅxample。invalid", "example.invalid"),
        ("a" * 63 + ".invalid", "a" * 63 + ".invalid"),
    ],
)
def test_a_name_becomes_its_lower_case_a_label(text, host):
    target = parse_target(text)
    assert (target.kind, target.host, target.text, target.address) == (TargetKind.NAME, host, text, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a..invalid", "a label is empty"),
        (".invalid", "a label is empty"),
        ("a.invalid..", "a label is empty"),
        ("a" * 64 + ".invalid", "a label is longer than 63 characters"),
        (".".join(["a" * 63] * 4), "it is longer than 253 characters"),
        (".".join(["ü" * 50] * 5), "it is longer than 253 characters"),
        ("-a.invalid", "a label begins or ends with a hyphen"),
        ("a-.invalid", "a label begins or ends with a hyphen"),
        ("a*b.invalid", "* cannot be part of one"),
        ("a%41.invalid", "% cannot be part of one"),
        ("a?b", "? cannot be part of one"),
        ("#", "# cannot be part of one"),
        ("℀.invalid", "/ cannot be part of one"),
        ("a／b.invalid", "/ cannot be part of one"),
        ("xn--.invalid", "a label is not a valid international one"),
        ("xn--a-ecp.invalid", "a label is not a valid international one"),
        ("\u0301a.invalid", "a label is not a valid international one"),
        ("$(id).invalid", "$ cannot be part of one"),
    ],
)
def test_what_is_no_host_name_is_refused_with_the_reason(text, why):
    error = refusal(text)
    assert error.code == "bad_name"
    assert str(error) == f"{shown(text)} is not a host name: {why}."


def test_an_international_name_says_how_it_is_looked_up_and_whether_it_mixes_scripts():
    assert parse_target("bücher.invalid").notes == ("international name looked up as xn--bcher-kva.invalid",)
    mixed = parse_target("p\u0430ypal.invalid").notes  # the second letter is Cyrillic
    assert mixed[-1] == "mixes Cyrillic and Latin letters: it may imitate another name"
    assert parse_target(parse_target("p\u0430ypal.invalid").host).notes == mixed[-1:]
    assert not any("mixes" in note for note in parse_target("пример.invalid").notes)


# --- URLs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port", "scheme", "path"),
    [
        ("http://a.invalid", "a.invalid", 80, "http", "/"),
        ("https://a.invalid/", "a.invalid", 443, "https", "/"),
        ("HTTPS://A.Invalid:8443/x/Y", "a.invalid", 8443, "https", "/x/Y"),
        ("https://192.0.2.1:9443/?q=1#top", "192.0.2.1", 9443, "https", "/?q=1"),
        ("http://a.invalid?q=1", "a.invalid", 80, "http", "/?q=1"),
        ("http://[2001:DB8::1]:81/", "2001:db8::1", 81, "http", "/"),
        ("http://[::ffff:192.0.2.1]/", "192.0.2.1", 80, "http", "/"),
        ("http://bücher.invalid/ü?x=é", "xn--bcher-kva.invalid", 80, "http", "/%C3%BC?x=%C3%A9"),
        ('http://a.invalid/<b>"', "a.invalid", 80, "http", "/%3Cb%3E%22"),
        ("http://a.invalid/%41", "a.invalid", 80, "http", "/%41"),
        ("http://localhost:65535/", "localhost", 65535, "http", "/"),
    ],
)
def test_a_url_gives_host_port_scheme_and_path(text, host, port, scheme, path):
    target = parse_target(text)
    assert (target.kind, target.text) == (TargetKind.URL, text)
    assert (target.host, target.port, target.scheme, target.path) == (host, port, scheme, path)
    assert (target.address is None) == (not host[-1].isdigit())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ftp://a.invalid/", "bad_scheme"),
        ("file:///etc/passwd", "bad_scheme"),
        ("gopher://a.invalid:70/", "bad_scheme"),
        ("://a.invalid/", "bad_scheme"),
        ("a/b://c.invalid", "bad_url"),
        ("//a.invalid/", "bad_url"),
        ("a.invalid/path", "bad_url"),
        ("a.invalid:8080", "bad_url"),
        ("http:/a.invalid", "bad_url"),
        ("http://", "bad_url"),
        ("http:///path", "bad_url"),
        ("http://:80/", "bad_url"),
        ("http://u:p@/", "bad_url"),
        ("http://2001:db8::1/", "bad_url"),
        ("http://[2001:db8::1/", "bad_url"),
        ("http://[2001:db8::1]x/", "bad_url"),
        ("http://[192.0.2.1]/", "bad_address"),
        ("http://[v1.x]/", "bad_address"),
        ("http://[]/", "bad_address"),
        ("http://u@a.invalid@b.invalid/", "bad_url"),
        ("http://a.invalid:/", "bad_port"),
        ("http://a.invalid:0/", "bad_port"),
        ("http://a.invalid:080/", "bad_port"),
        ("http://a.invalid:65536/", "bad_port"),
        ("http://a.invalid:+80/", "bad_port"),
        ("http://a.invalid:８０/", "bad_port"),
        ("http://a.invalid:80:80/", "bad_url"),
        ("http://0x7f.1/", "bad_address"),
        ("http://127.0.0.1./", "bad_address"),
        ("http://2130706433/", "bad_address"),
        ("http://%31%32%37.0.0.1/", "bad_address"),
        ("http://a%2einvalid/", "bad_name"),
        ("http://a.invalid＠b.invalid/", "bad_name"),
        ("http://a.invalid／b/", "bad_name"),
        ("http://a,b.invalid/", "bad_name"),
    ],
)
def test_a_url_that_is_in_doubt_is_refused(text, code):
    error = refusal(text)
    assert error.code == code
    assert error.text == shown(text)


def test_an_error_about_a_part_names_the_part_and_carries_the_whole():
    error = refusal("https://203.0.113.300:8443/x")
    assert str(error) == "203.0.113.300 is not an address: the last part is above 255."
    assert error.text == "https://203.0.113.300:8443/x"


def test_userinfo_is_removed_and_the_user_is_told():
    target = parse_target("https://admin:hunter2@a.invalid:8443/x")
    assert target.text == "https://a.invalid:8443/x"
    assert target.notes == ("userinfo removed",)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("?q=1&token=CANARY", "?q=1&token=REDACTED"),
        ("?API_KEY=CANARY&page=2", "?API_KEY=REDACTED&page=2"),
        ("?accessToken=CANARY", "?accessToken=REDACTED"),
        ("?X-Amz-Signature=CANARY", "?X-Amz-Signature=REDACTED"),
        ("?user[password]=CANARY", "?user[password]=REDACTED"),
        ("?%74oken=CANARY", "?%74oken=REDACTED"),
        ("?code=CANARY&state=x", "?code=REDACTED&state=x"),
        ("?a=1;secret=CANARY;b=2", "?a=1;secret=REDACTED"),
        ("?token=CANARY;CANARY", "?token=REDACTED"),
        ("?token=CANARY/CANARY?CANARY=CANARY", "?token=REDACTED"),
        ("?next=/cb?sig=CANARY", "?next=/cb?sig=REDACTED"),
        ("?next=%2Fcb%3Fa%3D1%26code%3DCANARY", "?next=REDACTED"),
        ("?x=eyJhbGciOiJIUzI1NiJ9.CANARY.CANARY", "?x=REDACTED"),
        (";jsessionid=CANARY", ";jsessionid=REDACTED"),
        ("#access_token=CANARY", "#access_token=REDACTED"),
        ("#/cb?jwt=CANARY", "#/cb?jwt=REDACTED"),
    ],
)
def test_secret_values_appear_nowhere_in_the_target(query, kept):
    target = parse_target("https://u:CANARY@a.invalid/p" + query)
    assert target.text == "https://a.invalid/p" + kept
    assert "CANARY" not in repr(target)
    assert target.notes == ("userinfo removed", "secret values redacted")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("192.0.2.1", "/"),
        ("x.invalid", "/"),
        ("https://x.invalid", "/"),
        ("https://u:CANARY@x.invalid/a/b?c=d#e", "/a/b?c=d"),
        ("https://x.invalid?c=d", "/?c=d"),
        ("https://x.invalid/ä b", None),
        ("https://x.invalid/ä?ö", "/%C3%A4?%C3%B6"),
        ("https://x.invalid/a?token=CANARY&b=c", "/a?b=c"),
        ("https://x.invalid/a?token=CANARY", "/a"),
        ("https://x.invalid/app;jsessionid=CANARY/page?b=c", "/app?b=c"),
        ("https://x.invalid/reset/eyJhbGciOiJIUzI1NiJ9.CANARY.CANARY/next", "/reset"),
        ("https://x.invalid/;token=CANARY", "/"),
        ("https://x.invalid/token=CANARY/x", "/"),
    ],
)
def test_a_url_is_asked_for_its_own_page_without_what_was_secret(url, asked):
    if asked is None:
        refusal(url)
        return
    found = asked_path(parse_target(url))
    assert found == asked
    assert found.isascii()
    assert not {" ", "\r", "\n", "#"} & set(found)


@pytest.mark.parametrize(
    "query", ["?q=1", "?country_code=de", "?keyword=x", "?author=y", "?token=", "?monkey=1", "?token", "?", "#"]
)
def test_ordinary_values_stay_as_written(query):
    target = parse_target("https://a.invalid/" + query)
    assert target.text == "https://a.invalid/" + query
    assert target.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "http://admin:CANARY@a b.invalid/",
        "http://admin:CANARY/x@a.invalid/",
        "http://admin:CANARY@a.invalid:99999/",
        "http://admin:CANARY@203.0.113.300/?token=CANARY",
        "ftp://admin:CANARY@a.invalid/",
        "admin:CANARY@a.invalid",
        "http://u:p@CANARY@a.invalid/",
        "http://[x/?token=CANARY@CANARY",
        "http://admin:CANARY\\@a.invalid/",
        "http://admin:CANARY@a.invalid/" + "x" * 3000,
        "http://admin:" + "CANARY" * 500 + "@a.invalid/",
        "192.0.2.0/CANARY@x",
    ],
)
def test_no_error_repeats_a_password(text):
    error = refusal(text)
    assert "CANARY" not in str(error) + error.text


def test_an_error_shows_at_most_200_characters_and_none_that_could_harm():
    error = refusal("\x1b[31m\u202e" + "x" * 5000)
    assert len(error.text) == 200
    assert error.text.isprintable()


@pytest.mark.parametrize(
    "text", ["eyJ" * 300_000, "a=" * 500_000, ";" * 1_000_000, "@" * 1_000_000, "?&=;/" * 200_000, "?" + "eyJ" * 300_000]
)
def test_hostile_text_of_a_megabyte_is_refused_quickly(text):
    started = time.perf_counter()
    assert refusal(text).code == "too_long"
    assert time.perf_counter() - started < AGES  # what grows with the square would take hours


# --- Networks and ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "last", "count"),
    [
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", 256),
        ("192.0.2.4/31", "192.0.2.4", "192.0.2.5", 2),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.1", 1),
        ("2001:DB8::/124", "2001:db8::", "2001:db8::f", 16),
        ("::ffff:192.0.2.0/126", "192.0.2.0", "192.0.2.3", 4),
        ("192.0.2.1-192.0.2.9", "192.0.2.1", "192.0.2.9", 9),
        ("192.0.2.1-9", "192.0.2.1", "192.0.2.9", 9),
        ("192.0.2.250-192.0.3.5", "192.0.2.250", "192.0.3.5", 12),
        ("192.0.2.1-1", "192.0.2.1", "192.0.2.1", 1),
        ("2001:db8::fffe-2001:db8::1:1", "2001:db8::fffe", "2001:db8::1:1", 4),
    ],
)
def test_a_network_or_range_gives_every_address(text, first, last, count):
    targets = expand(text, limit=1024)
    assert (targets[0].text, targets[-1].text, len(targets)) == (first, last, count)
    assert len({target.key for target in targets}) == count
    assert all(target.kind == TargetKind.IP and str(target.address) == target.host for target in targets)


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        (
            "192.0.2.5/24",
            "bad_network",
            "192.0.2.5/24 names an address inside a network: "
            "write 192.0.2.0/24 for the network, or 192.0.2.5 for the one address.",
        ),
        ("192.0.2.0/33", "bad_network", "192.0.2.0/33 is not a network: the prefix is longer than /32."),
        ("2001:db8::/129", "bad_network", "2001:db8::/129 is not a network: the prefix is longer than /128."),
        ("192.0.2.0/", "bad_network", "192.0.2.0/ is not a network: the length of the prefix is a number, like /24."),
        ("192.0.2.0/255.255.255.0", "bad_network", None),
        ("192.0.2.0/024", "bad_network", None),
        ("192.0.2.0/24/24", "bad_network", None),
        ("192.0.2/24", "bad_address", "192.0.2 is not an address: it has 3 parts, an address has four."),
        ("10/8", "bad_address", None),
        ("fe80::1%eth0/64", "zone_id", None),
        ("192.0.2.9-192.0.2.1", "bad_range", "192.0.2.9-192.0.2.1 runs backwards."),
        ("192.0.2.9-1", "bad_range", "192.0.2.9-1 runs backwards."),
        (
            "192.0.2.1-2001:db8::1",
            "bad_range",
            "192.0.2.1-2001:db8::1 is not a range: its ends are an IPv4 and an IPv6 address.",
        ),
        ("192.0.2.1-256", "bad_address", "192.0.2.256 is not an address: the last part is above 255."),
        ("192.0.2.1-", "bad_range", None),
        ("192.0.2.1-09", "bad_address", None),
        ("192.0.2.300-192.0.2.301", "bad_address", "192.0.2.300 is not an address: the last part is above 255."),
        ("2001:db8::1-ff", "bad_range", None),
        ("2001:db8::1-name.invalid", "bad_range", None),
        ("10.0.0-255.1", "bad_address", None),
        ("0.0.0.0/0", "too_many", "0.0.0.0/0 holds 4,294,967,296 addresses; the limit is 1,024 targets."),
        (
            "::/0",
            "too_many",
            "::/0 holds 340,282,366,920,938,463,463,374,607,431,768,211,456 addresses; the limit is 1,024 targets.",
        ),
        ("0.0.0.0-255.255.255.255", "too_many", None),
        ("::1-ffff::", "too_many", None),
    ],
)
def test_a_network_or_range_that_cannot_be_meant_is_refused_in_words(text, code, reason):
    with pytest.raises(TargetError) as caught:
        expand(text, limit=1024)
    assert caught.value.code == code
    assert caught.value.text == text
    assert reason is None or str(caught.value) == reason


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_a_range_holds_exactly_the_addresses_between_its_ends(first, more):
    last = min(first + more, 2**32 - 1)
    text = f"{IPv4Address(first)}-{IPv4Address(last)}"
    assert [int(target.address) for target in expand(text, limit=301)] == list(range(first, last + 1))
    with pytest.raises(TargetError, match="the limit is"):
        expand(text, limit=last - first)


@settings(deadline=None)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 128))
def test_a_network_is_counted_without_being_expanded(address, length):
    network = ip_network(f"{address}/{min(length, address.max_prefixlen)}", strict=False)
    if network.num_addresses > 64:
        with pytest.raises(TargetError, match=f"holds {network.num_addresses:,} addresses"):
            expand(str(network), limit=64)
    else:
        assert [target.address for target in expand(str(network), limit=64)] == [unmap(address) for address in network]


# --- Lists ---------------------------------------------------------------------------------------------------------


def test_lines_and_commas_separate_items_and_comments_go():
    text = "\ufeff192.0.2.1, a.invalid,,\r\n# all of it\r\n\n  2001:db8::1  # the router\nhttps://a.invalid/#top\rb.invalid,"
    assert split_lines(text) == ["192.0.2.1", "a.invalid", "2001:db8::1", "https://a.invalid/#top", "b.invalid"]


@pytest.mark.parametrize(
    ("line", "items"),
    [
        ("http://a.invalid/x,y", ["http://a.invalid/x,y"]),
        ("http://a.invalid/?x=1,2,3", ["http://a.invalid/?x=1,2,3"]),
        ("http://a.invalid,b.invalid", ["http://a.invalid", "b.invalid"]),
        ("http://a.invalid/, b.invalid", ["http://a.invalid/", "b.invalid"]),
        ("http://a.invalid/x,https://b.invalid/y", ["http://a.invalid/x", "https://b.invalid/y"]),
        ("http://a.invalid/x,192.0.2.1", ["http://a.invalid/x", "192.0.2.1"]),
        ("http://a.invalid/x,192.0.2.0/24", ["http://a.invalid/x", "192.0.2.0/24"]),
        ("http://a.invalid/x,2001:db8::1", ["http://a.invalid/x", "2001:db8::1"]),
        ("http://a.invalid/x,,y", ["http://a.invalid/x", "y"]),
        ("192.0.2.1,http://a.invalid/x,", ["192.0.2.1", "http://a.invalid/x"]),
        (",,,", []),
        ("", []),
    ],
)
def test_a_comma_in_a_url_stays_unless_a_target_follows(line, items):
    assert split_lines(line) == items


@pytest.mark.parametrize("text", ["http://a/" + ",x" * 500_000, "," * 1_000_000, "http://a/,," * 90_000, " #" * 500_000])
def test_a_megabyte_is_split_quickly(text):
    started = time.perf_counter()
    split_lines(text)
    assert time.perf_counter() - started < AGES  # what grows with the square would take hours


@settings(deadline=None)
@given(st.text(max_size=200))
def test_splitting_never_fails_and_yields_no_empty_item(text):
    assert all(item and item == item.strip(" \t\r\n\u00a0") for item in split_lines(text))


def test_equal_targets_fold_and_the_first_is_kept():
    texts = [
        "192.0.2.1", "::ffff:192.0.2.1", "A.invalid", "a.invalid.", "http://a.invalid", "http://a.invalid:80/", "http://a.invalid/x",
        "https://a.invalid/", "http://u:p@a.invalid/#x", "192.0.2.1",
    ]  # fmt: skip
    kept, repeats = fold(parse_target(text) for text in texts)
    assert [t.text for t in kept] == [
        "192.0.2.1",
        "A.invalid",
        "http://a.invalid",
        "http://a.invalid/x",
        "https://a.invalid/",
    ]
    assert [t.text for t in repeats] == [
        "::ffff:192.0.2.1", "a.invalid.", "http://a.invalid:80/", "http://a.invalid/#x", "192.0.2.1",
    ]  # fmt: skip


def test_every_bad_item_is_named_with_its_place():
    targets, rejected = read_items(
        ["192.0.2.1", "", "a..invalid", "192.0.2.4/31", "http://u:CANARY@203.0.113.300/"], limit=10
    )
    assert [target.host for target in targets] == ["192.0.2.1", "192.0.2.4", "192.0.2.5"]
    assert [(r.index, r.code, r.text) for r in rejected] == [
        (1, "empty", ""),
        (2, "bad_name", "a..invalid"),
        (4, "bad_address", "http://…@203.0.113.300/"),
    ]
    assert rejected[0].reason == "The item is empty."


def test_the_limit_is_on_the_whole_list_and_a_smaller_item_may_still_fit():
    targets, rejected = read_items(["192.0.2.0/28", "10.0.0.0/8", "192.0.2.16-31", "a.invalid"], limit=17)
    assert len(targets) == 17
    assert targets[-1].host == "a.invalid"
    assert [(r.index, r.reason) for r in rejected] == [
        (1, "10.0.0.0/8 holds 16,777,216 addresses; the limit is 17 targets, 16 of them taken by the items before."),
        (2, "192.0.2.16-31 holds 16 addresses; the limit is 17 targets, 16 of them taken by the items before."),
    ]
    assert str(read_items(["a.invalid", "b.invalid"], limit=1)[1][0].reason).startswith("b.invalid is one target too many;")


def test_a_list_of_rubbish_ends_after_a_thousand_errors():
    targets, rejected = read_items(["?"] * 5000, limit=10)
    assert (targets, len(rejected)) == ([], MAX_REJECTED + 1)
    assert rejected[-1].code == "not_read"
    assert rejected[-1].reason == "The other 4,000 items were not read after 1,000 errors."


# --- There is no second reading ------------------------------------------------------------------------------------

HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("0123456789abcdefx.:/@?#[]%-_,;=&\\ \t\x00①。．／＠ßüаı\u0301\u200d\u202e"),
        st.characters(codec=None),
    ),
    max_size=60,
)
ITEM = st.one_of(
    HOSTILE,
    st.builds("http://{}".format, HOSTILE),
    st.builds("https://{}.invalid:{}/{}".format, HOSTILE, st.integers(0, 70000), HOSTILE),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map("http://[{}]/".format),
)


@settings(max_examples=400, deadline=None)
@given(ITEM)
def test_what_was_read_reads_the_same_again(text):
    targets, rejected = read_items([text], limit=1000)
    assert all(len(bad.text) <= 200 and bad.reason and bad.code for bad in rejected)
    assert bool(targets) != bool(rejected)
    for target in targets:
        again = parse_target(target.text)
        assert replace(again, notes=()) == replace(target, notes=())
        assert parse_target(target.host).host == target.host
        assert target.host.isascii()
        assert target.path.isascii()


# Pieces that have been read in two ways by some pair of programs, put together at random.
HOSTS = [
    "a.invalid", "A.Invalid.", "192.0.2.1", "127.1", "0x7f.1", "0177.0.0.1", "[::1]", "[2001:DB8::A]", "[::1%25lo]", "::1",
    "[::ffff:192.0.2.1]", "bücher.invalid", "BÜCHER.invalid", "straße.invalid", "①②⑦.0.0.1", "127。0。0。1", "localhost",
    "a_b.invalid", "a%2einvalid", "a%00b", "xn--bcher-kva.invalid", "xn--a", "-a.invalid", "a..invalid", "ｅ.invalid", "",
]  # fmt: skip
JOINTS = [
    "", "", "", "", "@", ":", "\\", "/", "?", "#", "\t", "\r\n", " ", "%40", "％", "＠", "／", ";", ",", "\x00", "[", "]",
]  # fmt: skip
SCHEMES = ["http://", "https://", "HTTP://", "http:/", "http:", "//", "", "http:\\\\", "ftp://", "http:///"]
USERINFO = ["", "", "", "u@", "u:p@", "u:p@q@", "a.invalid:80@", "u\\@", "u#@", "u?@", "u/@", "%40@"]
PORTS = ["", "", "", ":80", ":8080", ":0", ":99999", ":", ":80:81", ":８０", ":080", ":80\\"]
TAILS = [
    "", "/", "/x", "?q", "#f", "/a@b", "/\\x", "\\@b.invalid", "/:80", "/#@b.invalid", "?@b.invalid", "//b.invalid",
]  # fmt: skip


def random_url(rng: random.Random) -> str:
    url = rng.choice(SCHEMES[:3] if rng.random() < 0.8 else SCHEMES) + rng.choice(USERINFO)
    url += rng.choice(HOSTS) + rng.choice(JOINTS) + (rng.choice(HOSTS) if rng.random() < 0.2 else "")
    url += rng.choice(PORTS) + rng.choice(TAILS)
    if rng.random() < 0.1 and url:
        place = rng.randrange(len(url))
        url = url[:place] + rng.choice("@\\/:?#[]%\t\n\x00.。") + url[place:]
    return url


def same_place(url: str) -> tuple[str, int] | None:
    """Where urllib3 would connect to, in our spelling; None if it refuses."""
    try:
        parsed = parse_url(url)
    except (LocationParseError, UnicodeError):
        return None
    host = (parsed.host or "").strip("[]").lower().removesuffix(".")
    with suppress(ValueError):
        host = str(unmap(ip_address(host)))
    return host, parsed.port or {"http": 80, "https": 443}.get(parsed.scheme or "", 0)


def test_our_host_is_where_urllib3_and_requests_would_connect_to_or_we_refuse():
    rng = random.Random(20240229)
    accepted = compared = 0
    for _ in range(10_000):
        url = random_url(rng)
        targets, _ = read_items([url], limit=1)
        if not targets or targets[0].kind != TargetKind.URL:
            continue
        target = targets[0]
        accepted += 1
        if (theirs := same_place(url)) is not None:
            compared += 1
            assert (target.host, target.port) == theirs, url
        try:
            prepared = requests.Request("GET", url).prepare().url
        except (requests.exceptions.RequestException, UnicodeError):
            continue
        assert (target.host, target.port) == same_place(prepared), url
    assert accepted > 1500  # or the comparison would say nothing
    assert compared > 1500
