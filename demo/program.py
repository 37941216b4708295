"""`manage.py up` as a child: settings of its own, a directory that does not stay, and never longer than the demo.

However the demo ends, SIGKILL included: the kernel then kills the supervisor, and with it all that it started
(scans/supervisor/launch.py), and `sweep` removes the directory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from demo.scenery import PUBLIC

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "scans" / "supervisor" / "launch.py"
SWEEP = Path(__file__).with_name("sweep.py")
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONWARNINGS", "LOG_LEVEL", "HOST", "PORT")
STOP_SECONDS = 15  # the supervisor kills after 12
SWEEP_SECONDS = 120
LOGIN = re.compile(r"(\S+), password (\S+)")


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, even if nothing of this process is left to see to it."""
    directory = Path(tempfile.mkdtemp(prefix="ipscanner-demo-"))
    command = [sys.executable, "-I", "-S", str(SWEEP), str(directory)]
    sweep = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield directory
    finally:
        sweep.communicate(timeout=SWEEP_SECONDS)


def environment(directory: Path, *, ip_api: str, rdap: str, gemini: str) -> dict[str, str]:
    """Nothing of the operator's but what says where and how: no database, no key and no proxy of theirs is used."""
    return {
        "LOG_LEVEL": "WARNING",
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "PROFILE": "local",
        "DATA_DIR": str(directory / "data"),
        "SCAN_TREAT_AS_GLOBAL": PUBLIC,
        "INTEL_SOURCES": "ip-api,rdap",
        "INTEL_IP_API_URL": ip_api,
        "INTEL_RDAP_URL": rdap,
        "GEMINI_API_KEY": "demo",
        "GEMINI_BASE_URL": gemini,
    }


class Program:
    """The running program; `login` is known once it has started."""

    def __init__(self, env: Mapping[str, str]) -> None:
        """Only from the main thread: the kernel takes the end of the thread that forked for the parent's."""
        shim = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), "0"]
        command = [*shim, sys.executable, str(ROOT / "manage.py"), "up"]
        self.login: tuple[str, str] | None = None  # name and password of the administrator
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        """Ask it to stop, and see that it does."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def _read(self) -> None:
        """Take the password out of what it prints; the rest of that is for those who started it themselves."""
        for line in self._process.stdout or ():
            if found := LOGIN.search(line):
                self.login = (found[1], found[2])
