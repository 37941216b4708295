"""One run of one scanner: wall time from its start to its end, CPU time, memory at its peak, and how right it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.lab import network
from bench.lab.truth import Workload, ports_of
from bench.probe.peers import EVERYONE, Peer
from bench.probe.score import score
from bench.processes import peak_megabytes

LOOK_SECONDS = 0.05
STOPPED = (124, 137)  # by `timeout`: told to, and killed


def compile_all() -> None:
    """Compile what ours imports, as an installation has it: without, each run would, for a fifth of a second."""
    subprocess.run(
        [sys.executable, "-m", "scans.core", "--help"], stdout=subprocess.DEVNULL, cwd=network.ROOT, env=_environment()
    )


def measure(tool: str, cell: str, workload: Workload, *, limit_seconds: int) -> dict[str, Any]:
    """Run it where the scanner stands; one that takes too long is interrupted and scored as it stands."""
    peer = EVERYONE[tool]
    with tempfile.TemporaryDirectory(dir=network.STATE) as directory:
        out = Path(directory) / "out"
        wall, cpu, peak, code = _run(peer, workload, out, limit_seconds)
        try:
            found, note = peer.read(out, workload), ""
        except (OSError, ValueError, SyntaxError) as error:
            found, note = {}, f"no result: {error}"
    pairs = len(ports_of(workload["ports"])) * len(workload["hosts"])
    figures = {
        "wall": round(wall, 3),
        "cpu": round(cpu, 3),
        "megabytes": round(peak, 1),
        "pairs_per_second": round(pairs / wall),
    }
    return {"cell": cell, "tool": tool, **figures, **score(found, workload), "is_stopped": code in STOPPED, "note": note}


def _run(peer: Peer, workload: Workload, out: Path, limit_seconds: int) -> tuple[float, float, float, int]:
    command = network.inside_command("timeout", "-s", "INT", "-k", 3, limit_seconds, *peer.command(workload, out))
    with _heartbeat(peer), (out if peer.prints else Path(os.devnull)).open("w") as printed:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.DEVNULL,
            cwd=network.ROOT,
            env=_environment(),
        )
        peaks, ended = [0.0], threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watch.join()
    return wall, used.ru_utime + used.ru_stime, max(peaks), process.returncode


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(network.STATE / "compiled")}


def _watch(pid: int, peaks: list[float], ended: threading.Event) -> None:
    """Looked at from outside: what wait4() calls the peak begins with that of the process that forked."""
    while not ended.wait(LOOK_SECONDS):
        peaks.append(peak_megabytes(pid))


@contextmanager
def _heartbeat(peer: Peer) -> Iterator[None]:
    """A trickle of UDP to the scanner: libpcap hands on what it caught only while more arrives, and masscan waits for it."""
    if not peer.needs_heartbeat:
        yield
        return
    beat = subprocess.Popen(
        network.inside_command(sys.executable, "-m", "bench.probe.heartbeat", where=network.THERE), cwd=network.ROOT
    )
    try:
        yield
    finally:
        beat.terminate()
        beat.wait()
