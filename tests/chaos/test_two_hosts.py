"""Two worker hosts on one Postgres, each in a network namespace, and the cable of one is pulled out in mid-job."""

from __future__ import annotations

import pytest

from tests.chaos.figures import record
from tests.chaos.hosts import run_apart

pytestmark = [pytest.mark.sqlite, pytest.mark.timeout(3000), pytest.mark.usefixtures("alone")]  # brings its own Postgres


def test_a_host_that_is_cut_off_loses_nothing_and_doubles_nothing_and_the_other_takes_over(tmp_path):
    found = run_apart("tests.chaos.two_hosts", tmp_path)
    assert found["not_once"] == []
    assert found["states"] == {"done": found["targets"]}
    assert found["cut_off"] > 0
    figures = {"targets": found["targets"], "cut_off": found["cut_off"], "lost": 0, "twice": 0}
    record("Two hosts, one cut off for 25 s", "Postgres", **figures, taken_over_after_s=found["taken_over_s"])
