"""Door for workers: called by name from the queue, each calls one service and nothing else."""

from __future__ import annotations

from scans.services import slices, summaries


def run_slice() -> int:
    """Work off targets for some seconds. Returns how many were finished."""
    return slices.run_slice()


def run_summaries() -> int:
    """Ask the model about targets that wait for its words. Returns how many were finished."""
    return summaries.run_summaries()
