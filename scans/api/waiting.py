"""Long polls: an answer as soon as a job changes, without the waiters taking the server's threads from everyone else.

gunicorn has eight threads a process (ipscanner/gunicorn_conf.py), and a waiting request holds one. So at most half of them
wait; whoever comes then is answered at once and asks again by `Retry-After`. A waiter asks for one number by primary
key every quarter of a second, outside of any transaction: no lock, no snapshot that holds up a checkpoint or a vacuum.
docs/decisions/0005-long-polls-wait-in-a-bounded-number-of-threads.md weighs the alternatives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scans import selectors
from scans.models import ScanJob

MAX_WAITERS = 4  # per process
MAX_WAIT_SECONDS = 60
ASK_SECONDS = 0.25

_places = threading.BoundedSemaphore(MAX_WAITERS)


def _is_serving() -> bool:
    return True


may_wait: Callable[[], bool] = _is_serving  # gunicorn's worker puts its own here, so that waiters do not hold up its stop


def wait_for_change(job: ScanJob, *, seconds: float) -> None:
    """Return once the job's version is another than this one's, the time is up, or at once if all places are taken."""
    if not _places.acquire(blocking=False):
        return
    try:
        until = time.monotonic() + seconds
        while may_wait() and (left := until - time.monotonic()) > 0:
            time.sleep(min(ASK_SECONDS, left))
            if selectors.job_version(job) != job.version:
                return
    finally:
        _places.release()
