"""The table of a comparison has every mistake in it that is scored."""

from __future__ import annotations

from bench.probe import tables
from bench.probe.score import KINDS, score


def test_ports_that_were_not_reported_stand_in_the_table():
    workload = {"ports": "1-4", "hosts": {"192.0.2.1": {"default": "closed", "open": [1], "filtered": [2], "unreach": []}}}
    counted = score({"192.0.2.1": {1: "open", 3: "closed"}}, workload)
    assert {kind: counted[kind] for kind in KINDS if counted[kind]} == {"unsaid": 2}
    run = {"cell": "lan:w1", "tool": "ours", "wall": 1.0, "cpu": 0.5, "megabytes": 9.0, "is_stopped": False, "note": ""}
    head, _, row = tables.summary([run | counted, run | counted], ["ours"]).splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells["not reported"] == "4"
    assert (cells["open missed"], cells["false open"]) == ("0 of 2", "0")
