"""The application's start-up: system checks, and children that die with their parent."""

from __future__ import annotations

import ctypes
import os
import signal

from django.apps import AppConfig

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ScansConfig(AppConfig):
    """The one application of the project."""

    name = "scans"
    verbose_name = "Scans"

    def ready(self) -> None:
        """Register the checks, the audit of logins and the watch over the database; under the supervisor tie every forked
        child to its parent's life.

        A killed main process of django-q2 otherwise leaves all its children working as orphans.
        """
        from scans import checks  # noqa: F401, PLC0415 - registers itself; needs the apps to be ready
        from scans.core.fingerprint import turns  # noqa: F401, PLC0415 - before workers fork: they share it
        from scans.services import endurance, logins  # noqa: F401, PLC0415 - as the checks

        endurance.watch_waits()
        if os.environ.get("SCANNER_DIE_WITH_PARENT"):
            _tie_children()


def _tie_children() -> None:
    """From now on every fork gives a child that the kernel kills when its parent ends, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork
    parent = os.getpid()

    def remember_parent() -> None:
        nonlocal parent
        parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before the line above
            os._exit(1)

    os.register_at_fork(before=remember_parent, after_in_child=die_with_parent)
