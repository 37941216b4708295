"""What a program and everything below it takes: memory at its peak, bytes written, and queries."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

QUERIES = struct.Struct("qq")  # queries and statements, as bench/counted.py keeps them


def tree(pid: int) -> Iterator[int]:
    """The process and all its descendants."""
    yield pid
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from tree(int(child))


def forget_peaks(pid: int) -> None:
    """Let the peaks count from now on."""
    for one in tree(pid):
        with suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5")


def peak_megabytes(pid: int) -> float:
    """The sum of all peaks: pages that processes share count more than once, so it is too high rather than too low."""
    return sum(_field(one, "status", "VmHWM:") for one in tree(pid)) / 1024


def written_bytes(pid: int) -> float:
    """What they have asked the kernel to write so far, files and terminals, not sockets."""
    return sum(_field(one, "io", "write_bytes:") for one in tree(pid))


def queries(directory: Path, programs: str) -> tuple[int, int]:
    """Queries and statements so far, ended processes as well: of the web server's (`web`), or all others (`work`)."""
    found = [QUERIES.unpack(path.read_bytes()) for path in directory.glob(f"{programs}-*") if path.stat().st_size]
    return sum(one for one, _ in found), sum(many for _, many in found)


def _field(pid: int, file: str, name: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return float(line.split()[1])
    return 0.0
