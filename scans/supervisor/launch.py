"""Becomes a command that the kernel kills when the supervisor ends: launch.py PID-OF-THE-SUPERVISOR NICER COMMAND...

NICER is by how much others go first when processors are scarce: 0 to 19, as in nice(1).

A program and not a function that runs between fork and exec: the supervisor has threads, and in the copy of a process
with threads nothing but exec is safe. It runs without our packages and takes some hundredths of a second.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; it outlives exec

supervisor, nicer, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(supervisor):  # it ended before the line above
    sys.exit(1)
os.nice(int(nicer))
os.execv(command[0], command)  # noqa: S606 - the command is ours
