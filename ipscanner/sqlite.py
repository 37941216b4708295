"""How a connection to SQLite is opened, before the settings' `init_command` is given to it."""

from __future__ import annotations

import sqlite3
from typing import Any


class Connection(sqlite3.Connection):
    """Has the file that it makes return free pages to the system (services/purge.py); one that exists is left alone.

    `PRAGMA auto_vacuum` is for new files only, and before WAL. On any other it changes nothing and writes all the same: with
    it every connection, and so every page that is read, would wait for whoever writes, and for the disk.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.execute("PRAGMA page_count").fetchone() == (0,):
            self.execute("PRAGMA auto_vacuum=2")
