"""Becomes a command that the kernel kills when the supervisor ends: launch.py PID-OF-THE-SUPERVISOR NICER COMMAND...

NICER is by how much others go first when processors are scarce: 0 to 19, as in nice(1).

A program and not a function that runs between fork and exec: the supervisor has threads, and in the copy of a process
with threads nothing but exec is safe. It runs without our packages and takes some hundredths of a second.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h; it outlives exec


def be_nicer_as_a_session(nicer: int) -> None:
    """Where the kernel shares the processors among sessions first (autogroup, sched(7)), nice(1) counts only within ours."""
    for _ in range(5):  # who is not root may change one in 0.1 s, of all on the machine
        try:
            with open("/proc/self/autogroup", "w") as file:  # noqa: PTH123 - few imports, every start waits for them
                file.write(str(nicer))
        except BlockingIOError:
            time.sleep(0.1)
        except OSError:  # there is no such thing here, or it is not to be changed
            return
        else:
            return


supervisor, nicer, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(supervisor):  # it ended before the line above
    sys.exit(1)
os.nice(int(nicer))
if int(nicer):
    be_nicer_as_a_session(int(nicer))
os.execv(command[0], command)  # noqa: S606 - the command is ours
