"""The bare scanner: `python -m scans.core TARGET…`, without Django or a database, for scripts and benchmarks.

Results go to stdout, everything else to stderr. Exit codes: 0 every target was scanned, 2 some could not be (bad input,
a name without address, out of scope), 130 interrupted. Options of the environment (docs/configuration.md) hold here too.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from scans.core import pipeline, wire
from scans.core.options import IntelOptions, OptionError, Options
from scans.core.output import WRITERS
from scans.core.pipeline import Interrupted, Item
from scans.core.ports import PROFILES, PortError, parse_ports
from scans.core.risk import RuleError, pack_of
from scans.core.targets import fold, read_items, split_lines
from scans.core.tools import Tools
from scans.core.types import IPNetwork, Outcome, Report, Target

MAX_TARGETS = 1 << 20
MAX_FILE_CHARS = 64 << 20
OK, NOT_EVALUATED, INTERRUPTED = 0, 2, 130
# The probe thread lets go of the interpreter at every system call, and while reports are made waits so long to have it back.
SWITCH_SECONDS = 0.001


def main(argv: Sequence[str] | None = None) -> int:
    """Scan and print. Returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        options = _options(args)
        pack_of(options.risk.rules_file)
        _check_sources(options.intel)
        ports = parse_ports(args.ports)
        targets = _targets(args)
    except (OptionError, PortError, OSError, _UsageError) as error:
        print(error, file=sys.stderr)
        return NOT_EVALUATED
    except RuleError as error:
        print(f"RISK_RULES: {error}", file=sys.stderr)
        return NOT_EVALUATED
    tools = Tools(options=options)
    sys.setswitchinterval(SWITCH_SECONDS)
    signal.signal(signal.SIGINT, lambda *_: tools.stop.set())
    items = (Item(key=ordinal, target=target, ports=ports) for ordinal, target in enumerate(targets))
    outcomes: list[Outcome] = []
    scanned = pipeline.scan(items, tools, sources=() if args.probe_only else None)
    try:
        WRITERS[args.format](_results(scanned, outcomes))
    except BrokenPipeError:  # `… | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains once more at exit
        return INTERRUPTED
    if tools.stop.is_set():
        return INTERRUPTED
    return OK if all(outcome is Outcome.DONE for outcome in outcomes) else NOT_EVALUATED


class _UsageError(Exception):
    """What is wrong with the command line, in words."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scans.core", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="address, CIDR, range a-b, host name or URL")
    parser.add_argument("-l", "--list", metavar="FILE", help="read targets from a file, - for standard input")
    parser.add_argument("--ports", default="default", help=f'"22,80,8000-8100" or one of: {", ".join(PROFILES)}')
    parser.add_argument("--probe-only", action="store_true", help="ask no intelligence source and no open port what it is")
    parser.add_argument("--allow", action="append", default=[], metavar="CIDR", help="take this network into scope")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help="new connections a second to global addresses, 0: no limit. Unless it is 0, PROBE_NETWORK_RATE of the "
        "environment (1,000) still holds for those to one /24, or /48 of IPv6; PROBE_NETWORK_RATE=0 lifts that limit",
    )
    parser.add_argument("--per-host", type=int, metavar="N", help="probes in flight to one host, 0: no limit of its own")
    parser.add_argument("--max-inflight", type=int, metavar="N", help="probes in flight in all, 0: no limit of its own")
    parser.add_argument("--format", choices=list(WRITERS), default="table")
    return parser


def _options(args: argparse.Namespace) -> Options:
    options = Options.from_env(os.environ)
    given = {"rate_per_second": args.rate, "per_host": args.per_host, "max_inflight": args.max_inflight}
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get("rate_per_second") == 0:
        chosen["network_per_second"] = 0  # who wants no limit means that one, too
    if bad := [name for name, value in chosen.items() if not 0 <= value < 1e9]:
        raise _UsageError(f"{bad[0]} must be 0 (no limit) or more.")
    allow = (*options.scope.allow, *(_network(text) for text in args.allow))
    return replace(
        options,
        probe=replace(options.probe, **chosen),
        scope=replace(options.scope, allow=allow),
        fingerprint=replace(options.fingerprint, is_on=options.fingerprint.is_on and not args.probe_only),
    )


def _check_sources(options: IntelOptions) -> None:
    """Refuse what is set for a source that there is not. Only then the sources are imported, for that takes its time."""
    usual = IntelOptions()
    if (options.sources, options.keys, options.urls) != (usual.sources, usual.keys, usual.urls):
        from scans.core.intel import check_choice
        from scans.core.vulnerabilities import ALL_SOURCES, FEEDS

        check_choice(options, ALL_SOURCES, FEEDS)


def _network(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise _UsageError(f"--allow: {error}") from error


def _targets(args: argparse.Namespace) -> list[Target]:
    """All targets, or every bad one by name."""
    items = [*args.targets, *split_lines(_file_text(args.list) if args.list else "")]
    if not items:
        raise _UsageError("Name at least one target, or a file with -l.")
    targets, rejected = read_items(items, limit=MAX_TARGETS)
    if rejected:
        raise _UsageError("\n".join(f"target {r.index + 1}: {r.reason}" for r in rejected))
    return fold(targets)[0]


def _file_text(name: str) -> str:
    with nullcontext(sys.stdin) if name == "-" else Path(name).open(encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_FILE_CHARS + 1)
    if len(text) > MAX_FILE_CHARS:
        raise _UsageError(f"{name} holds more than {MAX_FILE_CHARS:,} characters: split it.")
    return text


def _results(scanned: Iterable[tuple[object, Report | Interrupted]], outcomes: list[Outcome]) -> Iterator[dict[str, Any]]:
    """Wire results as they are ready, each with its place under `ordinal`; what was interrupted is left out."""
    for key, report in scanned:
        if isinstance(report, Report):
            outcomes.append(report.outcome)
            evidence, verdict = wire.evidence_dict(report), wire.verdict_dict(report.verdict)
            yield {"ordinal": key, **wire.wire_result(evidence, verdict, wire.summary_dict(report.summary))}


if __name__ == "__main__":
    sys.exit(main())
