"""A database that is away for a moment: restarted, locked by somebody, its disk full. What is fenced can be tried again.

A write that was committed, though its answer got lost, meets the fence the second time: it is there once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

Result = TypeVar("Result")

log = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)  # the database's fault, and no row's
PATIENCE_SECONDS = 10.0  # less than a lease lasts
AGAIN_SECONDS = 0.5


def persistently(work: Callable[[], Result]) -> Result:
    """Do it, again and again while the database is away. Raises what it said last when the patience is over."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except AWAY as error:
            if time.monotonic() >= until or connection.in_atomic_block:
                raise
            log.warning("the database is away, tried again: %s", error)
            connection.close_if_unusable_or_obsolete()
            time.sleep(AGAIN_SECONDS)
