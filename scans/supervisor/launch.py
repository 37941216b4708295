"""Becomes a command that the kernel kills when the supervisor ends: launch.py PID-OF-THE-SUPERVISOR COMMAND...

A program and not a function that runs between fork and exec: the supervisor has threads, and in the copy of a process
with threads nothing but exec is safe. It runs without our packages and takes some hundredths of a second.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; it outlives exec

supervisor, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(supervisor):  # it ended before the line above
    sys.exit(1)
os.execv(command[0], command)  # noqa: S606 - the command is ours
