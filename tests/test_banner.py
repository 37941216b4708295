"""What is printed at start says who will be told about public addresses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scans.supervisor import banner

PLAIN = "ip-api.com is asked over plain HTTP"


@pytest.fixture
def text(settings):
    """What is printed with these options."""

    def printed(**options):
        settings.SCANNER = replace(settings.SCANNER, intel=replace(settings.SCANNER.intel, urls={}, **options))
        return banner.everything(admin="a-password")

    return printed


def test_every_source_that_is_asked_over_the_network_is_named(text):
    said = text(sources=("default", "internetdb"))
    for title in ("ip-api.com", "RDAP", "Team Cymru", "Reverse DNS", "Shodan InternetDB"):
        assert title in said
    assert "Tor exit list" not in said, "it is read on this machine"
    assert "OFFLINE=1" in said


def test_plain_http_is_told_unless_there_is_a_key(text):
    assert PLAIN in text(sources=("ip-api",))
    assert PLAIN not in text(sources=("ip-api",), keys={"ip-api": "k"})
    assert PLAIN not in text(sources=("rdap",), keys={})


def test_nothing_is_said_where_nobody_is_asked(text):
    assert "others are asked" not in text(offline=True)
    assert "others are asked" not in text(offline=False, sources=("cloud",))
