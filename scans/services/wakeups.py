"""Wake-ups: the only thing the queue carries. The rows say what is left to do.

A lost, doubled or late message can change latency, never results.
"""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django_q.brokers import get_broker
from django_q.tasks import async_task

Queue = Literal["scan", "ai"]
TASKS: dict[Queue, str] = {"scan": "scans.tasks.run_slice", "ai": "scans.tasks.run_summaries"}


def wake(queue: Queue, *, count: int = 1) -> None:
    """Send wake-ups. Inside a transaction they are committed with it: the broker's table is in the same database."""
    for _ in range(count):
        async_task(TASKS[queue], cluster=queue)


def wake_if_idle(queue: Queue) -> bool:
    """Send one, unless enough are waiting to be taken already."""
    if get_broker(queue).queue_size() >= settings.Q_WORKERS:
        return False
    wake(queue)
    return True
