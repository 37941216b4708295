"""What stands behind open ports, from the submission over a worker's slice and the rows to the reply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scans.core.options import FingerprintOptions
from scans.models import TargetResult
from scans.services.slices import run_slice
from tests.core.fingerprint.asking import saying, serving
from tests.servers import public

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = b"220 \x00\x1b[31m\xe2\x80\xae<script>alert(1)</script> FTP\r\n"


@pytest.fixture
def scan(client, settings):
    """Submit, work, read: the only result."""

    def run(target: str, *ports: int):
        intel = replace(settings.SCANNER.intel, offline=True)
        settings.SCANNER = replace(settings.SCANNER, intel=intel, fingerprint=FingerprintOptions())
        body = {"ip_addresses": [target], "ports": ports}
        accepted = client.post("/scan", body, content_type="application/json")
        run_slice()
        (result,) = client.get(accepted.json()["status_url"]).json()["results"]
        return result

    return run


def test_services_come_through_the_rows_to_the_client(scan):
    with serving(saying(b"SSH-2.0-OpenSSH_9.2p1\r\n"), public(69)) as ssh, serving(saying(HOSTILE), public(69)) as ftp:
        result = scan(public(69), ssh.port, ftp.port)
    found = {service["port"]: service for service in result["addresses"][0]["services"]}
    assert (found[ssh.port]["protocol"], found[ssh.port]["version"]) == ("SSH", "9.2p1")
    assert found[ftp.port]["banner"] == "220 [31m <script>alert(1)</script> FTP"
    assert result["testing_techniques"] == ["FTP Banner", "SSH Banner"]
    assert result["schema_version"] == TargetResult.objects.get().evidence["schema"] == 2


def test_the_reply_has_the_fields_that_the_schema_names(scan, client):
    with serving(saying(b"HTTP/1.1 200 OK\r\nSet-Cookie: PHPSESSID=1\r\n\r\n", wait_for=b"GET"), public(70)) as web:
        (service,) = scan(public(70), web.port)["addresses"][0]["services"]
    parts = client.get("/api/schema/?format=json").json()["components"]["schemas"]
    assert set(service) == set(parts["Service"]["properties"])
    assert set(service["http"]) == set(parts["Http"]["properties"])
    assert set(service["http"]["technologies"][0]) == set(parts["Technology"]["properties"])
    assert set(service["http"]["cookies"][0]) == set(parts["Cookie"]["properties"])
