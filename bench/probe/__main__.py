"""The comparison by hand: `python -m bench.probe`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

from bench.lab import network, truth
from bench.probe import floor, tables
from bench.probe.peers import OURS, PEERS
from bench.probe.runs import compile_all, measure

CELLS = "lan:w1,wan40:w1,lossy80:w1,lan:w2,wan40:w2,lossy80:w2,lan:w3,lan:w4,lossy80:w6,lan:w7"


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.peers == "all":
        arguments.peers = ",".join(PEERS)
    if unknown := {*filter(None, arguments.peers.split(","))} - PEERS.keys():
        sys.exit(f"No such peer: {', '.join(unknown)}. There are {', '.join(PEERS)}.")
    workloads = network.standing() if arguments.standing else network.up("lan", seed=arguments.seed)
    try:
        if arguments.floor:
            floor.compare(workloads["w1"], rounds=arguments.rounds)
        else:
            compare(arguments, workloads)
    finally:
        if not arguments.standing:
            network.down()


def compare(arguments: argparse.Namespace, workloads: dict[str, truth.Workload]) -> None:
    """Run cell after cell, the tools of each in a new order every round, and print as it goes."""
    tools = [OURS, *filter(None, arguments.peers.split(","))]
    rows, stops_at = [], time.monotonic() + arguments.budget
    compile_all()
    for cell in arguments.cells.split(","):
        profile, _, name = cell.partition(":")
        network.use(profile)
        for _ in range(arguments.rounds):
            for tool in random.sample(tools, len(tools)):
                if time.monotonic() < stops_at:
                    row = measure(tool, cell, workloads[name], limit_seconds=arguments.limit)
                    rows.append(row)
                    print(tables.line(row), flush=True)
                    _append(arguments.out, row)
    print(tables.summary(rows, tools))


def _append(file: Path | None, row: tables.Row) -> None:
    if file:
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.probe", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", default=CELLS, help="PROFILE:WORKLOAD,… of bench.lab")
    parser.add_argument("--peers", default="nmap-sT-tuned,masscan-20k", help=f"all, or some of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60, help="seconds for one run, which is then scored as it stands")
    parser.add_argument("--budget", type=int, default=3600, help="seconds after which no new run starts")
    parser.add_argument("--seed", type=int, default=truth.DEFAULT_SEED, help="another seed draws another lab")
    parser.add_argument("--standing", action="store_true", help="use the lab that is up, and leave it")
    parser.add_argument("--floor", action="store_true", help="compare the loop with the same system calls made from C")
    parser.add_argument("--out", type=Path, help="append every run to this file, as JSON lines")
    return parser


if __name__ == "__main__":
    main()
