"""Removes the demo's directory when the demo ends, in whatever way: its standard input is a pipe that closes then.

sweep.py DIRECTORY. It waits a little for programs that are being killed and may still write.
"""

import shutil
import signal
import sys
import time
from pathlib import Path

ATTEMPTS = 20
PAUSE_SECONDS = 0.25

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
sys.stdin.buffer.read()
directory = Path(sys.argv[1])
for _ in range(ATTEMPTS):
    shutil.rmtree(directory, ignore_errors=True)
    time.sleep(PAUSE_SECONDS)
    if not directory.exists():
        break
