"""What the loop itself costs: the engine against `floor.c`, which makes the same system calls and thinks of nothing.

    python -m bench.probe.floor ADDRESS PORTS        # one run of the engine; prints CPU seconds

Both probe every port of one host on a cable, with as much in flight. Only CPU time is compared: the time that the kernel
and the host need for a connection is in it, because on a cable between namespaces the one who sends does all the work.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

from bench.lab import network
from bench.lab.truth import Workload, ports_of
from scans.core.options import ProbeOptions
from scans.core.probe import HostPlan, ProbeEngine

IN_FLIGHT, WAIT_MS = 2000, 200


def compare(workload: Workload, *, rounds: int) -> None:
    """Print the CPU seconds of both, round by round, and the ratio of the medians."""
    network.use("lan")
    program = network.STATE / "floor"
    network.run("gcc", "-O2", "-o", program, Path(__file__).with_name("floor.c"))
    [address] = workload["hosts"]
    first, last = min(ports_of(workload["ports"])), max(ports_of(workload["ports"]))
    c = [program, address, first, last, IN_FLIGHT, WAIT_MS]
    ours = [sys.executable, "-m", "bench.probe.floor", address, workload["ports"]]
    floors, engines = [], []
    for _ in range(rounds):
        floors.append(_cpu_seconds(c))
        engines.append(float(network.run(*ours, inside=network.HERE)))
        print(f"C {floors[-1]:.2f} s of CPU   engine {engines[-1]:.2f} s of CPU", flush=True)
    print(f"The engine costs {statistics.median(engines) / statistics.median(floors):.2f} times the floor.")


def _cpu_seconds(command: list[object]) -> float:
    process = subprocess.Popen(network.inside_command(*command), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"floor ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The engine alone: no start of the interpreter, no report."""
    address, ports = sys.argv[1:]
    options = ProbeOptions(rate_per_second=0, max_inflight=IN_FLIGHT, per_host=IN_FLIGHT, attempts=1)
    engine = ProbeEngine(options, may_connect=lambda _: True)
    engine.submit(HostPlan(key=address, address=ip_address(address), ports=tuple(ports_of(ports)), is_paced=False))
    engine.finish()
    began = time.process_time()
    for _ in engine.run():
        pass
    print(time.process_time() - began)


if __name__ == "__main__":
    main()
