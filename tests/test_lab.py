"""The lab of the benchmarks, which root builds; here only what can be said without building it."""

from __future__ import annotations

from bench.lab import network


def test_what_root_believes_of_the_lab_stands_where_only_root_may_write():
    assert not network.STATE.parent.stat().st_mode & 0o022
