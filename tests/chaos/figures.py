"""Figures of the chaos tests: each test says what it measured, and `make chaos` writes them to docs/reliability.md.

CHAOS_FIGURES=FILE pytest tests/chaos     # adds a line of JSON for each figure
python -m tests.chaos.figures FILE        # writes the page
"""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: written by `make chaos` -->", "<!-- end of figures -->"


def record(test: str, database: str, **figures: object) -> None:
    """One line of the table."""
    print(f"{test} ({database}): {_words(figures)}")
    if path := os.environ.get("CHAOS_FIGURES"):
        with Path(path).open("a") as file:
            day = f"{datetime.now(UTC):%Y-%m-%d}"
            file.write(json.dumps({"test": test, "database": database, "day": day, "figures": figures}) + "\n")


def _words(figures: dict[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in figures.items())


def _number(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def write_page(lines: list[str]) -> None:
    """Put the table between the markers; what was not measured this time stays, with its day."""
    text = PAGE.read_text()
    _, _, tail = text.partition(BEGIN)
    old, _, _ = tail.partition(END)
    rows = {match[1]: match[0] for match in re.finditer(r"^\| ((?!Test|---)[^|]+\|[^|]+)\|.*$", old, re.MULTILINE)}
    for line in lines:
        found = json.loads(line)
        name = f"{found['test']} | {found['database']} "
        rows[name] = f"| {name}| {found['day']} | {_words(found['figures'])} |"
    table = ["| Test | Database | Day | Measured |", "| --- | --- | --- | --- |", *rows.values()]
    body = "\n".join([BEGIN, "", *table, "", END])
    PAGE.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: body, text, flags=re.DOTALL))


if __name__ == "__main__":
    write_page(Path(sys.argv[1]).read_text().splitlines())
