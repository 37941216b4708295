"""Rules that the database keeps, whoever writes: no row contradicts itself, and an upgrade repairs those that did."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from scans.models import ScanJob, TargetResult
from tests.factories import make_failure, make_job, make_report, make_result

FREE = {"lease": None, "lease_until": None}
HALF = ({"lease": uuid4()}, {"lease_until": timezone.now()})
WHOLE = HALF[0] | HALF[1]
BAD_LEASES = [
    *[("leased", half) for half in ({}, *HALF)],
    *[("scanned", half) for half in HALF],
    *[(state, held) for state in ("pending", "done", "error", "refused", "cancelled") for held in (*HALF, WHOLE)],
]
GOOD_LEASES = [
    ("leased", WHOLE), ("scanned", WHOLE), *[(state, {}) for state in ("pending", "scanned", "done", "error", "cancelled")],
]  # fmt: skip


def row_in(state: str) -> TargetResult:
    """A target of that state, but for its lease."""
    if state in ("pending", "leased"):
        return make_job("127.66.0.1").targets.get()
    report = make_report("127.66.0.1") if state in ("scanned", "done") else make_failure("127.66.0.1")
    return make_result(report, state=state)


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "held"), BAD_LEASES)
def test_a_lease_that_does_not_fit_the_state_is_refused(state, held):
    row = TargetResult.objects.filter(pk=row_in(state).pk)
    with pytest.raises(IntegrityError, match="target_lease_fits_state"), transaction.atomic():
        row.update(state=state, **FREE | held)


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "held"), GOOD_LEASES)
def test_a_lease_that_fits_the_state_is_stored(state, held):
    assert TargetResult.objects.filter(pk=row_in(state).pk).update(state=state, **FREE | held) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"ai": "perhaps"}, "job_ai_known"),
        ({"ai": ""}, "job_ai_known"),
        ({"mode": "stealth"}, "job_mode_known"),
        ({"state": "waiting"}, "job_state_known|job_finished_once"),
        ({"state": "complete"}, "job_finished_once"),
        ({"outcome": "complete"}, "job_finished_once"),
        ({"finished_at": timezone.now()}, "job_finished_once"),
    ],
)
def test_a_job_that_contradicts_itself_is_refused(columns, rule):
    job = make_job("127.66.0.1")
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        ScanJob.objects.filter(pk=job.pk).update(**columns)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"attempts": -1}, "attempts"),
        ({"state": "lost"}, "target_state_known|target_final_has_evidence"),
        ({"risk_level": "severe"}, "target_level_known"),
        ({"state": "done", "finished_at": timezone.now()}, "target_final_has_evidence"),
        ({"finished_at": timezone.now()}, "target_final_has_evidence"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(columns, rule):
    row = make_job("127.66.0.1").targets
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        row.update(**columns)


@pytest.mark.django_db(transaction=True)
def test_an_upgrade_frees_the_rows_that_were_half_held_and_leaves_the_others():
    good = {(row := row_in(state)).pk: (state, held, state, held) for state, held in GOOD_LEASES}
    bad = {row_in(state).pk: (state, held, "pending" if state == "leased" else state, {}) for state, held in BAD_LEASES}
    migrate("0010_egress")
    try:
        for pk, (state, held, *_) in (good | bad).items():
            TargetResult.objects.filter(pk=pk).update(state=state, **FREE | held)
        ScanJob.objects.filter(targets=row.pk).update(ai="perhaps")
    finally:
        migrate()
    for pk, (*_, state, held) in (good | bad).items():
        after = TargetResult.objects.get(pk=pk)
        assert {"state": after.state, "lease": after.lease, "lease_until": after.lease_until} == {
            "state": state
        } | FREE | held
    assert set(ScanJob.objects.values_list("ai", flat=True)) == {"default"}


def migrate(name: str | None = None) -> None:
    """To this migration, or to the last."""
    executor = MigrationExecutor(connection)
    executor.migrate([("scans", name)] if name else executor.loader.graph.leaf_nodes("scans"))
