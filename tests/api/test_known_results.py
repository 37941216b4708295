"""What is known against products, as clients read it: with the fields of the schema, and in the table in words."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from scans.models import TargetResult
from tests.factories import END_OF_LIFE, VULNERABILITIES, make_address, make_report, make_result

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> TargetResult:
    """A host with something against it, and at its other address nobody could say."""
    known = replace(make_address(open_ports=[80]), vulnerabilities=VULNERABILITIES, end_of_life=END_OF_LIFE)
    return make_result(make_report("two.invalid", known, make_address("127.66.0.2")))


def test_the_reply_has_the_fields_that_the_schema_names(client, row):
    (result,) = client.get(f"/scan/{row.job.token}").json()["results"]
    schemas = client.get("/api/schema/?format=json").json()["components"]["schemas"]
    known, unknown = result["addresses"]
    for name, schema in (("vulnerabilities", "Vulnerability"), ("end_of_life", "EndOfLife")):
        assert [set(each) for each in known[name]] == [set(schemas[schema]["properties"])] * len(known[name])
        assert schemas["Address"]["properties"][name]["nullable"] is True
        assert unknown[name] is None
    assert [each["is_exploited"] for each in known["vulnerabilities"]] == [True, False, None]
    assert {each["basis"] for each in (*known["vulnerabilities"], *known["end_of_life"])} == {"version match only"}


def test_the_exports_hold_it_in_full_and_in_words(client, row):
    def exported(extension: str) -> str:
        return b"".join(client.get(f"/scan/{row.job.token}/export.{extension}").streaming_content).decode()

    (line,) = exported("ndjson").splitlines()
    assert len(json.loads(line)["addresses"][0]["vulnerabilities"]) == len(VULNERABILITIES)
    (cells,) = csv.DictReader(io.StringIO(exported("csv"), newline=""))
    assert cells["vulnerabilities"] == (
        "CVE-2099-0001 exploited, EPSS 0.91, CVSS 9.8; CVE-2099-0002 EPSS 0.00043; CVE-2099-0003"
    )
    assert cells["end_of_life"] == "nginx 1.24.0 since 2024-05-29; Example OS 10.2"
