"""GET /scan/<token>/prompts: what the model was told about a job's targets, to those who may see the job."""

from __future__ import annotations

import json

import pytest

from scans.core.summary import INSTRUCTION, PROMPT_VERSION
from tests.factories import make_address, make_job, make_question, make_report, make_result, make_source

pytestmark = pytest.mark.django_db
HOSTS = ("127.66.0.1", "127.66.0.2", "127.66.0.3")


@pytest.fixture
def job():
    """Three targets: about two the model was asked, about the second nothing was sent."""
    job = make_job(*HOSTS)
    rows = [make_result(make_report(host, make_address(host, open_ports=[22])), job=job) for host in HOSTS]
    make_question(rows[0])
    make_question(rows[2], was_sent=False)
    return job


def test_it_says_word_for_word_what_the_model_was_told(client, job):
    document = client.get(f"/scan/{job.token}/prompts").json()
    assert (document["token"], document["next"]) == (job.token, None)
    assert (document["instruction"], document["prompt_version"]) == (INSTRUCTION, PROMPT_VERSION)
    first, second = document["prompts"]
    assert (first["ordinal"], first["target"], first["was_sent"]) == (0, HOSTS[0], True)
    assert (second["ordinal"], second["target"], second["was_sent"]) == (2, HOSTS[2], False)
    assert first["text"] == job.targets.get(ordinal=0).question.text
    assert HOSTS[0] not in first["text"]
    assert json.loads(first["text"])["facts"]


def test_it_comes_page_by_page(client, job):
    page = client.get(f"/scan/{job.token}/prompts?limit=1").json()
    assert [prompt["ordinal"] for prompt in page["prompts"]] == [0]
    rest = client.get(page["next"]).json()
    assert [prompt["ordinal"] for prompt in rest["prompts"]] == [2]
    assert rest["next"] is None


def test_where_no_model_was_asked_it_is_empty(client):
    assert client.get(f"/scan/{make_job('127.66.0.9').token}/prompts").json()["prompts"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "cursor=-1"])
def test_a_parameter_that_cannot_be_meant_is_named(client, job, query):
    reply = client.get(f"/scan/{job.token}/prompts?{query}")
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_it_costs_as_many_queries_for_many_targets_as_for_one(client, django_assert_num_queries):
    job = make_job("127.66.0.1")
    source = make_source()
    make_question(make_result(make_report("127.66.0.1", make_address(sources=[source])), job=job))
    many = make_job(*HOSTS)
    for host in HOSTS:
        make_question(make_result(make_report(host), job=many))
    counts = []
    for one in (job, many):
        with django_assert_num_queries(2) as queries:
            client.get(f"/scan/{one.token}/prompts")
        counts.append(len(queries))
    assert counts[0] == counts[1]
