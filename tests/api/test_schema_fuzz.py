"""The served schema and the API agree, whatever is sent: requests made from the one are answered by the other.

Half of the requests are as the schema wants them, half are not. FUZZ_CASES sets how many there are; `make fuzz` sends 10,000.
Half of those about a job name one that exists, in every state, since a random token only ever meets a 404.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from ipscanner.wsgi import application
from scans.api import waiting
from scans.models import WorkerHeartbeat
from scans.services import heartbeats
from scans.services.audit import SYSTEM
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from tests.factories import make_address, make_failure, make_job, make_report, make_result

pytestmark = pytest.mark.django_db
CASES = int(os.environ.get("FUZZ_CASES", "400"))
SEED = 20260131
TARGETS = ("127.0.0.1", "127.0.0.0/30", "10.0.0.1", "http://localhost:81/x", "x.invalid")
NOT_ASKED = {
    "ignored_auth",  # the local profile lets everybody in
    "positive_data_acceptance",  # asked below, where the schema can know
}
SUBMITS = ("POST /scan", "POST /ai-agent")


@pytest.fixture
def schema(settings, monkeypatch) -> Iterator[Any]:
    """As it is served. Jobs stay small, nobody waits, and the requests share the test's connection, as Django's client does."""
    settings.SCAN_MAX_TARGETS, settings.SCAN_MAX_PROBES = 16, 100_000
    monkeypatch.setattr(waiting, "may_wait", lambda: False)
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def jobs_in_every_state() -> list[str]:
    """The tokens of a job that is queued, one that is done, one cancelled and one deleted."""
    queued, cancelled, deleted = (make_job("127.66.0.1", "x.invalid") for _ in range(3))
    done = make_job("127.66.0.1", "x.invalid", label="Office")
    make_result(make_report("127.66.0.1", make_address(open_ports=[6379], filtered=[22])), job=done)
    make_result(make_failure("x.invalid"), job=done)
    cancel_job(cancelled, by=SYSTEM)
    delete_job(deleted, by=SYSTEM)
    return [job.token for job in (queued, done, cancelled, deleted)]


@st.composite
def requests(draw, operation, tokens: list[str]) -> Case:
    """A request, as the schema wants it or not, and now and then about something that exists."""
    case = draw(st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode]))
    if draw(st.integers(0, 9)):  # mostly without the credentials that the schema offers: random ones only ever meet a 401
        case.cookies = {}
        for name in ("Authorization", "X-API-Key"):
            case.headers.pop(name, None)
    if "token" in case.path_parameters and draw(st.booleans()):
        case.path_parameters["token"] = draw(st.sampled_from(tokens))
    if isinstance(case.body, dict) and draw(st.booleans()):
        case.body["ip_addresses"] = draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=4))
    return case


def checks(case: Case, status: int) -> list[Any]:
    """What is asked of a reply."""
    load_all_checks()
    asked = CHECKS.get_all()
    may_know = case.operation.label not in SUBMITS and status not in (409, 410)  # nor what is a target, nor a job's state
    return [check for check in asked if check.__name__ not in NOT_ASKED or (may_know and "positive" in check.__name__)]


def test_every_reply_is_one_that_the_schema_describes(schema):
    operations = [result.ok() for result in schema.get_all_operations()]
    seen: Counter[str] = Counter()
    for operation in operations:
        with heartbeats.beating(__import__("uuid").uuid4(), WorkerHeartbeat.Kind.SUPERVISOR):
            ask_everything(operation, seen)
    print(seen)


def ask_everything(operation, seen):
    @seed(SEED)
    @hypothesis_settings(
        max_examples=CASES // 13,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests(operation, jobs_in_every_state()))
    def ask(case: Case) -> None:
        response = case.call()
        seen[f"{operation.label} {response.status_code}"] += 1
        case.validate_response(response, checks=checks(case, response.status_code))

    ask()
