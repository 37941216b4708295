"""A database for one stack, with triggers of the test's own that count every final write.

The triggers see what the program does and not what it says of itself: each UPDATE that leaves a target final and each that
closes a job adds a row with the time to a table of ours. A target written twice has two.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.patience import PATIENCE

FINAL = "('done', 'error', 'cancelled', 'refused')"
TABLES = "CREATE TABLE chaos_written (kind varchar(10), pk bigint, state varchar(10), at double precision)"
NOW_IN_SQLITE = "(julianday('now') - 2440587.5) * 86400.0"

SQLITE = (
    f"""CREATE TRIGGER chaos_target AFTER UPDATE ON scans_targetresult WHEN NEW.state IN {FINAL}
    BEGIN INSERT INTO chaos_written VALUES ('target', NEW.id, NEW.state, {NOW_IN_SQLITE}); END""",
    f"""CREATE TRIGGER chaos_job AFTER UPDATE OF state ON scans_scanjob WHEN NEW.state IN ('complete', 'cancelled')
    BEGIN INSERT INTO chaos_written VALUES ('job', NEW.id, NEW.state, {NOW_IN_SQLITE}); END""",
)
POSTGRES = (
    """CREATE FUNCTION chaos_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_written VALUES (TG_ARGV[0], NEW.id, NEW.state, extract(epoch FROM clock_timestamp()));
    RETURN NULL; END $$""",
    f"""CREATE TRIGGER chaos_target AFTER UPDATE ON scans_targetresult FOR EACH ROW WHEN (NEW.state IN {FINAL})
    EXECUTE FUNCTION chaos_count('target')""",
    """CREATE TRIGGER chaos_job AFTER UPDATE OF state ON scans_scanjob FOR EACH ROW
    WHEN (NEW.state IN ('complete', 'cancelled')) EXECUTE FUNCTION chaos_count('job')""",
)


class Ledger:
    """One database, and what was written to it."""

    def __init__(self, *, path: Path | None = None, url: str = "") -> None:
        self.path, self.url = path, url

    @property
    def name(self) -> str:
        """For the figures."""
        return "Postgres" if self.url else "SQLite"

    @property
    def environment(self) -> dict[str, str]:
        """What a program is told to work on it."""
        return {"DATABASE_URL": self.url} if self.url else {"SCAN_DB_PATH": str(self.path)}

    def count_from_now(self) -> None:
        """Install the triggers; the tables have to be there."""
        for statement in (TABLES, *(POSTGRES if self.url else SQLITE)):
            self.change(statement)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query yields. Placeholders are written %s."""
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as connection:
                return list(connection.execute(query, values or None))
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
            return connection.execute(query.replace("%s", "?"), values).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        """Run a statement of the test's own. Returns how many rows it touched."""
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as connection:
                return connection.execute(statement, values or None).rowcount
        with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection, connection:
            return connection.execute(statement.replace("%s", "?"), values).rowcount

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection to SQLite, whose transactions are the test's own affair."""
        with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection:
            yield connection

    def is_locked(self) -> bool:
        """Whether somebody holds SQLite's one lock for writers; on Postgres there is no such lock."""
        if self.url:
            return False
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False

    # --- What was promised -------------------------------------------------------------------------------------------

    def count(self, query: str, *values: Any) -> int:
        """The one number that a query yields."""
        return int(self.rows(query, *values)[0][0])

    def open_targets(self) -> int:
        """Rows without a result."""
        return self.count(f"SELECT count(*) FROM scans_targetresult WHERE state NOT IN {FINAL}")

    def open_jobs(self) -> int:
        """Jobs that nobody has closed."""
        return self.count("SELECT count(*) FROM scans_scanjob WHERE state NOT IN ('complete', 'cancelled')")

    def is_all_done(self) -> bool:
        """Whether nothing is left to do."""
        return not self.open_targets() and not self.open_jobs()

    def not_once(self) -> list[tuple[Any, ...]]:
        """Targets and jobs that were not written exactly once, with how often they were."""
        found = []
        for kind, table in (("target", "scans_targetresult"), ("job", "scans_scanjob")):
            found += self.rows(
                f"SELECT '{kind}', t.id, count(w.pk) FROM {table} t LEFT JOIN chaos_written w"
                f" ON w.pk = t.id AND w.kind = '{kind}' GROUP BY t.id HAVING count(w.pk) <> 1"
            )
        return found

    def twice(self) -> list[tuple[Any, ...]]:
        """Targets and jobs that were written more than once, deleted ones as well, with how often."""
        return self.rows("SELECT kind, pk, count(*) FROM chaos_written GROUP BY kind, pk HAVING count(*) > 1")

    def strays(self) -> dict[str, int]:
        """Rows whose job or target is gone, by table."""
        parts = {
            "targetresult": "job",
            "jobtag": "job",
            "egressentry": "job",
            "targetaddress": "result",
            "resultterm": "result",
        }
        whole = {"job": "scanjob", "result": "targetresult"}
        query = "SELECT count(*) FROM scans_{} WHERE {}_id NOT IN (SELECT id FROM scans_{})"
        return {part: n for part, of in parts.items() if (n := self.count(query.format(part, of, whole[of])))}

    def write_times(self) -> list[float]:
        """When targets ended by a worker's hand, ascending."""
        query = "SELECT at FROM chaos_written WHERE kind = 'target' AND state <> 'cancelled' ORDER BY at"
        return [at for (at,) in self.rows(query)]

    def attempts(self) -> list[int]:
        """Of every target."""
        return [n for (n,) in self.rows("SELECT attempts FROM scans_targetresult")]

    def holders(self, condition: str = "1 = 1", *, state: str = "leased") -> list[int]:
        """The processes that hold a lease on rows in this state for which the condition is true."""
        return [
            pid
            for (pid,) in self.rows(
                "SELECT DISTINCT h.pid FROM scans_targetresult t JOIN scans_workerheartbeat h ON h.id = t.lease"
                f" WHERE t.state = '{state}' AND {condition}"
            )
        ]


@contextmanager
def ledger(directory: Path) -> Iterator[Ledger]:
    """An empty database of its own: on the Postgres that DATABASE_URL names, else a SQLite file in the directory."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        yield Ledger(path=directory / "scans.sqlite")
        return
    name = f"chaos_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield Ledger(url=urlunsplit(urlsplit(server)._replace(path=f"/{name}")))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
