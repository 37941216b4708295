"""Ten workers on three hosts together send no more than the probe rate, nor than the rate of a network (one_budget.py)."""

from __future__ import annotations

import pytest

from scans.core.probe.grants import LAPSE_SECONDS
from scans.core.probe.network_grants import FREE_SECONDS
from scans.services.lines import BURST_SECONDS, HORIZON_SECONDS, MOST_SECONDS
from tests.chaos import one_budget
from tests.chaos.figures import record
from tests.chaos.hosts import run_apart

pytestmark = pytest.mark.sqlite  # brings its own Postgres

# What workers that stand still for a moment may send late, and then at once: of the rate what has not lapsed, of that of a
# network all that can be granted ahead.
LATE_SECONDS = BURST_SECONDS + MOST_SECONDS + LAPSE_SECONDS
NETWORK_LATE_SECONDS = BURST_SECONDS + MOST_SECONDS + HORIZON_SECONDS


@pytest.mark.timeout(3000)
@pytest.mark.usefixtures("alone")
def test_ten_workers_on_three_hosts_keep_to_one_rate_and_to_that_of_a_network_in_every_stretch_of_time(tmp_path):
    found = run_apart("tests.chaos.one_budget", tmp_path)
    assert found["not_once"] == []
    large, small = len(one_budget.LARGE), sum(map(len, one_budget.SMALL))
    assert found["states"] == [["large", "cancelled", 0, large], ["small", "done", 1, small]]
    assert all(found["workers"][name] >= workers for name, workers in one_budget.WORKERS.items())
    assert min(found["of_host"].values()) > 0
    assert found["connections"] >= one_budget.RATE * one_budget.SECONDS
    assert found["beyond_s"] <= LATE_SECONDS
    assert found["networks_beyond_s"] <= NETWORK_LATE_SECONDS + FREE_SECONDS * found["slices"]
    record(
        "Ten workers on three hosts, one rate", "Postgres", connections=found["connections"], seconds=found["seconds"],
        of_each_host=", ".join(f"{n:,}" for n in found["of_host"].values()), lost=0, twice=0,
        most_beyond_the_rate_s=found["beyond_s"], most_beyond_that_of_a_network_s=found["networks_beyond_s"],
    )  # fmt: skip


def test_the_fullest_stretch_is_found_wherever_it_is():
    evenly = [n / 10 for n in range(100)]
    assert one_budget.most_beyond(evenly, 10) == pytest.approx(0.1)
    assert one_budget.most_beyond(sorted([*evenly, *[5.05] * 20]), 10) == pytest.approx(2.05, abs=0.06)
    assert one_budget.most_beyond([n / 20 for n in range(100)], 10) == pytest.approx(5, abs=0.1)
