"""What sources that mean no good say, in every field that there is: text, and everywhere alike."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from django.urls import reverse

from scans.core.types import Facts, SourceState
from scans.models import TargetResult
from tests.factories import make_address, make_report, make_result, make_source
from tests.web.policy import inline_parts

pytestmark = pytest.mark.django_db
SCRIPT = "<script>alert(1)</script>"
BIDI = "\u202etxt.exe\u2066 \u200b\x1b[31m\x00\ud800 \ue000"
FORMULA = '=HYPERLINK("http://x.invalid")'
LONG = "x" * 10_000
TEMPLATE = "{{ settings.SECRET_KEY }}{% debug %}"
SAID = (SCRIPT, BIDI + SCRIPT, FORMULA, LONG, TEMPLATE, "\u2028\r\n-1", "@SUM(A1)")
UNWANTED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def facts(said: str) -> Facts:
    """This text wherever there is room for one, and numbers out of all bounds."""
    values = {
        "str | None": said,
        "int | None": 10**9,
        "float | None": 1e300,
        "bool | None": True,
        "tuple[str, ...] | None": (said,) * 100,
        "tuple[int, ...] | None": tuple(range(100)),
    }
    return Facts(**{known.name: values[str(known.type)] for known in fields(Facts)})


@pytest.fixture
def row() -> TargetResult:
    """A host about which each source says one of these things, and one does not answer in such words."""
    sources = [
        replace(make_source(facts=facts(said)), source=f"s{at}", contacted=(said[:99],)) for at, said in enumerate(SAID)
    ]
    failed = make_source(SourceState.FAILED, reason=SCRIPT + BIDI)
    return make_result(make_report("127.66.0.1", make_address(open_ports=[22], sources=[*sources, failed])))


def unwanted(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in UNWANTED and c not in "\n\r\t"}


@pytest.mark.ignore_template_errors
def test_no_page_holds_what_acts(row, admin_client):
    paths = [row.get_absolute_url(), row.job.get_absolute_url(), reverse("history"), reverse("dashboard")]
    for path in (*paths, reverse("admin:scans_targetresult_change", args=[row.pk])):
        page = admin_client.get(path).content.decode()
        assert inline_parts(page) == [], path
        assert "<script>" not in page.lower(), path
        assert not unwanted(page), path
    host = admin_client.get(paths[0]).content.decode()
    assert host.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 50  # so it was there to be shown
    assert TEMPLATE.replace(" ", "") in host.replace(" ", "")
    assert "x" * 256 not in host


def test_no_reply_holds_what_acts(row, client):
    for path in (f"/scan/{row.job.token}", f"/scan/{row.job.token}/export.json"):
        body = b"".join(client.get(path)).decode()
        for text in _strings(json.loads(body)):
            assert not unwanted(text) - {"\n"}
            assert "x" * 256 not in text
        assert SCRIPT in body  # as data: who reads JSON reads it as text


def test_no_cell_begins_a_formula(row, client):
    text = b"".join(client.get(f"/scan/{row.job.token}/export.csv")).decode()
    (header, cells) = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))]
    assert not unwanted(text)
    assert dict(zip(header, cells, strict=True))["reputation"].count("Spamhaus DROP") == len(SAID)


def test_the_page_of_such_a_host_stays_small(row, client):
    assert len(client.get(row.get_absolute_url()).content) < 400_000


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from (key, *_strings(held))
    elif isinstance(value, list):
        for held in value:
            yield from _strings(held)
