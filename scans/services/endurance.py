"""A database that is away for a moment: restarted, locked by somebody, its disk full. What is fenced can be tried again.

A write that was committed, though its answer got lost, meets the fence the second time: it is there once. A database that
only keeps everybody waiting raises nothing, so whoever waited for long says so in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

Result = TypeVar("Result")

log = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)  # the database's fault, and no row's
PATIENCE_SECONDS = 10.0  # less than a lease lasts
AGAIN_SECONDS = 0.5
LONG_SECONDS = 2.0  # for one statement; ours take some hundredths


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


def watch_waits() -> None:
    """From now on every new connection of this process tells the log of statements that took long."""
    connection_created.connect(_watch, dispatch_uid=__name__)


def _watch(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    if _timed not in connection.execute_wrappers:  # a connection that was lost is made again
        connection.execute_wrappers.append(_timed)


def _timed(execute: Callable[..., Result], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Result:
    """Django's execute_wrapper. The values stay out of the log."""
    began = time.monotonic()
    try:
        return execute(sql, params, many, context)
    finally:
        seconds = time.monotonic() - began
        if seconds >= LONG_SECONDS:
            log.warning("the database, locked by somebody or busy, took %.1f s for: %.60s", seconds, sql)
