"""Numbers for a monitoring system: what is open, how long it waits, what was finished, who works. From the database only.

Gauges say how it is now, from indexes of open work and of the last minute. Counters are sums of the daily counts, which
only grow: a purge takes nothing away from them. Ended rows are not counted, because with millions of them that would be the
slowest read of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

from django.db.models import Count, Min

from ipscanner.version import version
from scans.core.types import Level
from scans.core.vulnerabilities import ALL_SOURCES
from scans.models import (
    EVERYBODY,
    OPEN_JOB_STATES,
    OPEN_STATES,
    CountKind,
    JobState,
    RestartReason,
    ScanJob,
    SourceHealth,
    TargetResult,
    TargetState,
    WorkerHeartbeat,
    clock,
)
from scans.selectors.counts import Sums, count_sums
from scans.selectors.readiness import WORKER_SILENCE

Kind = Literal["gauge", "counter", "info"]
PREFIX = "ipscanner"
LAST_MINUTE = timedelta(minutes=1)
FIRST_DAY = date(2000, 1, 1)
PROGRAMS = ("web", "scan", "ai")  # that a supervisor keeps alive: the web server and the clusters of the queues
LEVELS = ("", *(level.value for level in Level))  # the index of ended targets begins with the level


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One number."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Numbers of one meaning, told apart by their labels. The name is without prefix, and a counter's without _total."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def metric_families() -> tuple[Family, ...]:
    """All there are; a constant number of queries."""
    now = clock.now()
    sums = count_sums(EVERYBODY, (CountKind.TARGET, CountKind.JOB, CountKind.SOURCE, CountKind.RESTART), since=FIRST_DAY)
    return (
        _family("build", "info", "The version that answers.", [Sample(value=1, labels={"version": version()})]),
        *_open_work(now),
        *_last_minute(),
        *_totals(sums),
        _workers(),
        _restarts(sums),
        _blocked_sources(now),
    )


def queue_age_seconds(now: datetime) -> float:
    """How long the job has waited that no worker has begun and that came first; 0 if all are begun. `now` by clock.now()."""
    return _age(ScanJob.objects.filter(state=JobState.QUEUED).aggregate(at=Min("created_at"))["at"], now)


def _open_work(now: datetime) -> Iterable[Family]:
    jobs = dict(ScanJob.objects.filter(state__in=OPEN_JOB_STATES).values_list("state").annotate(n=Count("pk")).order_by())
    rows = TargetResult.objects.filter(state__in=OPEN_STATES).values_list("state").annotate(n=Count("pk")).order_by()
    targets = dict(rows)
    oldest_scanned = TargetResult.objects.filter(state=TargetState.SCANNED).aggregate(at=Min("scanned_at"))["at"]
    ages = {"scan": queue_age_seconds(now), "ai": _age(oldest_scanned, now)}
    depths = {"scan": targets.get(TargetState.PENDING, 0), "ai": targets.get(TargetState.SCANNED, 0)}
    yield _family("jobs_open", "gauge", "Jobs that have not ended.", _by("state", jobs, OPEN_JOB_STATES))
    yield _family("targets_open", "gauge", "Targets without their result.", _by("state", targets, OPEN_STATES))
    yield _family("queue_targets", "gauge", "Targets that wait: for a scan, or for the model's words.", _by("queue", depths))
    yield _family(
        "queue_age_seconds", "gauge", "How long the oldest of what nobody has begun has waited.", _by("queue", ages)
    )


def _last_minute() -> Iterable[Family]:
    ended = TargetResult.objects.filter(risk_level__in=LEVELS, finished_at__gte=clock.ago(LAST_MINUTE))
    targets = dict(ended.values_list("risk_level").annotate(n=Count("pk")).order_by())
    # A job ends with its last target, so it is among the jobs of those; its own end has no index.
    jobs = ScanJob.objects.filter(pk__in=ended.values("job"), finished_at__gte=clock.ago(LAST_MINUTE)).count()
    text = "Targets that got their result in the last minute."
    yield _family("targets_finished_last_minute", "gauge", text, _by("level", {k or "none": n for k, n in targets.items()}))
    per_second = sum(targets.values()) / LAST_MINUTE.total_seconds()
    yield _family("targets_per_second", "gauge", "The same in a second, of all levels.", [Sample(value=per_second)])
    yield _family("jobs_finished_last_minute", "gauge", "Jobs that ended in the last minute.", [Sample(value=jobs)])


def _totals(sums: Sums) -> Iterable[Family]:
    yield _family("targets_finished", "counter", "Targets that got their result.", _by("state", sums.of(CountKind.TARGET)))
    yield _family("jobs_finished", "counter", "Jobs that ended.", _by("outcome", sums.of(CountKind.JOB)))
    answers = _pairs("source", "state", sums.of(CountKind.SOURCE))
    yield _family("source_answers", "counter", "What became of the questions to sources, one for each address.", answers)


def _workers() -> Family:
    alive = WorkerHeartbeat.objects.filter(seen_at__gte=clock.ago(WORKER_SILENCE))
    found = dict(alive.values_list("kind").annotate(n=Count("pk")).order_by())
    text = "Living supervisors, one for each manage.py up or worker, and the slices at work."
    return _family("workers", "gauge", text, _by("kind", found, WorkerHeartbeat.Kind))


def _restarts(sums: Sums) -> Family:
    every = {f"{program}:{reason}": 0 for program in PROGRAMS for reason in RestartReason} | sums.of(CountKind.RESTART)
    text = "How often supervisors had to start a program again, and why."
    return _family("restarts", "counter", text, _pairs("program", "reason", every))


def _blocked_sources(now: datetime) -> Family:
    rows = SourceHealth.objects.filter(blocked_until__gt=now).values_list("source", "blocked_until")
    waits = {name: (until - now).total_seconds() for name, until in rows if until}
    samples = _by("source", waits, [source.name for source in ALL_SOURCES])
    return _family(
        "source_blocked_seconds",
        "gauge",
        "How long a source is left alone: its quota is used up, or it failed often.",
        samples,
    )


def _family(name: str, kind: Kind, text: str, samples: Iterable[Sample]) -> Family:
    return Family(name=f"{PREFIX}_{name}", kind=kind, help=text, samples=tuple(samples))


def _by(label: str, values: Mapping[str, float], known: Iterable[str] = ()) -> list[Sample]:
    """A sample for each value; the known ones are there even if there are none of them, so that alerts see a 0."""
    every = {str(name): 0.0 for name in known} | {str(name): float(value) for name, value in values.items()}
    return [Sample(value=value, labels={label: name}) for name, value in sorted(every.items())]


def _pairs(first: str, second: str, values: Mapping[str, int]) -> list[Sample]:
    """A sample for each value whose name is that of two, with a colon in between."""
    named = [(*name.rpartition(":")[::2], n) for name, n in sorted(values.items())]
    return [Sample(value=n, labels={first: a, second: b}) for a, b, n in named]


def _age(at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds()) if at else 0.0
