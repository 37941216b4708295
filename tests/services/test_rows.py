"""Many rows made or changed at once: each gets its own values, of every type that a result has; no other is touched."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.db import transaction

from scans.models import TargetResult
from scans.services.rows import Insert, update_rows
from tests.factories import make_job

pytestmark = pytest.mark.django_db


def test_each_row_gets_its_own_values():
    rows = list(make_job("127.0.0.1", "127.0.0.2", "127.0.0.3").targets.order_by("ordinal"))
    lease, now = uuid.uuid4(), datetime(2026, 11, 24, 9, 14, 2, 345678, tzinfo=UTC)
    changes = {
        rows[0].pk: {
            "state": "leased",
            "lease": lease,
            "lease_until": now,
            "partial": {"a": ["ü", None]},
            "ip_address": "::1",
            "attempts": 2,
        },
        rows[1].pk: {
            "state": "pending",
            "lease": None,
            "lease_until": None,
            "partial": None,
            "ip_address": None,
            "attempts": 0,
        },
    }
    with transaction.atomic():
        update_rows(TargetResult, changes)
    for key, columns in changes.items():
        row = TargetResult.objects.get(pk=key)
        assert {name: getattr(row, name) for name in columns} == columns
    assert TargetResult.objects.filter(partial__isnull=True).count() == 2  # SQL's NULL, not JSON's
    untouched = TargetResult.objects.get(pk=rows[2].pk)
    assert (untouched.lease, untouched.attempts) == (rows[2].lease, rows[2].attempts)


def test_rows_made_at_once_are_as_if_saved_one_by_one():
    job = make_job("127.0.0.1")
    saved = job.targets.get()
    named = {name: getattr(saved, name) for name in ("spec", "target", "host")}
    Insert(TargetResult, [named | {"ordinal": n, "key": f"key-{n}"} for n in (1, 2)]).write(job_id=job.pk)
    made = list(job.targets.filter(ordinal__gte=1).order_by("ordinal"))
    assert [row.key for row in made] == ["key-1", "key-2"]
    for field in TargetResult._meta.concrete_fields:
        if field.attname not in ("id", "ordinal", "key"):
            assert getattr(made[1], field.attname) == getattr(saved, field.attname), field.attname
    assert TargetResult.objects.filter(evidence__isnull=True).count() == 3  # SQL's NULL, not JSON's


def test_more_rows_than_fit_into_a_statement_are_made_in_their_order(django_assert_max_num_queries):
    job = make_job("127.0.0.1")
    saved = job.targets.get()
    named = {name: getattr(saved, name) for name in ("spec", "target", "host")}
    rows = Insert(TargetResult, [named | {"ordinal": n, "key": f"key-{n}"} for n in range(1, 1204)])
    with django_assert_max_num_queries(14):
        rows.write(job_id=job.pk)
    made = list(job.targets.filter(ordinal__gte=1).order_by("pk").values_list("ordinal", "key"))
    assert made == [(n, f"key-{n}") for n in range(1, 1204)]


def test_nothing_to_change_asks_the_database_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        update_rows(TargetResult, {})
        Insert(TargetResult, []).write(job_id=1)


def test_a_row_that_is_gone_is_an_error_and_changes_nothing():
    row = make_job("127.0.0.1").targets.get()
    with pytest.raises(LookupError, match="1 of 2 rows"), transaction.atomic():
        update_rows(TargetResult, {row.pk: {"attempts": 3}, row.pk + 1: {"attempts": 3}})
    row.refresh_from_db()
    assert row.attempts == 0
