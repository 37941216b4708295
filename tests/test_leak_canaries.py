"""Secrets that came near the program are found nowhere afterwards: database, logs, pages, API, exports."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.contrib.auth.models import User

from scans.models import ScanJob
from scans.services.slices import run_slice
from scans.services.summaries import run_summaries
from tests.fakes import Answer, service
from tests.patience import PATIENCE
from tests.servers import listening, public

pytestmark = pytest.mark.django_db(transaction=True)

KEYED = ("ip-api", "ipinfo", "abuseipdb", "greynoise", "virustotal", "otx")  # sources that take a key
PASSWORD, TOKEN, API_KEY = "hunter22-canary", "sesame99-canary", "AIza-canary-key-0123456789"
CANARIES = (PASSWORD, TOKEN, API_KEY)


def dump() -> str:
    """Every value of every table."""
    return "\n".join(str(row) for model in apps.get_models() for row in model.objects.values())


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500, body=API_KEY.encode()),
        Answer(status=302, headers={"Location": f"/?key={API_KEY}"}),
        Answer(body=b"[]"),
    ],
    ids=["500", "302", "200"],
)
def test_no_canary_is_found_after_a_scan_with_failing_services(client, settings, caplog, answer):
    caplog.set_level(logging.DEBUG)
    with service(lambda _: answer) as fake, listening(public(30), 3389):
        settings.SCANNER = replace(
            settings.SCANNER,
            ai=replace(settings.SCANNER.ai, api_key=API_KEY, base_url=fake.base_url),
            intel=replace(
                settings.SCANNER.intel,
                sources=KEYED,
                keys=dict.fromkeys(KEYED, API_KEY),
                urls=dict.fromkeys(KEYED, fake.base_url),
                grace_seconds=PATIENCE,
            ),
        )
        targets = [
            public(30),
            f"https://admin:{PASSWORD}@{public(30)}:3389/?access_token={TOKEN}",
            f"http://u:{PASSWORD}@x.invalid/",
        ]
        accepted = client.post("/ai-agent", {"endpoints": targets, "ports": [3389]}, content_type="application/json")
        bad = client.post(
            "/scan", {"endpoints": [f"http://u:{PASSWORD}@[bad/?token={TOKEN}"]}, content_type="application/json"
        )
        run_slice()
        run_summaries()
    assert {urlsplit(request.path).path for request in fake.requests} >= {"/batch", f"/lite/{public(30)}", "/api/v2/check"}
    assert (accepted.status_code, bad.status_code) == (202, 422)
    job = ScanJob.objects.get()
    assert found_in(dump()) == []
    assert found_in(bad.content.decode()) == []
    client.force_login(User.objects.create_superuser("root", password="not-the-canary-1"))
    pages = ["/", f"/jobs/{job.token}", *(f"/jobs/{job.token}/hosts/{n}" for n in (1, 2, 3)), f"/scan/{job.token}"]
    pages += ["/admin/", f"/admin/scans/scanjob/{job.pk}/change/", "/admin/scans/targetresult/"]
    pages += [f"/scan/{job.token}/export.{kind}" for kind in ("json", "ndjson", "csv")]
    for page in pages:
        reply = client.get(page)
        assert reply.status_code == 200, page
        body = b"".join(reply.streaming_content) if reply.streaming else reply.content
        assert found_in(body.decode()) == [], page
    ours = [record for record in caplog.records if record.name.startswith(("scans", "ipscanner", "django", "urllib3"))]
    assert found_in("\n".join(record.getMessage() for record in ours)) == []
    assert json.loads(client.get(f"/scan/{job.token}").content)["status"] == "complete"
