"""The numbers of the dashboard over a period, drawn from the daily counts: their cost is that of the period.

Counts speak of results, not of hosts: a host that was scanned on three days counts three times, on the page's own word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone

from scans.conf import risk_pack
from scans.core.ports import category, service_name
from scans.core.types import Level, SourceState
from scans.models import CountKind, JobOutcome
from scans.selectors.attention import WorstHost, worst_hosts
from scans.selectors.countries import Country, countries
from scans.selectors.counts import Sums, count_by_day, count_sums, counted_owner
from scans.selectors.history import WORST_FIRST

PERIODS = (7, 30, 90)
SHOWN_PORTS = 10
SHOWN_COUNTRIES = 8
ANSWERS = frozenset({SourceState.OK, SourceState.EMPTY})
FAILURES = frozenset({SourceState.FAILED, SourceState.RATE_LIMITED, SourceState.UNAUTHORIZED, SourceState.STALE})
FAILING_SHARE = 0.5  # of the questions of today and yesterday
FAILING_LEAST = 3  # questions, or one lost packet would need a look
WAIT_WORDS = {
    "1": "up to 1 s", "2": "1 to 2 s", "5": "2 to 5 s", "15": "5 to 15 s", "60": "15 to 60 s", "300": "1 to 5 min",
    "more": "over 5 min",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class DayJobs:
    """How the jobs ended that ended on one day."""

    day: date
    complete: int
    partial: int
    cancelled: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.complete + self.partial + self.cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class PortCount:
    """An open port: how many results had it, and the level below which the rules never rate it on a public address."""

    port: int
    service: str
    floor: Level | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CountryCount:
    """A country, or None where no source said; and how many results."""

    country: Country | None
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceHealth:
    """How a source fared."""

    name: str
    answered: int
    failed: int
    other: int  # skipped by a setting
    states: Mapping[str, int]
    requests: int  # addresses that a request was sent for
    average_ms: int | None
    is_failing: bool  # of late

    @property
    def asked(self) -> int:
        """Questions that could have been answered."""
        return self.answered + self.failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """Everything that is drawn but the workers."""

    days: int
    first_day: date
    last_day: date
    jobs: list[DayJobs]
    targets: Mapping[str, int]
    levels: Mapping[str, int]
    ports: list[PortCount]
    ports_in_all: int
    countries: list[CountryCount]
    sources: list[SourceHealth]
    waits: Mapping[str, int]
    average_wait_ms: int | None
    worst: list[WorstHost]

    @property
    def total_jobs(self) -> int:
        """That ended in the period."""
        return sum(day.total for day in self.jobs)

    @property
    def rated(self) -> int:
        """Results that have a level."""
        return sum(self.levels.values())

    @property
    def top_countries(self) -> list[CountryCount]:
        """The known countries with the most results."""
        return [count for count in self.countries if count.country][:SHOWN_COUNTRIES]

    @property
    def unknown_country(self) -> int:
        """Results for which no source named one."""
        return sum(count.n for count in self.countries if not count.country)

    @property
    def other_countries(self) -> int:
        """Results in the countries that are only in the table."""
        return sum(count.n for count in self.countries) - self.unknown_country - sum(row.n for row in self.top_countries)

    @property
    def failing(self) -> list[SourceHealth]:
        """Sources that need a look."""
        return [source for source in self.sources if source.is_failing]

    @property
    def is_empty(self) -> bool:
        """Nothing ended in the period."""
        return not self.total_jobs and not self.targets


def dashboard(user: User | AnonymousUser, *, days: int) -> Dashboard:
    """What this user may see of the last days, today among them. Six queries, however much there is."""
    last_day = timezone.now().astimezone(UTC).date()
    first_day = last_day - timedelta(days=days - 1)
    owner = counted_owner(user)
    by_day = count_by_day(owner, [CountKind.JOB, CountKind.SOURCE], since=first_day)
    kinds = set(CountKind) - {CountKind.JOB}
    sums = count_sums(owner, sorted(kinds), since=first_day)
    levels = sums.of(CountKind.LEVEL)
    waits = sums.of(CountKind.WAIT)
    waited_ms = sum(ms for (kind, _), ms in sums.milliseconds.items() if kind == CountKind.WAIT)
    ports = sums.of(CountKind.PORT)
    return Dashboard(
        days=days,
        first_day=first_day,
        last_day=last_day,
        jobs=[_day_jobs(first_day + timedelta(days=n), by_day) for n in range(days)],
        targets=sums.of(CountKind.TARGET),
        levels={level.value: levels.get(level.value, 0) for level in WORST_FIRST} if levels else {},  # all five, in order
        ports=[_port_count(int(port), n) for port, n in list(ports.items())[:SHOWN_PORTS]],
        ports_in_all=len(ports),
        countries=[CountryCount(country=countries().get(code), n=n) for code, n in sums.of(CountKind.COUNTRY).items()],
        sources=_sources(sums, by_day, last_day),
        waits={words: waits.get(step, 0) for step, words in WAIT_WORDS.items()} if waits else {},
        average_wait_ms=waited_ms // sum(waits.values()) if waits else None,
        worst=worst_hosts(user, since=datetime.combine(first_day, time.min, tzinfo=UTC)),
    )


def _day_jobs(day: date, by_day: Mapping[date, Mapping[tuple[str, str], int]]) -> DayJobs:
    counts = {outcome.value: by_day.get(day, {}).get((CountKind.JOB, outcome.value), 0) for outcome in JobOutcome}
    return DayJobs(day=day, **counts)


def _port_count(port: int, n: int) -> PortCount:
    of_port = category(port)
    floors = [rule.floor for rule in risk_pack().rules if of_port in rule.categories and rule.floor]
    return PortCount(port=port, service=service_name(port), floor=min(floors, key=WORST_FIRST.index, default=None), n=n)


def _sources(sums: Sums, by_day: Mapping[date, Mapping[tuple[str, str], int]], last_day: date) -> list[SourceHealth]:
    """Every source that was asked: those that fail of late first, then the slowest by the mean time of a request."""
    lately: dict[str, int] = {}
    for day in (last_day, last_day - timedelta(days=1)):
        for (kind, value), n in by_day.get(day, {}).items():
            if kind == CountKind.SOURCE:
                lately[value] = lately.get(value, 0) + n
    states = sums.of(CountKind.SOURCE)
    names = sorted({value.rpartition(":")[0] for value in states})
    found = [_source(name, _states(name, states), _states(name, lately), sums) for name in names]
    return sorted(found, key=lambda source: (not source.is_failing, -(source.average_ms or 0), source.name))


def _states(name: str, values: Mapping[str, int]) -> dict[str, int]:
    return {value.rpartition(":")[2]: n for value, n in values.items() if value.rpartition(":")[0] == name}


def _source(name: str, states: Mapping[str, int], lately: Mapping[str, int], sums: Sums) -> SourceHealth:
    requests = sums.n[CountKind.TIMED, name]
    answered, failed = _share(states)
    answered_lately, failed_lately = _share(lately)
    asked_lately = answered_lately + failed_lately
    return SourceHealth(
        name=name,
        answered=answered,
        failed=failed,
        other=sum(states.values()) - answered - failed,
        states=states,
        requests=requests,
        average_ms=sums.milliseconds[CountKind.TIMED, name] // requests if requests else None,
        is_failing=asked_lately >= FAILING_LEAST and failed_lately >= FAILING_SHARE * asked_lately,
    )


def _share(states: Mapping[str, int]) -> tuple[int, int]:
    """How many questions were answered, and how many were not though they should have been."""
    return sum(n for state, n in states.items() if state in ANSWERS), sum(
        n for state, n in states.items() if state in FAILURES
    )
