"""What is printed: a line for each run, and a table of medians for docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.probe.peers import OURS
from bench.probe.score import KINDS

COLUMNS = ("cell", "tool", "runs", "wall s", "x ours", "best s", "CPU s", "MB", "open missed", "false open")
COLUMNS += ("closed called filtered", "filtered called closed", "not reported")

Row = dict[str, Any]


def line(row: Row) -> str:
    """One run."""
    wrong = "  ".join(f"{kind} {row[kind]}" for kind in KINDS if row[kind]) or "all right"
    state = " STOPPED" if row["is_stopped"] else ""
    return (
        f"{row['cell']:12} {row['tool']:14} wall {row['wall']:6.2f}  cpu {row['cpu']:6.2f}  {row['megabytes']:5.1f} MB  "
        f"{wrong}{state} {row['note']}"
    )


def summary(rows: Sequence[Row], tools: Sequence[str]) -> str:
    """Markdown: for each cell and tool the medians, its wall time as a multiple of ours, and its best."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---'] * len(COLUMNS))} |"]
    for cell in dict.fromkeys(row["cell"] for row in rows):
        ours = _median(rows, cell, OURS, "wall")
        for tool in tools:
            if of_tool := [row for row in rows if (row["cell"], row["tool"]) == (cell, tool)]:
                lines.append(_summary_line(of_tool, ours))
    return "\n".join(lines)


def _summary_line(rows: Sequence[Row], ours: float) -> str:
    cell, tool = rows[0]["cell"], rows[0]["tool"]
    wall = _median(rows, cell, tool, "wall")
    more = ">" if any(row["is_stopped"] for row in rows) else ""
    cells: list[object] = [cell, tool, len(rows), f"{more}{wall:.2f}", f"{more}{wall / ours:.2f}"]
    cells += [f"{min(row['wall'] for row in rows):.2f}", f"{_median(rows, cell, tool, 'cpu'):.2f}"]
    cells.append(f"{_median(rows, cell, tool, 'megabytes'):.0f}")
    cells.append(f"{_sum(rows, 'missed')} of {_sum(rows, 'true_open')}")
    cells += [_sum(rows, "false_open"), f"{_sum(rows, 'closed_as_filtered')} of {_sum(rows, 'true_closed')}"]
    cells += [_sum(rows, "filtered_as_closed"), _sum(rows, "unsaid")]
    return f"| {' | '.join(map(str, cells))} |"


def _median(rows: Sequence[Row], cell: str, tool: str, name: str) -> float:
    return statistics.median([row[name] for row in rows if (row["cell"], row["tool"]) == (cell, tool)] or [float("nan")])


def _sum(rows: Sequence[Row], name: str) -> int:
    return sum(row[name] for row in rows)
