"""How gunicorn serves the pages and the API; `manage.py up` starts it with this file.

On its own: `gunicorn -c ipscanner/gunicorn_conf.py ipscanner.wsgi`. WEB_CONCURRENCY sets the number of workers, which
gunicorn reads itself. Names in lower case are gunicorn's settings.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from typing import Any

from ipscanner.settings import HOST, LOGGING, PORT, STOP_SECONDS

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork

bind = f"[{HOST.strip('[]')}]:{PORT}" if ":" in HOST else f"{HOST}:{PORT}"
worker_class = "gthread"
threads = 8
graceful_timeout = max(1, STOP_SECONDS - 7)  # before the supervisor kills
control_socket_disable = True  # it would appear in the home directory
accesslog = None  # tokens in paths are what lets a client read a job: they do not belong in a log
logconfig_dict = {
    **LOGGING,
    "loggers": {"gunicorn.error": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}


def post_fork(server: Any, worker: Any) -> None:
    """Under the supervisor a worker dies with the main process, whatever kills that one."""
    if not os.environ.get("SCANNER_DIE_WITH_PARENT"):
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker.ppid:  # it was killed before the line above
        os._exit(1)


def post_worker_init(worker: Any) -> None:
    """Clients that wait for news of a job are answered at once when the worker stops, not held to their time."""
    from scans.api import waiting  # noqa: PLC0415 # the application is loaded only now

    waiting.may_wait = lambda: bool(worker.alive)
    set_apart()


def set_apart() -> None:
    """Load what the first request would, and keep all there is out of the garbage collector's sight.

    It would look through the program's 120,000 objects again and again, and hold up one request in sixty for 70 to 100 ms.
    """
    from django.urls import get_resolver  # noqa: PLC0415

    _ = get_resolver().url_patterns
    gc.collect()
    gc.freeze()
