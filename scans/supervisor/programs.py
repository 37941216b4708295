"""What is started: the web server, and one task cluster per queue."""

from __future__ import annotations

import os
import sys
from uuid import UUID

from django.conf import settings

from scans.supervisor.child import Child

QUEUES = ("scan", "ai")
WEB = "web"
WORKERS_NICER = 5  # where processors are scarce, who waits for a page or a reply goes first


def web(identity: UUID) -> Child:
    """The web server; ipscanner/gunicorn_conf.py says how it listens."""
    conf = str(settings.BASE_DIR / "ipscanner" / "gunicorn_conf.py")
    base = ["--chdir", str(settings.BASE_DIR), "ipscanner.wsgi"]
    return Child(WEB, [sys.executable, "-m", "gunicorn", "-c", conf, *base], _env(identity))


def clusters(identity: UUID) -> list[Child]:
    """A cluster per queue, named like it. The checks have been run: each would repeat them at every start."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster", "--skip-checks"]
    return [Child(queue, command, _env(identity) | {"Q_CLUSTER_NAME": queue}, nicer=WORKERS_NICER) for queue in QUEUES]


def _env(identity: UUID) -> dict[str, str]:
    """By these a slice finds its supervisor's stop flag, and every process ties its children to its own life."""
    return {**os.environ, "SCANNER_SUPERVISOR": str(identity), "SCANNER_DIE_WITH_PARENT": "1"}
