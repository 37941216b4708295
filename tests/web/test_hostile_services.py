"""What services that mean no good said, from the scan over rows to pages, replies and files: text, and everywhere alike."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from scans.core import wire
from scans.core.types import Report
from scans.models import ScanJob
from tests.core.fingerprint.growth import scan_all
from tests.core.fingerprint.hostile_services import all_serving, by_address
from tests.patience import PATIENCE
from tests.stored import store
from tests.web.policy import inline_parts
from tests.with_postgres import postgres_bin, server

pytestmark = pytest.mark.django_db
UNWANTED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """One scan of them all."""
    with all_serving(first=130) as places:
        return scan_all(by_address(places), seconds=10.0)


@pytest.fixture
def job(reports) -> ScanJob:
    return store(reports)


def unwanted(text: str) -> set[str]:
    """Characters that act on whoever reads them; the lines of a page may end."""
    return {c for c in text if unicodedata.category(c) in UNWANTED and c not in "\n\r\t"}


def test_what_is_read_back_is_what_was_seen(job, reports):
    rows = {row.host: row for row in job.targets.all()}
    assert {row.state for row in rows.values()} == {"done"}
    assert rows.keys() == reports.keys()
    for host, report in reports.items():
        assert rows[host].evidence == wire.evidence_dict(report)
        assert rows[host].verdict == wire.verdict_dict(report.verdict)
        assert rows[host].summary == wire.summary_dict(report.summary)


@pytest.mark.ignore_template_errors
def test_no_page_holds_what_acts(job, admin_client):
    rows = list(job.targets.all())
    paths = [job.get_absolute_url(), reverse("history"), reverse("dashboard"), *(row.get_absolute_url() for row in rows)]
    for row in rows:
        paths.append(reverse("admin:scans_targetresult_change", args=[row.pk]))
    for kind in ("scanjob", "targetresult"):
        paths.append(reverse(f"admin:scans_{kind}_changelist"))
    paths.append(reverse("admin:scans_scanjob_change", args=[job.pk]))
    everything = ""
    for path in paths:
        reply = admin_client.get(path)
        page = reply.content.decode()
        assert reply.status_code == 200, path
        assert inline_parts(page) == [], path
        assert "<script>" not in page.lower(), path
        assert not unwanted(page), path
        everything += page
    assert everything.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10  # so it was there to be shown
    assert "=HYPERLINK(" in everything


def test_no_reply_and_no_file_holds_what_acts(job, client):
    for path in (f"/scan/{job.token}", *(f"/scan/{job.token}/export.{kind}" for kind in ("json", "ndjson"))):
        body = b"".join(client.get(path)).decode()
        for line in body.split("\n") if path.endswith("ndjson") else [body]:
            for text in _strings(json.loads(line)) if line else ():
                assert not unwanted(text) - {"\n"}, path
        assert "<script>alert(1)</script>" in body  # as data: who reads JSON reads it as text


def test_no_cell_of_a_table_begins_a_formula(job, admin_client):
    own = b"".join(admin_client.get(f"/scan/{job.token}/export.csv")).decode()
    of_staff = admin_client.post(
        reverse("admin:scans_scanjob_changelist"), {"action": "export_csv", "_selected_action": [job.pk]}
    )
    for text in (own, b"".join(of_staff).decode()):
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        assert len(lines) == 1 + job.targets.count()
        cells = [cell for line in lines for cell in line]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0"))]
        assert not unwanted(text)


def test_the_rows_are_the_same_on_sqlite_and_on_postgres(reports, tmp_path):
    tools = postgres_bin()
    if tools is None:
        pytest.skip("postgres is not installed")
    file = tmp_path / "reports"
    file.write_bytes(pickle.dumps(reports))
    on_sqlite = _stored(file, data=tmp_path / "one", url="")
    with server(tools) as url:
        on_postgres = _stored(file, data=tmp_path / "two", url=url)
    assert len(on_sqlite["rows"]) == len(reports)
    assert on_sqlite == on_postgres


def _stored(file: Path, *, data: Path, url: str) -> Any:
    data.mkdir()
    environment = {**os.environ, "DATABASE_URL": url, "TEST_DATA_DIR": str(data), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    child = [sys.executable, "-m", "tests.stored", str(file)]
    done = subprocess.run(child, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from (key, *_strings(held))
    elif isinstance(value, list):
        for held in value:
            yield from _strings(held)
