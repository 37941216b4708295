"""A database and a place of its own for each test; one stack at a time on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.chaos import ledger as ledgers
from tests.stack import Stack, becomes, free_port, one_at_a_time


@pytest.fixture
def ledger(tmp_path):
    """An empty database with counting triggers to come."""
    with ledgers.ledger(tmp_path) as found:
        yield found


@pytest.fixture
def alone():
    """Others that start stacks wait their turn: two cores carry one."""
    with one_at_a_time():
        yield


@pytest.fixture
def start(tmp_path, ledger):
    """Starts a stack on the test's database, again and again on the same port; kills what a failed test leaves."""
    stacks: list[Stack] = []
    port = str(free_port())

    def start_one(*, within: Sequence[str] = (), **changes: str) -> Stack:
        env = {"PORT": port, **ledger.environment, **changes}
        stacks.append(Stack(tmp_path / "data", within=within, **env))
        assert becomes(stacks[-1].is_ready), stacks[-1].text()
        return stacks[-1]

    yield start_one
    for stack in stacks:
        stack.kill()


@pytest.fixture
def is_postgres():
    return os.environ.get("DATABASE_URL", "").startswith("postgres")
