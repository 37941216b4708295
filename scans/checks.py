"""System checks: `manage.py check` says what is misconfigured and how to fix it; `up` and `worker` refuse to start.

The numbers are stable: E001 to E003 the queue, E004 and E005 the database's settings, E006 the secret key, E007 a
database file that is not ours, E008 the address to listen on, E009 to E013 the way of the wake-ups, W001 limits that
contradict one another, E014 the token of /metrics. The reasons are measured failures, and each stands in the hint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

MIN_SECRET_CHARS = 50
MIN_SECRET_DISTINCT = 5
MIN_TOKEN_CHARS = 16
# Keys that stand in public: Django's template, and what our own examples and tests use.
PUBLISHED_SECRETS = ("django-insecure-", "change-me", "a-key-for-tests-only-")
REDIS_BROKER = "scans.services.broker.RedisBroker"
LEAST_TIMEOUT_SECONDS = 30
CHOOSE_ANOTHER = "choose another SCAN_DB_PATH"


class ForeignDatabaseError(Exception):
    """The database file cannot become ours; the text names the file, the reason and the remedy."""


# --- Queue -------------------------------------------------------------------------------------------------------


@register("queue")
def check_queue(**_: Any) -> list[CheckMessage]:
    """See queue_problems."""
    return queue_problems(settings.Q_CLUSTER)


def queue_problems(config: Mapping[str, Any]) -> list[CheckMessage]:
    """What is wrong with the clusters: the one that Q_CLUSTER describes, and each of its ALT_CLUSTERS."""
    clusters = {config.get("name", "default"): config}
    clusters |= {name: {**config, **alternative} for name, alternative in config.get("ALT_CLUSTERS", {}).items()}
    return [problem for name, cluster in clusters.items() for problem in _cluster_problems(name, cluster)]


def _cluster_problems(name: str, cluster: Mapping[str, Any]) -> list[CheckMessage]:
    timeout, retry, workers = cluster.get("timeout"), cluster.get("retry", 60), cluster.get("workers", 1)
    limit = cluster.get("queue_limit", workers**2)  # the default of django-q2
    problems: list[CheckMessage] = []
    if not timeout:
        hint = "Set it well above a slice of work, for example 60: without it a hung task is never ended."
        problems.append(Error(f"Q_CLUSTER: the cluster {name!r} has no timeout.", hint=hint, id="scans.E001"))
    elif retry < 2 * timeout:
        hint = f"Set retry to {2 * timeout} or more: otherwise work that still runs is handed out a second time."
        text = f"Q_CLUSTER: the cluster {name!r} retries after {retry} s with a timeout of {timeout} s."
        problems.append(Error(text, hint=hint, id="scans.E002"))
    if limit > workers:
        hint = "Make them equal: what is fetched ahead waits while its retry clock runs, and is then done twice."
        text = f"Q_CLUSTER: the cluster {name!r} fetches {limit} messages for {workers} workers."
        problems.append(Error(text, hint=hint, id="scans.E003"))
    return problems


@register("queue")
def check_wakeups(**_: Any) -> list[CheckMessage]:
    """See wakeup_problems."""
    return wakeup_problems(settings.Q_CLUSTER)


def wakeup_problems(config: Mapping[str, Any]) -> list[CheckMessage]:
    """What is wrong with the way of the messages, and with who takes them. Absent values are django-q2's defaults."""
    problems = _broker_problems(config)
    if config.get("sync"):
        hint = "Unset it: it is for tests. Every submission would scan all its targets before it is answered."
        problems.append(Error("Q_CLUSTER: sync runs the work in the web server.", hint=hint, id="scans.E010"))
    alternatives = config.get("ALT_CLUSTERS", {})
    if config.get("name") != "scan" or "ai" not in alternatives:
        hint = "Name the cluster scan, and give ALT_CLUSTERS one called ai: wake-ups are sent to these two names."
        problems.append(Error("Q_CLUSTER: nobody takes the messages of a queue.", hint=hint, id="scans.E011"))
    for name, cluster in {"scan": config, **{n: {**config, **a} for n, a in alternatives.items()}}.items():
        problems += _redelivery_problems(name, cluster)
    return problems


def _broker_problems(config: Mapping[str, Any]) -> list[CheckMessage]:
    if config.get("broker_class") == REDIS_BROKER:
        if config.get("redis"):
            return []
        return [Error("Q_CLUSTER: the Redis broker has no address.", hint="Set BROKER_URL.", id="scans.E009")]
    if config.get("orm") == "default" and not config.get("broker_class"):
        return []
    hint = "Set orm to default, the database of the jobs, so that both are committed together; or set BROKER_URL for Redis."
    return [Error("Q_CLUSTER: the broker is neither our database nor our Redis.", hint=hint, id="scans.E009")]


def _redelivery_problems(name: str, cluster: Mapping[str, Any]) -> list[CheckMessage]:
    problems: list[CheckMessage] = []
    if not cluster.get("ack_failures") or cluster.get("max_attempts", 0) != 1:
        hint = (
            "Set ack_failures to True and max_attempts to 1: attempts are counted in our rows, a message is only a wake-up."
        )
        text = f"Q_CLUSTER: the cluster {name!r} hands a failed message out again."
        problems.append(Error(text, hint=hint, id="scans.E012"))
    timeout, bulk, limit = cluster.get("timeout") or 0, cluster.get("bulk", 1), cluster.get("queue_limit", 1)
    if 0 < timeout < LEAST_TIMEOUT_SECONDS:
        hint = f"Set it to {LEAST_TIMEOUT_SECONDS} or more: a slice may take twenty seconds, and is killed at the timeout."
        text = f"Q_CLUSTER: the cluster {name!r} kills its workers after {timeout} s."
        problems.append(Error(text, hint=hint, id="scans.E013"))
    if bulk != 1 or limit < cluster.get("workers", 1):
        hint = "Set bulk to 1 and queue_limit to workers: more is taken ahead and waits, less leaves workers idle."
        text = f"Q_CLUSTER: the cluster {name!r} takes {bulk} messages at once and holds {limit or 'any number'}."
        problems.append(Error(text, hint=hint, id="scans.E013"))
    return problems


# --- Limits ------------------------------------------------------------------------------------------------------


@register("configuration")
def check_limits(**_: Any) -> list[CheckMessage]:
    """See limit_problems."""
    return limit_problems(
        largest_job=settings.SCAN_MAX_TARGETS,
        open_targets={name: getattr(settings, name) for name in ("MAX_OPEN_TARGETS_PER_OWNER", "MAX_OPEN_TARGETS")},
    )


def limit_problems(*, largest_job: int, open_targets: Mapping[str, int]) -> list[CheckMessage]:
    """A job that is allowed but can never be taken in, however long its owner waits. 0 is no limit."""
    return [
        Warning(
            f"{name}={limit} is less than SCAN_MAX_TARGETS={largest_job}: larger jobs are allowed and never taken in.",
            hint=f"Raise {name}, or lower SCAN_MAX_TARGETS.",
            id="scans.W001",
        )
        for name, limit in open_targets.items()
        if 0 < limit < largest_job
    ]


# --- Database ----------------------------------------------------------------------------------------------------


@register("configuration")
def check_database_settings(**_: Any) -> list[CheckMessage]:
    """See database_problems."""
    return database_problems(settings.DATABASES["default"])


def database_problems(config: Mapping[str, Any]) -> list[CheckMessage]:
    """What is wrong with the settings of the database that holds jobs and queue."""
    engine, options = config["ENGINE"], config.get("OPTIONS", {})
    if engine.endswith("sqlite3"):
        is_wal = "journal_mode=wal" in options.get("init_command", "").lower().replace(" ", "")
        if is_wal and options.get("transaction_mode") == "IMMEDIATE":
            return []
        hint = "Use transaction_mode IMMEDIATE and journal_mode=WAL: without both, 19 of 20 concurrent writes fail."
        return [Error("The SQLite database is not set up for several writers.", hint=hint, id="scans.E004")]
    if engine.endswith("postgresql") and config.get("CONN_MAX_AGE") == 0:
        hint = "Set it to 600: the queue asks for a connection around every task and is 15 times slower without it."
        return [Error("CONN_MAX_AGE is 0 on Postgres.", hint=hint, id="scans.E005")]
    return []


@register(Tags.database)
def check_database_file(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A database file of another program is refused before a migration could write into it."""
    config = settings.DATABASES["default"]
    if not databases or "default" not in databases or not config["ENGINE"].endswith("sqlite3"):
        return []
    try:
        refuse_foreign(Path(config["NAME"]))
    except ForeignDatabaseError as error:
        return [Error(str(error), id="scans.E007")]
    return []


def refuse_foreign(path: Path) -> None:
    """Raise ForeignDatabaseError if the file holds what is not ours or cannot be made."""
    if tables := foreign_tables(path):
        names = ", ".join(tables[:5]) + (f" and {len(tables) - 5} more" if len(tables) > 5 else "")
        raise ForeignDatabaseError(f"{path} holds tables of another program ({names}): {CHOOSE_ANOTHER}.")
    if not path.parent.is_dir():
        raise ForeignDatabaseError(f"{path} cannot be made, its directory does not exist: create it, or {CHOOSE_ANOTHER}.")


def foreign_tables(path: Path) -> list[str]:
    """The tables in a SQLite file that our migrations did not make; none for a file that is missing, empty or ours.

    Opened for reading only, so that the look neither creates the file nor changes it. Without django_migrations every
    table is foreign; with it, but without an entry of ours, every table that none of our models has.
    Raises ForeignDatabaseError for what is not SQLite or cannot be read.
    """
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            tables = [
                name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            ]
            is_django = "django_migrations" in tables
            ours = "SELECT 1 FROM django_migrations WHERE app = 'scans' LIMIT 1"
            if is_django and database.execute(ours).fetchone():
                return []
    except sqlite3.Error as error:
        raise ForeignDatabaseError(f"{path} cannot be used as a SQLite database ({error}): {CHOOSE_ANOTHER}.") from error
    known = {model._meta.db_table for model in apps.get_models(include_auto_created=True)} | {"django_migrations"}
    expected = known if is_django else set()
    return [table for table in tables if not table.startswith("sqlite_") and table not in expected]


# --- Secret and address ------------------------------------------------------------------------------------------


@register(Tags.security)
def check_secret(**_: Any) -> list[CheckMessage]:
    """See secret_problems."""
    return secret_problems(settings.SECRET_KEY, is_local=settings.IS_LOCAL)


@register(Tags.security)
def check_metrics_token(**_: Any) -> list[CheckMessage]:
    """See metrics_token_problems."""
    return metrics_token_problems(settings.METRICS_TOKEN)


def metrics_token_problems(token: str) -> list[CheckMessage]:
    """What is wrong with the token; none is fine. Nobody counts wrong ones, and logs may show a very short one."""
    if not token or len(token) >= MIN_TOKEN_CHARS:
        return []
    hint = "Make a longer one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'"
    return [Error(f"METRICS_TOKEN is shorter than {MIN_TOKEN_CHARS} characters.", hint=hint, id="scans.E014")]


def secret_problems(key: str, *, is_local: bool) -> list[CheckMessage]:
    """What is wrong with the key. It signs sessions and queue messages: whoever knows it runs code in a worker."""
    hint = "Unset SECRET_KEY to have one made in the data directory."
    if len(key) < MIN_SECRET_CHARS or len(set(key)) < MIN_SECRET_DISTINCT:
        text = f"SECRET_KEY is shorter than {MIN_SECRET_CHARS} characters or hardly varied."
        return [Error(text, hint=hint, id="scans.E006")]
    if not is_local and key.startswith(PUBLISHED_SECRETS):
        return [Error("SECRET_KEY is an example that everybody knows.", hint=hint, id="scans.E006")]
    return []


@register("configuration")
def check_address(**_: Any) -> list[CheckMessage]:
    """See host_problems."""
    return host_problems(settings.HOST, is_local=settings.IS_LOCAL)


def host_problems(host: str, *, is_local: bool) -> list[CheckMessage]:
    """What is wrong with HOST. The local profile lets everybody in, so it stays on this machine."""
    if not is_local or _is_loopback(host):
        return []
    hint = "Unset HOST, or use PROFILE=server, which demands a login and ALLOWED_HOSTS."
    text = f"HOST={host} is not a loopback address, and PROFILE=local asks nobody for a password."
    return [Error(text, hint=hint, id="scans.E008")]


def _is_loopback(host: str) -> bool:
    """No name but localhost: a look-up here could say one thing and the bind another."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
