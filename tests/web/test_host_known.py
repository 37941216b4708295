"""What is known against the versions at an address, on its host's page: words, doubts, and nothing that a stranger wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from scans.core.types import AddressReport, EndOfLife, Vulnerability
from scans.models import TargetResult
from scans.templatetags.host_known import MAX_ROWS, percent
from tests.factories import END_OF_LIFE, VULNERABILITIES, make_address, make_report, make_result
from tests.web.policy import inline_parts
from tests.web.reading import text_of

pytestmark = pytest.mark.django_db
HEADING = 'id="known-h1"'
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x00\x1b[31mred\x1b[0m"


def host(known: tuple[Vulnerability, ...] | None, ended: tuple[EndOfLife, ...] | None = None) -> TargetResult:
    address: AddressReport = replace(make_address(open_ports=[80, 8080]), vulnerabilities=known, end_of_life=ended)
    return make_result(make_report("127.66.0.1", address))


@pytest.fixture
def page(client):
    """A host's page, as it is sent."""

    def read(row: TargetResult) -> str:
        body = client.get(row.get_absolute_url()).content.decode()
        assert inline_parts(body) == []
        return body

    return read


@pytest.fixture
def words(page):
    """The words of the section."""
    return lambda row: text_of(page(row).split(HEADING)[1].split("</section>")[0])


def test_each_cve_says_who_names_it_and_how_it_is_judged(words):
    said = words(host(VULNERABILITIES, END_OF_LIFE))
    assert "Known against its versions 5" in said
    assert "Indicated by version numbers, never confirmed: nothing was tried." in said
    assert "Debian repairs programs without a new version, so it may be repaired." in said
    assert (
        "CVE-2099-0001 known exploited by ransomware agencies act by 9 Dec 2026 91 % 9.8 nvd "
        "internetdb, nvd , nginx 1.24.0 on 80" in said
    )
    assert "This product uses data from the NVD API but is not endorsed or certified by the NVD." in said
    assert "CVE-2099-0002 not listed 0.043 % not known internetdb" in said
    assert "CVE-2099-0003 not known: that list is not on this machine no score not known internetdb" in said


def test_each_product_past_its_end_says_since_when(words):
    said = words(host(None, END_OF_LIFE))
    assert "nginx 1.24 past end of life 1.24.0 29 May 2024 the service itself on 80, 8080" in said
    assert "Example OS 10 past end of life 10.2 no day is given internetdb" in said
    assert "CVE" not in said
    assert "NVD" not in said


def test_nobody_could_say_and_nothing_is_known_are_told_apart(page, words):
    assert HEADING not in page(host(None))
    said = words(host((), ()))
    assert "No source names a CVE for this address." in said
    assert "No version that was seen is past its end of life." in said


def test_of_very_many_the_page_shows_the_worst_and_says_so(words):
    many = tuple(Vulnerability(cve=f"CVE-2098-{n:04}", named_by=("internetdb",), is_exploited=False) for n in range(100))
    said = words(host(many))
    assert said.count("CVE-2098-") == MAX_ROWS
    assert f"Here are the worst {MAX_ROWS} of 100 CVEs; the JSON has more." in said


def test_hostile_words_stay_words(page):
    evil = EndOfLife(product=HOSTILE, version=HOSTILE, release="1", named_by=(HOSTILE,), since=date(2020, 1, 1))
    body = page(host((Vulnerability(cve="CVE-2099-0001", named_by=(HOSTILE,), product=HOSTILE),), (evil,)))
    assert "<script>alert" not in body
    assert "\u202e" not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body


@pytest.mark.parametrize(
    ("share", "words"), [(0.91234, "91 %"), (0.00043, "0.043 %"), (0.0, "0 %"), (1.0, "100 %"), (0.996, "100 %")]
)
def test_shares_are_short(share, words):
    assert percent(share) == words
