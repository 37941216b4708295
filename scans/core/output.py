"""Results on a terminal or in a pipe: table, NDJSON, JSON, CSV. Each writer takes wire results as they become ready.

Shared by the bare scanner and `manage.py scan`; each result carries its place in the submission as `ordinal`.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

CSV_FIELDS = ("target", "ip_address", "outcome", "risk_level", "risk_score", "open_ports", "risk_summary")
MAX_SHOWN_PORTS = 30
Result = Mapping[str, Any]
Writer = Callable[[Iterable[Result]], None]


def _write_table(results: Iterable[Result]) -> None:
    for result in results:
        tests = {test["port"]: test["service"] for test in result["accessibility_tests"]}
        shown = " ".join(f"{port}/{tests.get(port, 'unknown')}" for port in result["open_ports"][:MAX_SHOWN_PORTS])
        more = (
            f" and {len(result['open_ports']) - MAX_SHOWN_PORTS} more" if len(result["open_ports"]) > MAX_SHOWN_PORTS else ""
        )
        address = "" if result["ip_address"] == result["target"] else f" ({result['ip_address']})"
        print(f"{result['target']}{address}  {result['risk_level']}  {shown or 'no open port'}{more}")
        print(f"    {result['risk_summary']}", flush=True)


def _write_ndjson(results: Iterable[Result]) -> None:
    for result in results:
        print(json.dumps(result, ensure_ascii=False), flush=True)


def _write_json(results: Iterable[Result]) -> None:
    print(json.dumps(sorted(results, key=lambda result: result["ordinal"]), ensure_ascii=False, indent=1))


def _write_csv(results: Iterable[Result]) -> None:
    writer = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL)
    writer.writerow(CSV_FIELDS)
    for result in results:
        cells = {**result, "open_ports": " ".join(map(str, result["open_ports"]))}
        writer.writerow([inert(str(cells[name])) for name in CSV_FIELDS])


def inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (ASVS 5.0, 1.2.10)."""
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\0")) else cell


WRITERS: dict[str, Writer] = {"table": _write_table, "ndjson": _write_ndjson, "json": _write_json, "csv": _write_csv}
