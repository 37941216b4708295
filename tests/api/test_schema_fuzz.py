"""The served schema and the API agree, whatever is sent: requests made from the one are answered by the other.

Half of the requests are as the schema wants them, half are not. FUZZ_CASES sets how many there are.
Half of those about a job name one that exists, in every state, since a random token only ever meets a 404.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from ipscanner.wsgi import application
from scans.api import waiting
from scans.models import WorkerHeartbeat
from scans.services import heartbeats
from scans.services.audit import SYSTEM
from scans.services.cancel import cancel_job
from scans.services.deletion import delete_job
from tests.factories import make_address, make_failure, make_job, make_report, make_result

pytestmark = pytest.mark.django_db
CASES = int(os.environ.get("FUZZ_CASES", "500"))
SEED = 20260131
TARGETS = ("127.0.0.1", "127.0.0.0/30", "10.0.0.1", "http://localhost:81/x", "x.invalid")
SUBMITS = ("POST /scan", "POST /ai-agent")


@pytest.fixture
def schema(settings, monkeypatch, caplog) -> Iterator[Any]:
    """As it is served. Jobs stay small, nobody waits, and the requests share the test's connection."""
    caplog.set_level("ERROR", "django.request")  # it would tell of every 4xx
    settings.SCAN_MAX_TARGETS, settings.SCAN_MAX_PROBES = 16, 100_000
    settings.MAX_QUEUE_AGE_SECONDS = 0  # nobody works here, however long it takes
    monkeypatch.setattr(waiting, "may_wait", lambda: False)
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    found = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)
    found.config.generation.with_security_parameters = False  # random credentials only ever meet a 401
    yield found
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_every_reply_is_one_that_the_schema_describes(schema):
    operations = [result.ok() for result in schema.get_all_operations()]
    varied = [operation for operation in operations if operation.label not in ("GET /healthz", "GET /readyz")]
    seen: Counter[str] = Counter()
    worker = uuid4()
    with heartbeats.beating(worker, WorkerHeartbeat.Kind.SUPERVISOR):
        for operation in operations:
            heartbeats.beat(worker)  # else /readyz says 503 once the others have taken long, as it should
            seen += replies(operation, cases=CASES // len(varied) + 1)
    assert not [status for status in seen if status.endswith(" 500")]
    assert {status.rpartition(" ")[0] for status in seen} == {operation.label for operation in operations}
    if CASES > 1000:  # enough to have met every kind of answer
        print(json.dumps(dict(sorted(seen.items())), indent=1), f"{seen.total():,} requests", sep="\n")
        assert {f"GET /scan/{{token}} {status}" for status in (200, 304, 404, 410, 422)} <= set(seen)


def replies(operation: Any, *, cases: int) -> Counter[str]:
    """Send so many requests and check each reply; how often which status came."""
    seen: Counter[str] = Counter()

    @seed(SEED)
    @hypothesis_settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=requests(operation, jobs_in_every_state()))
    def ask(case: Case) -> None:
        response = case.call()
        seen[f"{operation.label} {response.status_code}"] += 1
        case.validate_response(response, excluded_checks=unfair_checks(case, response.status_code))

    ask()
    return seen


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
def requests(draw: Any, operation: Any, tokens: list[str]) -> Case:
    """A request, as the schema wants it or not, and half of the time about something that exists."""
    mode = draw(st.sampled_from(GenerationMode))
    known = {}
    if "{token}" in operation.path and draw(st.booleans()):
        known["path_parameters"] = {"token": draw(st.sampled_from(tokens))}
    case = draw(operation.as_strategy(generation_mode=mode, **known))
    if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and draw(st.booleans()):
        case.body["ip_addresses"] = draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=4))
    return case


def unfair_checks(case: Case, status: int) -> list[Any]:
    """What a schema cannot know: which text is a target, which job is in which state, and that nobody may write NUL."""
    is_beyond_it = case.operation.label in SUBMITS or status == 410 or "\\x00" in repr(case.query)
    names = ["ignored_auth", *(["positive_data_acceptance"] if is_beyond_it else [])]  # the local profile lets all in
    return CHECKS.get_by_names(names)
