"""Large jobs: their results page by page and as files, and what no spreadsheet may take for a formula."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from dataclasses import fields, replace

import pytest

from scans.api.export import CSV_COLUMNS
from scans.core.types import Facts, SourceState
from scans.models import TargetResult
from scans.selectors import results
from tests.factories import (
    SELF_SIGNED,
    make_address,
    make_failure,
    make_job,
    make_report,
    make_result,
    make_service,
    make_services,
    make_source,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def job():
    """Seven targets: a database, five quiet ones of which one is not finished, and a name that leads nowhere."""
    targets = [f"127.66.0.{n}" for n in range(1, 7)]
    job = make_job(*targets, "x.invalid")
    make_result(make_report(targets[0], make_address(targets[0], open_ports=[6379])), job=job)
    for target in targets[1:-1]:
        make_result(make_report(target, make_address(target)), job=job)
    make_result(make_failure("x.invalid"), job=job)
    return job


def ordinals(document) -> list[int]:
    return [result["ordinal"] for result in document["results"]]


def test_pages_hold_every_finished_target_once_in_order(client, job):
    reply = client.get(f"/scan/{job.token}/results?limit=2")
    seen = []
    while True:
        document = reply.json()
        assert (document["token"], document["status"], document["total_targets"]) == (job.token, "queued", 7)
        seen.append(ordinals(document))
        if document["next"] is None:
            break
        assert reply["Link"] == f'<{document["next"]}>; rel="next"'
        reply = client.get(document["next"])
    assert seen == [[0, 1], [2, 3], [4, 6]]


def test_a_result_on_a_page_is_that_of_the_document(client, job):
    document = client.get(f"/scan/{job.token}").json()
    page = client.get(f"/scan/{job.token}/results").json()
    assert [{k: v for k, v in result.items() if k != "ordinal"} for result in page["results"]] == document["results"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("risk=high", [0]),
        ("risk=unknown", [6]),
        ("outcome=error", [6]),
        ("outcome=done", [0, 1, 2, 3, 4]),
        ("outcome=done&risk=high", [0]),
        ("outcome=refused", []),
        ("cursor=4", [6]),
        ("cursor=999999999", []),
    ],
)
def test_results_are_filtered_by_level_and_outcome(client, job, query, expected):
    assert ordinals(client.get(f"/scan/{job.token}/results?{query}").json()) == expected


def test_results_are_filtered_by_what_was_found_there(client):
    job = make_job("127.66.0.1", "127.66.0.2", "127.66.0.3")
    *services, _ = make_services()
    for n, (said, state) in enumerate(((services, None), (services[1:2], "scanned"), ([], None)), start=1):
        make_result(make_report(f"127.66.0.{n}", make_address(f"127.66.0.{n}", services=said)), job=job, state=state)
    for query, expected in {
        "service=http": [0],  # the second waits for its words
        "service=HTTPS&cert=*.invalid&product=nginx": [0],
        "product=nginx 1.2&finding=ACC-003": [0],
        "finding=EXP-001&outcome=done": [0],
        "cert=example.invalid": [],
        "service=telnet": [],
    }.items():
        assert ordinals(client.get(f"/scan/{job.token}/results?{query}").json()) == expected, query
    row = job.targets.get(ordinal=1)
    row.state, row.finished_at = "done", row.scanned_at
    row.save()
    document = client.get(f"/scan/{job.token}/results?service=http&limit=1").json()
    assert (ordinals(document), ordinals(client.get(document["next"]).json())) == ([0], [1])


@pytest.mark.parametrize(
    "query",
    [
        "cursor=-1",
        "cert=*.",
        "service=",
        "service=%C2%94",
        "cursor=1234567890",
        "limit=0",
        "risk=bad",
        "outcome=scanned",
        "page=2",
    ],
)
def test_a_parameter_that_cannot_be_meant_is_a_422(client, job, query):
    reply = client.get(f"/scan/{job.token}/results?{query}")
    assert [error["pointer"] for error in reply.json()["errors"]] == [f"/{query.partition('=')[0]}"]
    assert reply.status_code == 422


def test_a_page_needs_as_many_queries_as_ever(client, job, django_assert_num_queries):
    for limit in (1, 5):
        with django_assert_num_queries(4):  # the job, the rows, their verdicts by other rules, the waivers in force
            client.get(f"/scan/{job.token}/results?limit={limit}")


def exported(client, job, extension: str) -> str:
    reply = client.get(f"/scan/{job.token}/export.{extension}")
    assert reply.status_code == 200
    assert reply["Content-Disposition"] == f'attachment; filename="scan-{job.token[:8]}.{extension}"'
    assert reply["Cache-Control"] == "private, no-store"
    assert reply["X-Content-Type-Options"] == "nosniff"
    return b"".join(reply.streaming_content).decode()


@pytest.mark.parametrize("rows_at_a_time", [1, 50])
def test_the_json_export_is_the_document_and_every_result_has_its_place(client, job, monkeypatch, rows_at_a_time):
    monkeypatch.setattr(results, "STREAMED_ROWS", rows_at_a_time)
    found = json.loads(exported(client, job, "json"))
    document = client.get(f"/scan/{job.token}").json()
    assert ordinals(found) == [0, 1, 2, 3, 4, 6]
    assert [{k: v for k, v in result.items() if k != "ordinal"} for result in found.pop("results")] == document.pop(
        "results"
    )
    assert found == document


def test_the_ndjson_export_is_one_object_a_line(client, job):
    lines = exported(client, job, "ndjson").splitlines()
    assert [json.loads(line)["ordinal"] for line in lines] == [0, 1, 2, 3, 4, 6]


def test_the_csv_export_has_a_header_and_quotes_everything(client, job):
    text = exported(client, job, "csv")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[0] == list(CSV_COLUMNS)
    assert [row[1] for row in rows[1:]] == [*(f"127.66.0.{n}" for n in range(1, 6)), "x.invalid"]
    assert all(line.startswith('"') and line.endswith('"') for line in text.split("\r\n")[:-1])
    first = dict(zip(rows[0], rows[1], strict=True))
    assert (first["open_ports"], first["risk_level"], first["publicly_exposed"]) == ("6379", "high", "yes")
    assert (first["country"], first["error"]) == ("Germany", "")


def test_the_csv_export_says_what_was_found_and_until_when_certificates_hold(client):
    many = replace(SELF_SIGNED, names=tuple(f"n{n}.invalid" for n in range(100)), names_count=150)
    nameless = replace(SELF_SIGNED, names=(), names_count=0)
    further = (make_service(8443, "TLS", is_tls=True, tls=many), make_service(9443, "TLS", is_tls=True, tls=nameless))
    one = make_result(make_report("127.66.0.1", make_address(services=[*make_services(), *further])))
    (row,) = csv.DictReader(io.StringIO(exported(client, one.job, "csv"), newline=""))
    assert row["services"] == ("22 SSH OpenSSH 9.2p1; 80 HTTP nginx 1.24.0; 443 HTTP (TLS); 6379 Redis; 8443 TLS; 9443 TLS")
    shop, long, subject = row["certificates"].split("; ")
    assert shop == "443 old-shop.invalid, www.old-shop.invalid until 2046-01-05T08:00:00Z"
    assert (long.count("invalid"), long.endswith("n19.invalid and 130 more until 2046-01-05T08:00:00Z")) == (20, True)
    assert subject == "9443 CN=old-shop.invalid until 2046-01-05T08:00:00Z"
    assert row["findings"].startswith("Access without authentication confirmed; ")
    ssh = make_service(22, "SSH")
    seen = [make_address(address, services=[ssh]) for address in ("127.66.0.1", "127.66.0.2")]
    two = make_result(make_report("two.invalid", *seen))
    (row,) = csv.DictReader(io.StringIO(exported(client, two.job, "csv"), newline=""))
    assert row["services"] == "127.66.0.1 port 22 SSH; 127.66.0.2 port 22 SSH"


def test_the_csv_export_says_of_whom_it_is_known_whether_it_answers_everywhere(client):
    ports, job = range(1, 65536), make_job("127.66.0.1", "127.66.0.2", "127.66.0.3")
    seen = make_address(open_ports=ports, ports=ports, services=[make_service(22, "SSH")])
    for ordinal, (answer, found) in enumerate(
        [(True, seen), (False, make_address(open_ports=[22])), (None, make_address())]
    ):
        make_result(make_report(f"127.66.0.{ordinal + 1}", replace(found, answers_everywhere=answer)), job=job)
    rows = csv.DictReader(io.StringIO(exported(client, job, "csv"), newline=""))
    assert [(row["answers_everywhere"], row["open_ports"]) for row in rows] == [("yes", "22"), ("no", "22"), ("", "")]


def test_the_csv_export_says_who_it_is_and_what_is_known_against_it(client):
    cloud = {"cloud_provider": "Example", "cloud_region": "eu-1"}
    named = Facts(network="127.66.0.0/16", host_names=("a.invalid", "b.invalid"), **cloud)
    against = replace(make_source(facts=Facts(abuse_score=90, abuse_reports=12)), source="reports")
    down = replace(make_source(SourceState.FAILED, reason="HTTP 503"), source="down")
    sources = [make_source(), replace(make_source(facts=named), source="names"), against, down]
    one = make_result(make_report("127.66.0.1", make_address(sources=sources)))
    (row,) = csv.DictReader(io.StringIO(exported(client, one.job, "csv"), newline=""))
    assert {name: row[name] for name in ("organisation", "asn", "network", "host_names", "cloud", "service_category")} == {
        "organisation": "Example Hosting GmbH", "asn": "64500", "network": "127.66.0.0/16",
        "host_names": "a.invalid b.invalid", "cloud": "Example eu-1", "service_category": "Cloud (eu-1)",
    }  # fmt: skip
    assert row["reputation"] == "reports Abuse score: 90 of 100, 12 reports"
    assert row["sources"] == "ip-api ok; names ok; reports ok; down failed"
    seen = [make_address(address, sources=[against]) for address in ("127.66.0.1", "127.66.0.2")]
    two = make_result(make_report("two.invalid", *seen))
    (row,) = csv.DictReader(io.StringIO(exported(client, two.job, "csv"), newline=""))
    assert row["sources"] == "127.66.0.1 reports ok; 127.66.0.2 reports ok"


def test_what_each_source_said_has_the_fields_that_the_schema_names(client):
    everything = {known.name: EXAMPLES[str(known.type)] for known in fields(Facts)}
    row = make_result(make_report("127.66.0.1", make_address(sources=[make_source(facts=Facts(**everything))])))
    (result,) = client.get(f"/scan/{row.job.token}").json()["results"]
    schemas = client.get("/api/schema/?format=json").json()["components"]["schemas"]
    assert set(result["sources"][0]) == set(schemas["Source"]["properties"])
    assert set(result["addresses"][0]) == set(schemas["Address"]["properties"])
    described = schemas["Facts"]["properties"]
    kinds = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list}
    assert {name: type(value) for name, value in result["sources"][0]["facts"].items()} == {
        name: kinds[described[name]["type"]] for name in described
    }
    assert "required" not in schemas["Facts"]


EXAMPLES = {
    "str | None": "x", "int | None": 1, "float | None": 1.5, "bool | None": False, "tuple[str, ...] | None": ("x",),
    "tuple[int, ...] | None": (1,),
}  # fmt: skip


@pytest.mark.parametrize("said", ['=HYPERLINK("http://x.invalid")', "+1", "-1", "@SUM(A1)", "=1\t2"])
def test_what_a_source_says_is_no_formula(client, said):
    facts = make_source().facts
    source = make_source(facts=replace(facts, isp=said, country=said))
    row = make_result(make_report("127.66.0.1", make_address("127.66.0.1", sources=[source])))
    cells = [cell for line in csv.reader(io.StringIO(exported(client, row.job, "csv"), newline="")) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "'" + said.replace("\t", " ") in cells


def test_an_export_without_results_is_still_a_file(client):
    job = make_job("127.66.0.1")
    assert json.loads(exported(client, job, "json"))["results"] == []
    assert exported(client, job, "ndjson") == ""
    assert exported(client, job, "csv").count("\r\n") == 1


def test_the_head_of_an_export_has_its_headers_and_reads_nothing(client, job, django_assert_num_queries):
    with django_assert_num_queries(1):
        reply = client.head(f"/scan/{job.token}/export.csv")
    assert (reply.content, reply["Content-Type"]) == (b"", "text/csv; charset=utf-8; header=present")


def test_an_export_needs_no_more_memory_for_a_larger_job(client):
    row = make_result(make_report("127.66.0.1", make_address(ports=range(1, 201))))
    peaks = []
    for total in (100, 400):  # two pieces and eight: one is read while the one before is still held
        have = row.job.targets.count()
        copies = [
            TargetResult(
                **{f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields}
                | {"id": None, "ordinal": n, "key": str(n)}
            )
            for n in range(have, total)
        ]
        TargetResult.objects.bulk_create(copies, batch_size=100)
        del copies
        tracemalloc.start()
        size = sum(len(piece) for piece in client.get(f"/scan/{row.job.token}/export.ndjson").streaming_content)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert size > 400 * 10_000
    assert peaks[1] < peaks[0] * 1.3
