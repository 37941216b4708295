"""The doctor: what is wrong with this installation, where, and what to do about it.

    checks that need no database ─► does it answer? ─► has it our tables? ─► checks of its contents
                                        └─ no ─────────────┴─ no: that is the finding, and the rest is left out

Each check is a function that yields findings; STAGES holds all of them. It writes one row inside a
transaction that is undone, to know whether that works, and changes nothing else. Secrets are named and never shown.
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from django_q.models import OrmQ

from scans.conf import risk_pack, scanner_options
from scans.core.feeds import FeedError, Store
from scans.core.intel import switched_on
from scans.core.probe.budgets import RESERVED_DESCRIPTORS
from scans.core.vulnerabilities import ALL_FEEDS, ALL_SOURCES
from scans.models import OPEN_JOB_STATES, OPEN_STATES, RateBucket, ScanJob, TargetResult, TargetState, WorkerHeartbeat, clock
from scans.selectors import WORKER_SILENCE, has_live_supervisor
from scans.selectors.metrics import queue_age_seconds
from scans.services.admission import MEGABYTE, disks

PATIENCE_MS = 3000  # with a lock on the database that somebody holds
STUCK_AFTER = timedelta(minutes=1)  # the reaper looks every two seconds
MANY_WAKEUPS = 100
BIG_LOG_BYTES = 256 * MEGABYTE  # a checkpoint keeps it at 64 MB
SKEW_WARNING, SKEW_ERROR = 2.0, 10.0  # seconds; a lease lasts fifteen
LOW_INODES = 10_000


class Severity(StrEnum):
    """Error: something does not work. Warning: it will not, or not as meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    severity: Severity
    check: str
    what: str
    where: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found, what was looked at, and the facts that somebody who helps will ask for."""

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    facts: dict[str, str]

    @property
    def is_healthy(self) -> bool:
        """No error; warnings may be there."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


Check = Callable[[], Iterable[Finding]]


def examine() -> Diagnosis:
    """Run every check. Never raises for what is wrong with the installation."""
    found: list[Finding] = []
    made: list[str] = []
    for stage in STAGES:
        here = [finding for check in stage for finding in _run(check)]
        found += here
        made += [check.__name__ for check in stage]
        if stage in GATES and here:
            break
    return Diagnosis(findings=tuple(found), checks=tuple(made), facts=facts())


def facts() -> dict[str, str]:
    """How it is set up, without one secret."""
    options = scanner_options()
    return {
        "profile": settings.PROFILE,
        "data directory": str(settings.DATA_DIR),
        "database": connection.vendor,
        "broker": "redis" if settings.BROKER_URL else "database",
        "risk rules": " + ".join(filter(None, [risk_pack().version, options.risk.rules_file])),
        "offline": "yes" if options.intel.offline else "no",
        "sources": ", ".join(source.name for source in switched_on(options.intel, ALL_SOURCES)) or "none",
        "model's key": "present" if options.ai.api_key else "absent",
        "model": options.ai.model,
        "metrics token": "present" if settings.METRICS_TOKEN else "absent",
    }


def _run(check: Check) -> Iterator[Finding]:
    """A check that the database breaks off is a finding of its own, and the others go on."""
    try:
        yield from check()
    except DatabaseError as error:
        yield _error(check.__name__, f"The check could not be made: {_line(error)}", "database", "See the other findings.")


# --- Without the database ----------------------------------------------------------------------------------------


def system_checks() -> Iterator[Finding]:
    """Django's checks and ours; in the server profile also those for deployment."""
    for message in run_checks(include_deployment_checks=not settings.IS_LOCAL):
        if message.level >= WARNING:
            severity = Severity.ERROR if message.level >= ERROR else Severity.WARNING
            remedy = message.hint or "See the message."
            yield Finding(severity=severity, check="system_checks", what=message.msg, where=message.id or "", remedy=remedy)


def data_directory() -> Iterator[Finding]:
    """It is there, ours and private, and so are the files in it that hold secrets."""
    where = settings.DATA_DIR
    if not where.is_dir():
        yield _error("data_directory", "The data directory does not exist.", where, "Start manage.py up, or create it.")
        return
    if not os.access(where, os.W_OK | os.X_OK):
        remedy = "Give it to the user that runs this program, or set DATA_DIR."
        yield _error("data_directory", "The data directory is not writable.", where, remedy)
    private = {where: "chmod 700", where / "secret_key": "chmod 600"}
    database = Path(connection.settings_dict["NAME"]) if connection.vendor == "sqlite" else where
    if _mode(database.parent) & 0o011:  # a private directory hides what is in it
        private.setdefault(database, "chmod 600")
    for path, command in private.items():
        if (mode := _mode(path)) & 0o077:
            remedy = f"{command} {path}"
            yield _warning("data_directory", f"Others on this machine may read it (mode {mode:03o}).", path, remedy)


def disk() -> Iterator[Finding]:
    """Room in bytes and in files, where the data directory is and where the database is."""
    if settings.DATA_DIR.is_dir():
        for name, place in disks().items():
            yield from _room(name, place)


def _room(name: str, place: Path) -> Iterator[Finding]:
    free, least = shutil.disk_usage(place).free, settings.MIN_FREE_DISK_MB * MEGABYTE
    remedy = "Make room: manage.py purge --older-than 90d gives back what old jobs take."
    if free < least:
        text = (
            f"{free // MEGABYTE:,} MB are free for the {name}; below {settings.MIN_FREE_DISK_MB:,} MB new jobs are refused."
        )
        yield _error("disk", text, place, remedy)
    elif free < 2 * least:
        yield _warning("disk", f"Only {free // MEGABYTE:,} MB are free for the {name}.", place, remedy)
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < LOW_INODES:
        yield _warning("disk", f"Only {inodes.f_favail:,} more files can be made.", place, "Delete files.")


def descriptors() -> Iterator[Finding]:
    """As many sockets at once as are configured."""
    wanted = scanner_options().probe.max_inflight + RESERVED_DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        text = f"{hard:,} open files are allowed; PROBE_MAX_INFLIGHT needs {wanted:,}. Scans are slower, not wrong."
        remedy = f"Raise it (ulimit -Hn, LimitNOFILE=, --ulimit nofile=) to {wanted}, or lower PROBE_MAX_INFLIGHT."
        yield _warning("descriptors", text, "RLIMIT_NOFILE", remedy)


def redis() -> Iterator[Finding]:
    """It answers, where it is used."""
    if not settings.BROKER_URL:
        return
    try:
        from scans.services.broker import RedisBroker  # noqa: PLC0415 - the client is needed only where Redis is used

        RedisBroker.get_connection().ping()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from answering is the finding
        text = f"Redis does not answer ({type(error).__name__}): wake-ups are lost, and no slice begins."
        remedy = "Start Redis, correct BROKER_URL, or unset it: the database then carries the wake-ups."
        yield _error("redis", text, "BROKER_URL", remedy)


def egress() -> Iterator[Finding]:
    """Switches that contradict one another."""
    options = scanner_options()
    if options.intel.offline and options.ai.api_key:
        remedy = "Unset OFFLINE to have the model explain, or unset GEMINI_API_KEY."
        yield _warning("egress", "A model's key is set, but nothing is sent: OFFLINE=1.", "OFFLINE", remedy)
    if options.ai.send_private and not options.ai.api_key:
        text = "Facts about private addresses may go to the model, but it has no key."
        yield _warning("egress", text, "AI_SEND_PRIVATE", "Set GEMINI_API_KEY, or unset AI_SEND_PRIVATE.")


def list_files() -> Iterator[Finding]:
    """Those that were brought here can be read, and somebody goes on asking for newer ones."""
    store = Store(scanner_options().intel.directory)
    for feed in ALL_FEEDS:
        path = store.path(feed)
        if path is None or path == feed.seed:
            continue
        try:
            record = store.record(feed)
        except FeedError as error:
            remedy = f"manage.py feeds update {feed.name}, or manage.py feeds import {feed.name} FILE."
            yield _warning("list_files", f"It cannot be used: {error}.", path, remedy)
            continue
        if record is not None and record.is_overdue(feed, now=timezone.now()):
            text = f"It is old: nobody has asked for a newer one since {record.checked_at:%Y-%m-%d}."
            yield _warning("list_files", text, path, "Have a timer run manage.py feeds update, or import another file.")


# --- The database itself -----------------------------------------------------------------------------------------


def database_reachable() -> Iterator[Finding]:
    """It can be asked at all. A file that is missing would be made by asking."""
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        remedy = "Start manage.py up, which makes it, or correct SCAN_DB_PATH."
        yield _error("database_reachable", "There is no database yet.", _database(), remedy)
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        remedy = "Start it, or correct DATABASE_URL or SCAN_DB_PATH."
        yield _error("database_reachable", f"The database does not answer: {_line(error)}", _database(), remedy)


def migrations() -> Iterator[Finding]:
    """Its tables are those of this version."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        text = f"{len(plan)} migrations are missing, the first is {plan[0][0]}."
        yield _error("migrations", text, _database(), "Run manage.py migrate.")


def database_writable() -> Iterator[Finding]:
    """A row can be written; it is taken back."""
    try:
        _be_impatient()
        with transaction.atomic():
            RateBucket.objects.create(name="doctor", tokens=0, counted_at=timezone.now())
            transaction.set_rollback(True)
    except DatabaseError as error:
        remedy = "Look for a process that holds its lock, for a full disk, and for the file's owner."
        yield _error("database_writable", f"Nothing can be written: {_line(error)}", _database(), remedy)


def sqlite_settings() -> Iterator[Finding]:
    """What makes SQLite bear several writers and a power cut."""
    if connection.vendor != "sqlite":
        return
    wanted = {"journal_mode": "wal", "synchronous": "2"}
    for name, value in wanted.items():
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA {name}")
            found = str(cursor.fetchone()[0]).lower()
        if found != value:
            remedy = "Keep it on a local disk, and start manage.py up once with nothing else running."
            yield _error("sqlite_settings", f"PRAGMA {name} is {found} and not {value}.", _database(), remedy)
    log = Path(f"{connection.settings_dict['NAME']}-wal")
    if log.exists() and (size := log.stat().st_size) > BIG_LOG_BYTES:
        text = f"The database's log has grown to {size // MEGABYTE:,} MB: somebody reads without end."
        yield _warning("sqlite_settings", text, log, "Restart the program, and look for another that has the file open.")


def clocks() -> Iterator[Finding]:
    """This host, the database and the other hosts agree on the time."""
    before, database_now, after = timezone.now(), clock.now(), timezone.now()  # to ask may take a while
    skew = max((before - database_now).total_seconds(), (database_now - after).total_seconds())
    newest = WorkerHeartbeat.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
    ahead = (newest - database_now).total_seconds() if newest else 0.0  # heartbeats follow the database's clock
    for seconds, where in ((skew, "the database"), (ahead, "another host's heartbeat")):
        if seconds > SKEW_WARNING:
            severity = Severity.ERROR if seconds > SKEW_ERROR else Severity.WARNING
            what = f"The clock of this host is {seconds:.0f} s away from that of {where}: leases may end too early."
            remedy = "Have all hosts keep time by NTP (timedatectl set-ntp true)."
            yield Finding(severity=severity, check="clocks", what=what, where=where, remedy=remedy)


# --- What stands in it -------------------------------------------------------------------------------------------


def workers() -> Iterator[Finding]:
    """Somebody works, and nobody fell silent."""
    if not has_live_supervisor():
        remedy = "Start manage.py worker, or everything with manage.py up."
        yield _error("workers", "No worker is running: jobs wait.", "heartbeats", remedy)
    now = clock.now()
    for row in WorkerHeartbeat.objects.filter(seen_at__lt=now - WORKER_SILENCE).order_by("seen_at")[:10]:
        silence = int((now - row.seen_at).total_seconds())
        remedy = "If it was stopped, nothing: it is forgotten after ten minutes. Otherwise see that host's log."
        yield _warning("workers", f"A {row.kind} has been silent for {silence:,} s.", f"{row.host}, pid {row.pid}", remedy)


def stuck_jobs() -> Iterator[Finding]:
    """Nothing that the reaper should have mended within seconds."""
    before = clock.now() - STUCK_AFTER
    remedy = "Start manage.py worker: its reaper takes them up. If one runs, see its log for what the reaper says."
    unfinished = ScanJob.objects.filter(state__in=OPEN_JOB_STATES, created_at__lt=before)
    unfinished = unfinished.exclude(targets__state__in=OPEN_STATES)
    for token in unfinished.values_list("token", flat=True)[:10]:
        yield _error("stuck_jobs", "All targets of this job have ended, but it has not.", f"job {token}", remedy)
    ended_leases = TargetResult.objects.filter(state=TargetState.LEASED, lease_until__lt=before).count()
    if ended_leases:
        text = f"{ended_leases:,} targets belong to workers that are gone, and nobody has taken them over."
        yield _error("stuck_jobs", text, "targets", remedy)


def backlog() -> Iterator[Finding]:
    """The queue is short."""
    waited = queue_age_seconds(clock.now())
    if 0 < settings.MAX_QUEUE_AGE_SECONDS < waited:
        text = f"The oldest job has waited {int(waited):,} s: new jobs are refused."
        yield _error("backlog", text, "queue", "Start more workers: Q_WORKERS, or manage.py worker on a further host.")
    if not settings.BROKER_URL and (messages := OrmQ.objects.count()) > MANY_WAKEUPS:
        remedy = "Start a worker. They carry no work, only wake-ups: manage.py shell may delete them."
        yield _warning("backlog", f"{messages:,} wake-ups wait, which slows the queue.", "queue", remedy)


CHECKS: tuple[Check, ...] = (system_checks, data_directory, disk, descriptors, redis, egress, list_files)
GATES: tuple[tuple[Check, ...], ...] = ((database_reachable,), (migrations,))  # a finding here ends the examination
DATABASE_CHECKS: tuple[Check, ...] = (database_writable, sqlite_settings, clocks, workers, stuck_jobs, backlog)
STAGES = (CHECKS, *GATES, DATABASE_CHECKS)


# --- In short ----------------------------------------------------------------------------------------------------


def _error(check: str, what: str, where: object, remedy: str) -> Finding:
    return Finding(severity=Severity.ERROR, check=check, what=what, where=str(where), remedy=remedy)


def _warning(check: str, what: str, where: object, remedy: str) -> Finding:
    return Finding(severity=Severity.WARNING, check=check, what=what, where=str(where), remedy=remedy)


def _database() -> str:
    """The file, or the server's name: never the whole address, which may hold a password."""
    config = connection.settings_dict
    return str(config["NAME"]) if connection.vendor == "sqlite" else f"{config['NAME']} on {config['HOST'] or 'this host'}"


def _mode(path: Path) -> int:
    """Its permissions; 0 for what is not there."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else 0


def _be_impatient() -> None:
    """For the rest of this process: it ends soon."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        elif connection.vendor == "postgresql":
            cursor.execute(f"SET lock_timeout = {PATIENCE_MS}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
