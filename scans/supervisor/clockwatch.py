"""Says it in the log when this machine's clock is not what it seems: it jumped, or it differs from the database's.

Nothing depends on it: leases follow the database's clock, and everything that only waits follows one that never jumps.
"""

from __future__ import annotations

import logging
import time

from django.utils import timezone

from scans.models import clock

log = logging.getLogger(__name__)

TOLERATED_SECONDS = 5.0


class ClockWatch:
    """Looks every round; each news is said once."""

    def __init__(self) -> None:
        self._offset = _offset()
        self._difference = 0.0

    def look(self) -> None:
        """Take one more look."""
        jumped = _offset() - self._offset
        if abs(jumped) > TOLERATED_SECONDS:
            log.warning("the clock of this machine was set %s", _words(jumped, "forward", "back"))
        self._offset += jumped
        difference = (timezone.now() - clock.now()).total_seconds()
        if abs(difference - self._difference) > TOLERATED_SECONDS:
            log.warning("the clock of this machine is %s the database's", _words(difference, "ahead of", "behind"))
            self._difference = difference


def _offset() -> float:
    """Constant while nobody sets the clock. A machine that slept has another one: monotonic time stood still meanwhile."""
    return time.time() - time.monotonic()


def _words(seconds: float, plus: str, minus: str) -> str:
    return f"{abs(seconds):,.0f} s {plus if seconds > 0 else minus}"
