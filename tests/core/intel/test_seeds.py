"""The ranges that come with the program: small, dated, of known origin, and enough to name what is best known."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from scans.core.feeds import Store
from scans.core.intel import Cloud, look_up
from scans.core.intel.base import SourceSettings

SEEDED = [feed for feed in Cloud.feeds if feed.seed]


def test_they_are_small_and_leave_out_what_needs_a_download():
    assert {feed.name for feed in Cloud.feeds} - {feed.name for feed in SEEDED} == {"gcp"}  # all of Google's are in one file
    assert sum(feed.seed.stat().st_size for feed in SEEDED) < 40_000


@pytest.mark.parametrize("feed", SEEDED, ids=lambda feed: feed.name)
def test_each_says_of_when_and_from_where_it_is_and_reads_without_loss(feed):
    contents = feed.open(feed.seed)
    first, second = feed.seed.read_text().splitlines()[:2]
    assert first.startswith("# Dated: ")
    assert "github.com/" in second or "api." in second
    assert contents.left_out == 0
    assert contents.dated is not None
    assert datetime(2025, 7, 1, tzinfo=UTC) < contents.dated < datetime(2027, 1, 1, tzinfo=UTC)
    assert Store("").load(feed).is_built_in


@pytest.mark.parametrize(
    ("address", "provider", "is_cdn"),
    [
        ("104.16.132.229", "Cloudflare", True),
        ("2606:4700::6810:84e5", "Cloudflare", True),
        ("151.101.1.140", "Fastly", True),
        ("52.95.110.1", "Amazon Web Services", None),
        ("20.50.2.1", "Microsoft Azure", None),
        ("34.107.221.82", "Google", None),
        ("2001:4860:4860::8888", "Google", None),
        ("129.80.1.1", "Oracle Cloud", None),
        ("140.82.121.4", "GitHub", None),
    ],
)
def test_without_any_file_the_best_known_clouds_are_named(address, provider, is_cdn):
    facts = look_up(Cloud(SourceSettings(directory="")), ip_address(address)).facts
    assert (facts.cloud_provider, facts.is_cdn) == (provider, is_cdn)
