"""The queue's other broker: wake-ups through Redis, for less latency. Used if BROKER_URL is set.

It may lose what it holds; then the reaper reads the rows and sends anew. So Redis needs neither persistence nor a replica,
and while it is away nothing may end for its sake: django-q2's own broker gives up for ten seconds at each lost
connection, and a cluster that starts without Redis ends at once. This one says that there is nothing to do, and asks again.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.conf import settings
from django_q.brokers import Broker
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5
WAIT_SECONDS = 1  # for a message; also between two attempts while Redis is away


class RedisBroker(Broker):  # type: ignore[misc] # django-q2 is not typed
    """Messages in a Redis list, taken once: at most once delivered."""

    connection: Any  # a client is typed for both of its worlds, with and without async
    _is_away = False

    def __init__(self, list_key: str) -> None:
        super().__init__(list_key=f"django_q:{list_key}:q")

    def enqueue(self, task: str) -> int:
        """Add a message. Raises RedisError."""
        return int(self.connection.rpush(self.list_key, task))

    def dequeue(self) -> list[tuple[None, str]] | None:
        """Wait a moment for a message. There is nothing to acknowledge: hence no id."""
        try:
            found = self.connection.blpop(self.list_key, WAIT_SECONDS)
        except RedisError as error:
            self._say(is_away=True, reason=str(error))
            time.sleep(WAIT_SECONDS)
            return None
        self._say(is_away=False)
        return [(None, _text(found[1]))] if found else None

    def queue_size(self) -> int:
        """Messages that wait. Raises RedisError."""
        return int(self.connection.llen(self.list_key))

    def delete_queue(self) -> int:
        """Forget what waits."""
        return int(self.connection.delete(self.list_key))

    def purge_queue(self) -> int:
        """Forget what waits."""
        return self.delete_queue()

    def ping(self) -> bool:
        """Asked at the start of a cluster, which goes on without Redis until it comes."""
        return True

    def info(self) -> str:
        """For django-q2's monitor."""
        return "Redis"

    @staticmethod
    def get_connection(list_key: str | None = None) -> Redis:
        """Short timeouts and no repetition: a request that submits a job waits for this."""
        return Redis.from_url(
            settings.BROKER_URL,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    def _say(self, *, is_away: bool, reason: str = "") -> None:
        """Once when it goes, and once when it comes back."""
        if is_away and not self._is_away:
            log.warning("Redis does not answer, tried again every second: %s", reason)
        elif self._is_away and not is_away:
            log.warning("Redis answers again")
        self._is_away = is_away


def _text(message: bytes) -> str:
    """What is not ours stays no message of ours: django-q2 refuses what is not signed, and would end at other bytes."""
    return message.decode("ascii", errors="replace")
