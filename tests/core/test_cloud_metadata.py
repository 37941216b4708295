"""`metadata.aws` and `metadata.gcp`, as clients of the original service know them, from the providers' own lists."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from scans.api.documents import MetadataSerializer
from scans.core import wire
from scans.core.cloud_metadata import cloud_metadata
from scans.core.intel import Cloud, look_up
from scans.core.intel.base import SourceSettings
from tests.factories import make_address, make_report

GROUPS = {"AMAZON": "eu-central-1", "EC2": "eu-central-1-ber-1", "S3": "eu-central-1"}
AWS = {
    "createDate": "2026-11-20-10-00-00",
    "prefixes": [
        {
            "ip_prefix": f"198.51.100.0/{24 + n}",
            "region": "eu-central-1",
            "service": service,
            "network_border_group": group,
        }
        for n, (service, group) in enumerate(GROUPS.items())
    ],
}
GCP = {"creationTime": "2026-11-20T10:00:00.0", "prefixes": [{"ipv4Prefix": "203.0.113.0/24", "scope": "europe-west3"}]}


@pytest.fixture
def metadata(tmp_path: Path):
    """What `metadata` is of an address, by lists of these two clouds."""
    for name, said in (("aws", AWS), ("gcp", GCP)):
        (tmp_path / f"{name}.ranges").write_text(json.dumps(said))
    source = Cloud(SourceSettings(directory=str(tmp_path)))

    def of(address: str):
        result = look_up(source, ip_address(address))
        report = make_report(address, make_address(address, sources=[result]))
        stored = wire.evidence_dict(report), wire.verdict_dict(report.verdict), wire.summary_dict(report.summary)
        document = json.loads(json.dumps(wire.wire_result(*stored)))["metadata"]
        assert MetadataSerializer(document).data == document
        return document

    return of


def test_an_address_of_amazons_has_what_its_list_says(metadata):
    assert metadata("198.51.100.9")["aws"] == {
        "prefix": "198.51.100.0/26", "region": "eu-central-1", "service": "S3", "service_category": "Storage",
        "network_border_group": "eu-central-1", "possible_services": ["EC2", "S3"],
    }  # fmt: skip
    found = metadata("198.51.100.70")
    assert (found["provider"], found["service_category"]) == ("AMAZON", "Compute")
    assert (found["aws"]["network_border_group"], found["aws"]["possible_services"]) == ("eu-central-1-ber-1", None)


def test_an_address_of_no_particular_service_is_amazons_all_the_same(metadata):
    found = metadata("198.51.100.200")
    assert (found["aws"]["service"], found["aws"]["service_category"]) == ("AMAZON", "Cloud (eu-central-1)")


def test_an_address_of_googles_cloud_has_a_scope(metadata):
    found = metadata("203.0.113.5")
    assert found["provider"] == "GOOGLE"
    assert found["gcp"] == {
        "prefix": "203.0.113.0/24", "region": "europe-west3", "service": "Google Cloud", "scope": "europe-west3",
        "service_category": "Cloud (europe-west3)", "possible_services": None,
    }  # fmt: skip


def test_elsewhere_there_is_neither(metadata):
    assert metadata("192.0.2.1").keys() == {"location", "country", "provider", "service_category"}
    assert cloud_metadata([]) == {}
