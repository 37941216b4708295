"""Wake-ups: the only thing the queue carries. The rows say what is left to do.

A lost, doubled or late message can change latency, never results.

    in the database (the default)   written with the transaction, so it is there exactly if the job is
    Redis (BROKER_URL)              sent once the transaction is committed; if that fails, the reaper sends it again
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Literal

from django.conf import settings
from django.db import transaction
from django_q.brokers import get_broker
from django_q.tasks import async_task

Queue = Literal["scan", "ai"]
TASKS: dict[Queue, str] = {"scan": "scans.tasks.run_slice", "ai": "scans.tasks.run_summaries"}

log = logging.getLogger(__name__)


def wake(queue: Queue, *, count: int = 1) -> None:
    """Send wake-ups. They come into being with the surrounding transaction, and not without it."""
    if settings.BROKER_URL:
        transaction.on_commit(partial(_send_or_log, queue, count))
    else:
        _send(queue, count)


def wake_if_idle(queue: Queue) -> bool:
    """Send one, unless enough are waiting to be taken already."""
    try:
        is_busy = get_broker(queue).queue_size() >= settings.Q_WORKERS
    except Exception as error:
        if not settings.BROKER_URL:  # our own database: the caller knows better what to do
            raise
        _log_failure(queue, error)
        return False
    if is_busy:
        return False
    wake(queue)
    return True


def _send(queue: Queue, count: int) -> None:
    for _ in range(count):
        async_task(TASKS[queue], cluster=queue)


def _send_or_log(queue: Queue, count: int) -> None:
    try:
        _send(queue, count)
    except Exception as error:  # noqa: BLE001 - the edge: the job is stored, and whoever stored it must be told so
        _log_failure(queue, error)


def _log_failure(queue: Queue, error: Exception) -> None:
    log.warning("no wake-up sent to the queue %s, the reaper will: %s", queue, error)
