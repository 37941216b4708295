"""The lab by hand: `python -m bench.lab`."""

from __future__ import annotations

import argparse
import json
import os

from bench.lab import network, truth


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lab", description="A private test internet in network namespaces")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("up", "build it anew"), ("profile", "switch the path")):
        command = commands.add_parser(name, help=text)
        command.add_argument("profile", choices=network.PROFILES, nargs="?" if name == "up" else None, default="lan")
        if name == "up":
            command.add_argument("--seed", type=int, default=truth.DEFAULT_SEED)
    commands.add_parser("truth", help="print the truth table")
    commands.add_parser("wire", help="print the wire's counters and start them afresh")
    commands.add_parser("down", help="leave no trace")
    commands.add_parser("exec", help="run a command where the scanner stands").add_argument("argv", nargs=argparse.REMAINDER)
    act(parser.parse_args())


def act(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            for name, workload in network.up(arguments.profile, seed=arguments.seed).items():
                count = sum(len(host["open"]) for host in workload["hosts"].values())
                print(f"{name:5} {workload['targets']:16} {len(workload['hosts']):6} hosts, {count} open ports")
        case "profile":
            network.use(arguments.profile)
        case "truth":
            print((network.STATE / "truth.json").read_text())
        case "wire":
            print(json.dumps(network.wire_counters()))
        case "down":
            network.down()
        case "exec":
            command = network.inside_command(*arguments.argv)
            os.execvp(command[0], command)


if __name__ == "__main__":
    main()
