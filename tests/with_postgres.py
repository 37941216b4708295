"""Run a command with DATABASE_URL naming a throw-away Postgres on 127.0.0.1: `with_postgres.py -- pytest …`.

Exits as the command does; 0 with one line if this machine has no Postgres, 1 then with REQUIRE_ALL=1.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SETTINGS = (
    "-c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60"
)


def main(command: Sequence[str]) -> int:
    """Start, run, stop."""
    tools = postgres_bin()
    if tools is None:
        print("skipped: the tests on Postgres (no initdb found; on Debian: apt install postgresql)")
        return 1 if os.environ.get("REQUIRE_ALL") == "1" else 0
    with server(tools) as url:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


def postgres_bin() -> Path | None:
    """The newest installation's programs."""
    on_path = shutil.which("initdb")
    found = [on_path] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    return Path(found[-1]).parent if found else None


@contextmanager
def server(tools: Path) -> Iterator[str]:
    """A fresh server in a directory of its own. It refuses to run as root, so root lends it to the user postgres."""
    with tempfile.TemporaryDirectory(prefix="ipscanner-pg-") as directory:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        data = f"{directory}/data"
        control(tools, "initdb", "-D", data, "-U", "scanner", "-A", "trust", "-E", "UTF8", "--no-sync", cwd=directory)
        port = free_port()
        options = f"{SETTINGS} -p {port} -k {directory}"
        control(tools, "pg_ctl", "-D", data, "-w", "-o", options, "-l", f"{directory}/log", "start", cwd=directory)
        try:
            yield f"postgres://scanner@127.0.0.1:{port}/postgres"
        finally:
            control(tools, "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop", cwd=directory)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def control(tools: Path, program: str, *arguments: str, cwd: str) -> None:
    """Run one of Postgres' programs, as a user it accepts."""
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    command = [str(tools / program), *arguments]
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240, **user
    )
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stdout}")


if __name__ == "__main__":
    sys.exit(main([argument for argument in sys.argv[1:] if argument != "--"]))
