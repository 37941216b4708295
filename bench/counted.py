"""The product's settings, and every process counts its queries: `DJANGO_SETTINGS_MODULE=bench.counted COUNT_QUERIES=DIR`.

Each process keeps two numbers in a file of its own, DIR/<web or work>-<pid>, mapped into its memory: they can be read at any
moment and outlive it, however it ends. A query is what goes through a cursor of Django's, BEGIN and savepoints as well; the
COMMIT is not. One executemany is one query, and as many statements as it has rows.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from bench.processes import QUERIES
from ipscanner.settings import *  # noqa: F403 - settings are what it is


class Counter:
    """The numbers of one process; a forked child begins a file of its own."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._numbers: mmap.mmap | None = None
        self._queries = self._statements = 0

    def add(self, statements: int) -> None:
        with self._lock:
            self._numbers = self._numbers or _mapped_file()
            self._queries += 1
            self._statements += statements
            QUERIES.pack_into(self._numbers, 0, self._queries, self._statements)

    def count(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Django's execute_wrapper."""
        self.add(len(params) if many and hasattr(params, "__len__") else 1)
        return execute(sql, params, many, context)


def _mapped_file() -> mmap.mmap:
    is_web = any("gunicorn" in argument for argument in sys.argv)
    path = Path(os.environ["COUNT_QUERIES"]) / f"{'web' if is_web else 'work'}-{os.getpid()}"
    path.write_bytes(bytes(QUERIES.size))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), QUERIES.size)


def _watch(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    if COUNTER.count not in connection.execute_wrappers:  # a connection that was lost is made again
        connection.execute_wrappers.append(COUNTER.count)


COUNTER = Counter()
connection_created.connect(_watch, dispatch_uid="bench.counted")
