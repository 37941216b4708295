"""The list files of known exploited CVEs, scores and ends of life: how they are read, and that a bad one is never used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from scans.core.feeds import FeedError, Store
from scans.core.vulnerabilities import ENDOFLIFE, EPSS, FEEDS, KEV
from scans.core.vulnerabilities.kev import Exploited

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEV_BODY, EPSS_BODY, EOL_BODY = (
    (SAMPLES / name).read_bytes()
    for name in ("known_exploited_vulnerabilities.json", "epss_scores-current.csv", "endoflife_products.json")
)
BODIES = {"kev": KEV_BODY, "epss": gzip.compress(EPSS_BODY), "endoflife": EOL_BODY}


def edited(body: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(body)
    change(document)
    return json.dumps(document).encode()


def first(document: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = next(iter(document["vulnerabilities" if "count" in document else "result"]))
    return entry


def test_the_catalogue_tells_what_is_exploited_and_by_when_to_act():
    contents = KEV.read(KEV_BODY)
    assert contents.entries == 2
    assert contents.dated == datetime(2026, 11, 20, tzinfo=UTC)
    assert contents.table == {
        "CVE-2099-0001": Exploited(due=date(2026, 12, 9), is_ransomware=True),
        "CVE-2099-12345": Exploited(due=date(2026, 12, 10), is_ransomware=None),
    }


@pytest.mark.parametrize("body", [EPSS_BODY, gzip.compress(EPSS_BODY)], ids=["plain", "gzip"])
def test_scores_are_found_by_their_cve(body):
    contents = EPSS.read(body)
    assert (contents.entries, contents.dated) == (4, datetime(2026, 11, 23, tzinfo=UTC))
    named = ("CVE-2099-0001", "CVE-2099-0002", "CVE-2099-12345", "CVE-2099-1234567", "CVE-2099-0003", "CVE-1999-0001")
    assert [contents.table.score(cve) for cve in named] == [0.91234, 0.000091, 0.5, 1.0, None, None]


def test_a_release_is_the_longest_that_a_version_begins_with():
    table = ENDOFLIFE.read(EOL_BODY).table
    system = table.by_cpe["o:examplevendor:example_os"]
    found = {version: system.release_of(version) for version in ("10.11.6", "10.1", "10", "1.10", "11", "x", "", "10p2")}
    names = {version: release.name if release else None for version, release in found.items()}
    assert names == {
        "10.11.6": "10.11", "10.1": "10", "10": "10", "1.10": None, "11": None, "x": None, "": None, "10p2": "10",
    }  # fmt: skip
    assert table.by_cpe["a:f5:nginx"] is table.by_cpe["a:nginx:nginx"] is table.by_name["nginx"]
    assert table.by_name["example os"] is table.by_name["exampleos"] is system


def test_an_end_counts_from_its_day_on_whatever_the_file_thought_then():
    release = ENDOFLIFE.read(EOL_BODY).table.by_name["php"].release_of("8.5.1")
    assert release is not None
    assert [release.has_ended(day) for day in (date(2029, 12, 30), date(2029, 12, 31))] == [False, True]
    undated = ENDOFLIFE.read(EOL_BODY).table.by_name["exampleos"].release_of("10.2")
    assert undated is not None
    assert undated.has_ended(date(1999, 1, 1))


FAULTS: dict[str, tuple[Any, bytes, str]] = {
    "kev: its count is another": (KEV, edited(KEV_BODY, lambda d: d.update(count=3)), "holds 2 entries"),
    "kev: its count is text": (KEV, edited(KEV_BODY, lambda d: d.update(count="2")), "count is '2'"),
    "kev: its count is true": (KEV, edited(KEV_BODY, lambda d: (d["vulnerabilities"].pop(), d.update(count=True))), "count"),
    "kev: no list": (KEV, b'{"count": 0}', "no list"),
    "kev: empty list": (KEV, b'{"count": 0, "vulnerabilities": []}', "no entries"),
    "kev: a list of numbers": (KEV, b'{"count": 2, "vulnerabilities": [1, NaN]}', "entry 1"),
    "kev: ids are none": (KEV, edited(KEV_BODY, lambda d: [e.update(cveID="x") for e in d["vulnerabilities"]]), "entry 1"),
    "epss: no columns": (EPSS, b"a,b,c\nCVE-2099-0001,0.5,0.5\n", "line 1: the columns"),
    "epss: only a comment": (EPSS, b"#score_date:2026-11-23\n", "no columns"),
    "epss: only columns": (EPSS, b"cve,epss,percentile\n", "no entries"),
    "epss: NaN": (EPSS, b"cve,epss,percentile\nCVE-2099-0001,NaN,0.5\n", "line 2"),
    "epss: no number": (EPSS, b'cve,epss,percentile\nCVE-2099-0001,"0.5",0.5\n', "line 2"),
    "epss: above one": (EPSS, b"cve,epss,percentile\nCVE-2099-0001,1.5,0.5\n", "line 2"),
    "epss: below none": (EPSS, b"cve,epss,percentile\nCVE-2099-0001,-0.5,0.5\n", "line 2"),
    "epss: endless": (EPSS, b"cve,epss,percentile\nCVE-2099-0001,inf,0.5\n", "line 2"),
    "epss: no CVE": (EPSS, "cve,epss,percentile\nCVE-２０９９-0001,0.5,0.5\n".encode(), "line 2"),
    "epss: gzip cut off": (EPSS, gzip.compress(EPSS_BODY)[:-12], "cut off"),
    "epss: gzip damaged": (EPSS, gzip.compress(EPSS_BODY)[:-8] + bytes(8), "damaged"),
    "endoflife: one product": (ENDOFLIFE, b'{"result": {"name": "nginx"}}', "no list of products"),
    "endoflife: its total is another": (ENDOFLIFE, edited(EOL_BODY, lambda d: d.update(total=9)), "holds 3 products"),
    "endoflife: ends are numbers": (
        ENDOFLIFE,
        edited(EOL_BODY, lambda d: [r.update(eolFrom=20210420) for p in d["result"] for r in p["releases"]]),
        "product 1",
    ),
    "endoflife: ends are no days": (
        ENDOFLIFE,
        edited(EOL_BODY, lambda d: [r.update(eolFrom="2021-02-31") for p in d["result"] for r in p["releases"]]),
        "product 1",
    ),
    "endoflife: isEol is text": (
        ENDOFLIFE,
        edited(EOL_BODY, lambda d: [r.update(isEol="no") for p in d["result"] for r in p["releases"]]),
        "product 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_refused_by_what_is_wrong_with_it_and_the_last_good_one_stays(fault, tmp_path):
    feed, body, words = FAULTS[fault]
    store = Store(str(tmp_path))
    store.put(feed, BODIES[feed.name], origin="x", at=NOW)
    with pytest.raises(FeedError, match=words):
        store.put(feed, body, origin="x", at=NOW)
    assert store.load(feed).entries == feed.read(BODIES[feed.name]).entries


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html><title>Sign in</title>",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"1" * 6000,
        "half",
        b"x" * (25 << 20),
    ],
    ids=["empty", "HTML", "list", "object", "nested", "no UTF-8", "digits", "truncated", "25 MiB"],
)
def test_what_is_no_such_file_is_refused(feed, body, tmp_path):
    given = BODIES[feed.name]
    with pytest.raises(FeedError):
        Store(str(tmp_path)).put(feed, given[: len(given) // 2] if body == "half" else body, origin="x", at=NOW)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_has():
    with pytest.raises(FeedError, match="unpacks to more than 64 MiB"):
        EPSS.read(gzip.compress(bytes(80 << 20), 1))


def test_one_bad_entry_among_many_is_left_out_and_told():
    many = b"cve,epss,percentile\n" + b"".join(b"CVE-2099-%04d,0.5,0.5\n" % n for n in range(1000)) + b"CVE-2099-1,x,\n"
    contents = EPSS.read(many)
    assert (contents.entries, contents.left_out) == (1000, 1)
    assert contents.first_left_out == "line 1002: 'CVE-2099-1,x,' is not a CVE id and a score from 0 to 1"


def test_hostile_text_is_clean_where_it_is_kept_or_told():
    evil = "ng\x1b[2Jinx\u202e" + "x" * 500
    body = edited(EOL_BODY, lambda d: (first(d).update(label=evil), d["result"][1].update(releases=[{"name": evil}])))
    contents = ENDOFLIFE.read(body)
    label = contents.table.by_cpe["a:f5:nginx"].label
    assert label.isprintable()
    assert len(label) <= 60
    assert contents.first_left_out.isprintable()
    assert len(contents.first_left_out) < 150
