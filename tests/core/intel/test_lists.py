"""Sources that read list files: what each file becomes, and what becomes of a bad one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scans.core.feeds import FeedError, Store
from scans.core.feeds import base as feeds_base
from scans.core.feeds import store as store_module
from scans.core.intel import FEEDS, SOURCES, LocalSource, look_up
from scans.core.intel.base import SourceSettings
from scans.core.intel.ipsum import Counts
from scans.core.types import Facts, SourceState

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SAMPLE_OF = {
    "cloudflare": "cloud/cloudflare_client_v4_ips.json",
    "fastly": "cloud/fastly_public-ip-list.json",
    "aws": "cloud/aws_ip-ranges.json",
    "azure": "cloud/azure_ServiceTags_Public_20261123.json",
    "gcp": "cloud/gcp_cloud.json",
    "oracle": "cloud/oracle_public_ip_ranges.json",
    "github": "cloud/github_meta.json",
    "google": "cloud/google_goog.json",
    "tor-exits": "tor/torbulkexitlist.txt",
    "drop-v4": "spamhaus/drop_v4.json",
    "drop-v6": "spamhaus/drop_v6.json",
    "firehol-level1": "firehol/firehol_level1.netset",
    "ipsum": "ipsum/ipsum.txt",
}
FEED = {feed.name: feed for feed in FEEDS}
KIND = {kind.name: kind for kind in SOURCES if issubclass(kind, LocalSource)}
LISTS = [FEED[name] for name in SAMPLE_OF]
each_list = pytest.mark.parametrize("feed", LISTS, ids=lambda feed: feed.name)


@pytest.fixture(autouse=True)
def _without_what_comes_with_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(feeds_base, "SEEDS", tmp_path / "none")
    monkeypatch.setattr(store_module, "CHECK_SECONDS", -1.0)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "intel"))


def sample(name: str) -> bytes:
    return (SAMPLES / SAMPLE_OF[name]).read_bytes()


def put(store: Store, name: str, body: bytes | None = None) -> None:
    store.put(FEED[name], sample(name) if body is None else body, origin="a test", at=NOW)


def ask(store: Store, source: str, address: str):
    return look_up(KIND[source](SourceSettings(directory=str(store.directory))), ip_address(address))


# --- Every list --------------------------------------------------------------------------------------------------


@each_list
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n \n",
        b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>\n</body></html>\n",
        b"{}",
        b"[]",
        b"null",
        b'{"error": "rate limited"}',
        b"\xff\xfe\x00\x01" * 40,
        b"[" * 200_000,
        b"{" * 200_000,
        b"\0" * 1000,
        b'{"prefixes": [1, null, {"ip_prefix": {}}], "values": [[]], "regions": {}, "result": 7}',
    ],
    ids=["empty", "blank", "html", "{}", "[]", "null", "error", "bytes", "deep", "deeper", "nul", "shapes"],
)
def test_a_file_that_is_something_else_is_refused_and_the_last_good_one_stays(feed, body, store):
    put(store, feed.name)
    before = store.load(feed)
    with pytest.raises(FeedError):
        put(store, feed.name, body)
    assert store.load(feed).entries == before.entries


@each_list
def test_a_file_that_is_too_large_is_refused(feed, store):
    with pytest.raises(FeedError, match=f"larger than {feed.max_bytes >> 20} MiB"):
        put(store, feed.name, sample(feed.name) + b"\n" * (25 << 20))
    assert not store.has(feed)


@pytest.mark.parametrize(
    "name", [feed.name for feed in LISTS if feed.name not in ("tor-exits", "ipsum")]
)  # those two do not say how many they are
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_refused(name, share, store):
    body = sample(name)
    with pytest.raises(FeedError):
        put(store, name, body[: int(len(body) * share)])


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("tor-exits", "198.51.100.%d", "198.51.100.256"),
        ("tor-exits", "198.51.100.%d", "fe80::1%eth0"),
        ("firehol-level1", "198.51.100.%d", "198.51.100.1/24"),
        ("firehol-level1", "198.51.100.%d", "0.0.0.0/0"),
        ("ipsum", "198.51.100.%d\t3", "198.51.100.1\tmany"),
        ("fastly", "198.51.100.%d/32", "\x1b]0;\u202eevil\x07/32"),
    ],
)
def test_one_bad_line_among_many_is_left_out_and_told_and_many_are_too_many(name, good, bad, store):
    lines = [good % number for number in range(200)]
    put(store, name, "\n".join([*lines[:100], bad, *lines[100:], ""]).encode())
    record = store.record(FEED[name])
    assert (record.entries, record.left_out) == (200, 1)
    assert re.fullmatch(r"line 101: '.*' is not an? .*", record.first_left_out)
    assert record.first_left_out.isprintable()
    assert record.first_left_out.isascii()
    with pytest.raises(FeedError, match=r"line 1: .*; 10 of 210 entries cannot be read"):
        put(store, name, "\n".join([bad] * 10 + lines).encode())


@pytest.mark.parametrize("source", KIND)
def test_a_source_that_was_named_says_how_to_get_its_file(source, store):
    result = ask(store, source, "203.0.113.9")
    assert result.state is SourceState.SKIPPED
    assert "`manage.py feeds" in result.reason
    assert not KIND[source].is_available(str(store.directory))


@pytest.mark.parametrize("name", SAMPLE_OF)
def test_a_bad_file_that_was_copied_there_is_a_recorded_state_without_its_words(name, store):
    store.directory.mkdir()
    (store.directory / FEED[name].file_name).write_bytes(b"<script>alert(1)</script>\n" * 9)
    (source,) = [kind.name for kind in KIND.values() if FEED[name] in kind.feeds]
    result = ask(store, source, "2001:db8::9" if name == "drop-v6" else "203.0.113.9")
    assert result.state is SourceState.FAILED
    assert result.reason == "its file cannot be read: `manage.py feeds status` says why"


# --- Clouds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "provider", "service", "region", "is_cdn"),
    [
        ("203.0.113.5", "Amazon Web Services", "EC2", "eu-central-1", None),
        ("203.0.113.70", "Amazon Web Services", "CLOUDFRONT", None, True),
        ("2001:db8:a::1", "Amazon Web Services", "EC2", "eu-central-1", None),
        ("203.0.113.130", "Google Cloud", None, "europe-west3", None),
        ("203.0.113.170", "Google", None, None, None),
        ("203.0.113.200", "Microsoft Azure", None, "westeurope", None),
        ("203.0.113.230", "Microsoft Azure", "AzureFrontDoor", None, True),
        ("198.51.100.1", "Cloudflare", "CDN", None, True),
        ("2001:db8:d::1", "Cloudflare", "CDN", None, True),
        ("198.51.100.130", "Fastly", "CDN", None, True),
        ("198.51.100.200", "Oracle Cloud", None, "eu-frankfurt-1", None),
        ("198.51.100.230", "Oracle Cloud", "OBJECT_STORAGE", "eu-frankfurt-1", None),
        ("192.0.2.1", "GitHub", None, None, None),
        ("192.0.2.130", "GitHub", "pages", None, None),
        ("2001:db8:f::1", "GitHub", "web", None, None),
        ("::ffff:203.0.113.70", "Amazon Web Services", "CLOUDFRONT", None, True),
    ],
)
def test_an_address_in_a_cloud_is_named_with_service_and_region(address, provider, service, region, is_cdn, store):
    for feed in KIND["cloud"].feeds:
        put(store, feed.name)
    result = ask(store, "cloud", address)
    assert result.state is SourceState.OK
    found = result.facts
    asked = ip_address(address.removeprefix("::ffff:"))
    assert asked in ip_network(found.cloud_network or "")
    listed = {"cloud_network": None, "cloud_services": None, "cloud_border_group": None}  # tests/core/test_cloud_metadata.py
    assert replace(found, **listed) == Facts(
        cloud_provider=provider, cloud_service=service, cloud_region=region, is_cdn=is_cdn
    )


def test_the_answer_is_as_old_as_the_file_that_gave_it(store):
    put(store, "aws")
    put(store, "fastly")
    assert ask(store, "cloud", "203.0.113.5").observed_at == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert ask(store, "cloud", "198.51.100.130").observed_at > datetime(2026, 11, 24, tzinfo=UTC)
    assert ask(store, "cloud", "9.9.9.9").state is SourceState.EMPTY


def test_a_named_service_beats_the_whole_cloud_and_then_the_smallest_network_counts(store):
    rows = [
        ("10.0.0.0/16", "EC2", "a"),
        ("10.0.1.0/24", "S3", "b"),
        ("10.0.1.0/28", "AMAZON", "c"),
        ("10.0.0.0/12", "EBS", "d"),
    ]
    prefixes = [{"ip_prefix": n, "service": s, "region": r} for n, s, r in rows]
    put(store, "aws", json.dumps({"prefixes": prefixes}).encode())
    answers = [ask(store, "cloud", a).facts for a in ("10.0.1.1", "10.0.2.1", "10.8.0.1")]
    assert [(facts.cloud_service, facts.cloud_region) for facts in answers] == [("S3", "b"), ("EC2", "a"), ("EBS", "d")]


def test_a_service_without_a_region_takes_it_from_the_same_provider_only(store):
    tags = [
        ("AzureCloud.westeurope", "westeurope", "10.0.0.0/16"),
        ("Sql", "", "10.0.1.0/24"),
        ("Grafana", "", "10.9.0.0/24"),
    ]
    values = [{"name": n, "properties": {"region": r, "addressPrefixes": [p]}} for n, r, p in tags]
    put(store, "azure", json.dumps({"values": values}).encode())
    prefixes = [{"ipv4Prefix": "10.9.0.0/16", "scope": "us-east1"}]
    put(store, "gcp", json.dumps({"prefixes": prefixes}).encode())
    assert ask(store, "cloud", "10.0.1.1").facts.cloud_region == "westeurope"
    other = ask(store, "cloud", "10.9.0.1").facts
    assert (other.cloud_service, other.cloud_region) == ("Grafana", None)


def test_what_a_file_says_is_cleaned_and_capped(store):
    said = {"ip_prefix": "10.0.0.0/16", "service": "\x1b[31mEC2\u202e" + "x" * 500, "region": ["no", "text"]}
    put(store, "aws", json.dumps({"prefixes": [said]}).encode())
    facts = ask(store, "cloud", "10.0.0.1").facts
    assert facts.cloud_service.startswith("[31mEC2 xxx")
    assert len(facts.cloud_service) == 60
    assert facts.cloud_region is None


def test_a_bad_file_of_one_provider_costs_nothing_of_the_others(store):
    put(store, "fastly")
    (store.directory / FEED["aws"].file_name).write_bytes(b"<html>")
    assert ask(store, "cloud", "198.51.100.130").facts.cloud_provider == "Fastly"
    assert ask(store, "cloud", "9.9.9.9").state is SourceState.FAILED  # it might have been Amazon's


@pytest.mark.parametrize("name", ["cloudflare_ips-v4.txt", "cloudflare_ips-v6.txt"])
def test_lines_are_read_as_well(name, store):
    put(store, "cloudflare", (SAMPLES / "cloud" / name).read_bytes())
    address = "2001:db8:d::1" if "v6" in name else "198.51.100.70"
    assert ask(store, "cloud", address).facts.is_cdn


def test_a_list_of_ones_own_may_name_service_region_and_date(store):
    put(store, "oracle", b"# ours\n# Dated: 2026-11-20\n10.0.0.0/16 COMPUTE us-phoenix-1\n10.1.0.0/16\n")
    result = ask(store, "cloud", "10.0.0.1")
    assert (result.facts.cloud_service, result.facts.cloud_region) == ("COMPUTE", "us-phoenix-1")
    assert result.observed_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert ask(store, "cloud", "10.1.0.1").facts.cloud_service is None


# --- Block lists -------------------------------------------------------------------------------------------------


def test_tor_exits_in_both_forms(store):
    put(store, "tor-exits")
    assert ask(store, "tor-exits", "203.0.113.200").facts == Facts(is_tor_exit=True)
    assert ask(store, "tor-exits", "203.0.113.201").state is SourceState.EMPTY
    put(store, "tor-exits", (SAMPLES / "tor/exit-addresses.txt").read_bytes())
    result = ask(store, "tor-exits", "198.51.100.9")
    assert (result.facts.is_tor_exit, result.observed_at) == (True, datetime(2026, 11, 23, 14, 44, 33, tzinfo=UTC))


def test_a_drop_network_that_begins_before_the_address_is_found_with_its_listing(store):
    put(store, "drop-v4")
    put(store, "drop-v6")
    assert ask(store, "spamhaus-drop", "198.51.100.77").facts.drop_network == "198.51.100.0/24 (SBL000001)"
    assert ask(store, "spamhaus-drop", "203.0.113.128").facts.drop_network == "203.0.113.128/25 (SBL000002)"
    assert ask(store, "spamhaus-drop", "2001:db8:bad::7").facts.drop_network == "2001:db8:bad::/48 (SBL000003)"
    assert ask(store, "spamhaus-drop", "203.0.113.127").state is SourceState.EMPTY
    assert ask(store, "spamhaus-drop", "203.0.113.128").observed_at == datetime.fromtimestamp(1795478400, UTC)


def test_drop_without_the_other_versions_file_is_missing_for_that_version_only(store):
    put(store, "drop-v4")
    assert ask(store, "spamhaus-drop", "198.51.100.77").state is SourceState.OK
    assert ask(store, "spamhaus-drop", "2001:db8:bad::7").state is SourceState.SKIPPED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.replace(b'"records":2', b'"records":3'), "it says that it holds 3 networks, and has 2"),
        (lambda body: body.replace(b'"records":2', b'"records":"many"'), "it says that it holds 'many' networks, and has 2"),
        (lambda body: b"\n".join(body.splitlines()[:2]), "its last line, which says how many there are, is missing"),
    ],
)
def test_a_drop_file_that_holds_another_number_than_it_says_is_refused(change, said, store):
    with pytest.raises(FeedError, match=re.escape(said)):
        put(store, "drop-v4", change(sample("drop-v4")))


def test_a_listing_that_is_none_is_left_away(store):
    put(store, "drop-v4", sample("drop-v4").replace(b"SBL000001", b"<b>SBL</b>"))
    assert ask(store, "spamhaus-drop", "198.51.100.77").facts.drop_network == "198.51.100.0/24"


def test_firehol_names_its_list_and_the_network(store):
    put(store, "firehol-level1")
    result = ask(store, "firehol", "198.51.100.5")
    assert result.facts.block_lists == ("FireHOL level 1 (198.51.100.0/24)",)
    assert result.observed_at == datetime(2026, 11, 23, tzinfo=UTC)
    assert ask(store, "firehol", "203.0.113.5").state is SourceState.EMPTY


def test_a_firehol_file_whose_header_says_another_number_is_refused_and_reserved_space_is_passed_over(store):
    with pytest.raises(FeedError, match="it says that it holds 2 networks, and has 1"):
        put(store, "firehol-level1", sample("firehol-level1").replace(b"198.51.100.0/24\n", b""))
    put(store, "firehol-level1", sample("firehol-level1").replace(b": 2 sub", b": 3 sub") + b"224.0.0.0/3\n")
    assert store.record(FEED["firehol-level1"]).left_out == 0


def test_ipsum_counts_lists_and_calls_it_listed_from_three_on(store):
    put(store, "ipsum", sample("ipsum") + b"203.0.113.202\t2\n203.0.113.203\t9999\n")
    assert ask(store, "ipsum", "198.51.100.77").facts == Facts(vendor_flags=6, block_lists=("IPsum (6 lists)",))
    assert ask(store, "ipsum", "203.0.113.201").facts.block_lists == ("IPsum (3 lists)",)
    assert ask(store, "ipsum", "203.0.113.202").facts == Facts(vendor_flags=2)
    assert ask(store, "ipsum", "203.0.113.203").facts.vendor_flags == 255
    assert ask(store, "ipsum", "2001:db8::1").state is SourceState.EMPTY


@pytest.mark.parametrize(
    "line", ["1.2.3.256\t3", "01.2.3.4\t3", "1.2.3\t3", "1.2.3.4 3", "1.2.3.4\t0", "1.2.3.4\t-1", "\u0661.2.3.4\t3"]
)
def test_an_ipsum_line_that_is_no_address_and_count_is_left_out(line, store):
    put(store, "ipsum", f"198.51.100.1\t3\n{line}\n".encode())
    assert (store.record(FEED["ipsum"]).entries, store.record(FEED["ipsum"]).left_out) == (1, 1)


def test_ipsum_says_of_when_it_is(store):
    put(store, "ipsum", b"# Last update: Tue, 24 Nov 2026 03:02:45 +0200\n198.51.100.1\t3\n")
    assert store.load(FEED["ipsum"]).of == datetime(2026, 11, 24, 1, 2, 45, tzinfo=UTC)


@given(st.dictionaries(st.integers(0, 40), st.integers(1, 255)))
def test_counts_find_what_a_dictionary_finds(known):
    counts = Counts(known.items())
    assert {n: counts.of(IPv4Address(n)) for n in range(50)} == {n: known.get(n, 0) for n in range(50)}
