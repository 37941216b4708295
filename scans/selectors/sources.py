"""Every intelligence source as the operator and its users should know it: on or off and why, health, quota, files, terms.

Health and quotas are what all processes share (SourceHealth, RateBucket); settings are those of the process that answers.
No key is ever read here, only whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from scans.conf import scanner_options
from scans.core.budgets import Bucket, Limit, bucket_name, grown
from scans.core.feeds import AnyFeed, Store
from scans.core.intel import RemoteSource, Source, switched_on
from scans.core.intel.base import KeyUse, SourceSettings
from scans.core.intel.choice import setting, why
from scans.core.options import IntelOptions
from scans.core.vulnerabilities import ALL_SOURCES, FEEDS
from scans.models import RateBucket, SourceHealth, SourceReply, clock

MAX_COUNTED = 10_000  # cached answers of one source; the index alone is read


class SourceDoing(StrEnum):
    """How a source is doing."""

    ANSWERS = "answers"
    FAILING = "failing"  # it did not answer the last time, and is asked on
    ON_HOLD = "on_hold"  # left alone until a certain time
    NOT_ASKED = "not_asked"  # nobody has asked it yet
    HERE = "here"  # on this machine
    MISSING = "missing"  # it should be on this machine, and is not


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaLeft:
    """What is left under one limit."""

    limit: Limit
    left: int
    resets_at: datetime | None  # of a long limit; a short one grows back all the time


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A list or database on the machine that answers."""

    name: str
    title: str
    is_here: bool
    is_built_in: bool  # it comes with the program
    arrived_at: datetime | None  # None: it is not here, or comes with the program


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceStatus:
    """One source."""

    name: str
    title: str
    gives: str
    terms: str
    tells: str  # who is told what
    is_remote: bool
    is_on: bool
    why: str
    key: KeyUse
    has_key: bool
    doing: SourceDoing
    failures: int  # in a row
    blocked_until: datetime | None
    why_blocked: str
    answered_at: datetime | None
    missed_at: datetime | None
    last_miss: str  # for staff
    quotas: tuple[QuotaLeft, ...]
    cached: int  # answers that are still good or may stand in; at most MAX_COUNTED
    lifetime_seconds: int | None
    empty_lifetime_seconds: int | None
    files: tuple[SourceFile, ...]


def source_statuses(*, counts_cached: bool = True, kinds: Sequence[type[Source]] = ALL_SOURCES) -> list[SourceStatus]:
    """All of them, in the order in which they are believed. Two queries, and one more for each that is cached."""
    options = scanner_options().intel
    on = {source.name for source in switched_on(options, kinds)}
    now = clock.now()
    health = {row.source: row for row in SourceHealth.objects.all()}
    limits = {kind.name: _limits(kind, options) for kind in kinds}
    kept = _buckets(limits)
    quotas = {
        name: tuple(_left(limit, kept.get(bucket_name(name, limit)), now) for limit in found)
        for name, found in limits.items()
    }
    return [
        _status(
            kind,
            options,
            health.get(kind.name) or SourceHealth(source=kind.name),
            now=now,
            quotas=quotas[kind.name],
            is_on=kind.name in on,
            cached=_cached(kind) if counts_cached and issubclass(kind, RemoteSource) else 0,
        )
        for kind in kinds
    ]


def product_files() -> tuple[SourceFile, ...]:
    """The lists of what is known against products: exploited vulnerabilities, how likely others are, ends of support."""
    return _files(FEEDS, scanner_options().intel.directory)


def _limits(kind: type[Source], options: IntelOptions) -> tuple[Limit, ...]:
    """With a key they may be others."""
    source = kind(SourceSettings(key=options.keys.get(kind.name, ""), directory=options.directory))
    return source.limits if isinstance(source, RemoteSource) else ()


def _buckets(limits: Mapping[str, Iterable[Limit]]) -> Mapping[str, Bucket]:
    names = [bucket_name(source, limit) for source, found in limits.items() for limit in found]
    rows = RateBucket.objects.filter(name__in=names)
    return {row.name: Bucket(tokens=row.tokens, counted_at=row.counted_at.timestamp()) for row in rows}


def _status(
    kind: type[Source],
    options: IntelOptions,
    row: SourceHealth,
    *,
    now: datetime,
    quotas: tuple[QuotaLeft, ...],
    is_on: bool,
    cached: int,
) -> SourceStatus:
    remote = kind if issubclass(kind, RemoteSource) else None
    files = _files(kind.feeds, options.directory)
    is_blocked = row.blocked_until is not None and row.blocked_until > now
    return SourceStatus(
        name=kind.name,
        title=kind.title,
        gives=kind.gives,
        terms=kind.terms,
        tells=_tells(remote, options) if remote else "nobody: it is read on this machine",
        is_remote=remote is not None,
        is_on=is_on,
        why=why(kind, options, is_on=is_on),
        key=kind.key,
        has_key=bool(options.keys.get(kind.name)),
        doing=_doing(row, is_blocked=is_blocked) if remote else _lies(files),
        failures=row.failures,
        blocked_until=row.blocked_until if is_blocked else None,
        why_blocked=row.why_blocked if is_blocked else "",
        answered_at=row.answered_at,
        missed_at=row.missed_at,
        last_miss=row.last_miss,
        quotas=quotas,
        cached=cached,
        lifetime_seconds=remote.lifetime_seconds if remote else None,
        empty_lifetime_seconds=remote.empty_lifetime_seconds if remote else None,
        files=files,
    )


def _tells(kind: type[RemoteSource], options: IntelOptions) -> str:
    """Where an operator has it asked elsewhere, only that is said: the address may be nobody else's business."""
    where = kind.base_url or "the resolver"
    if kind.name in options.urls:
        where = f"a service of the operator's ({setting(kind.name, 'URL')})"
    return f"{where}: {kind.tells}"


def _doing(row: SourceHealth, *, is_blocked: bool) -> SourceDoing:
    if is_blocked:
        return SourceDoing.ON_HOLD
    if row.failures or row.parks:
        return SourceDoing.FAILING
    return SourceDoing.ANSWERS if row.answered_at else SourceDoing.NOT_ASKED


def _lies(files: Iterable[SourceFile]) -> SourceDoing:
    return SourceDoing.HERE if any(file.is_here for file in files) else SourceDoing.MISSING


def _left(limit: Limit, bucket: Bucket | None, now: datetime) -> QuotaLeft:
    at = now.timestamp()
    left = grown(bucket, limit, now=at) if bucket else Bucket.full(limit, now=at)
    ends = datetime.fromtimestamp(left.counted_at, UTC) + timedelta(seconds=limit.seconds)
    return QuotaLeft(limit=limit, left=max(0, int(left.tokens)), resets_at=None if limit.is_short else ends)


def _cached(kind: type[Source]) -> int:
    return SourceReply.objects.filter(source=kind.name).order_by()[:MAX_COUNTED].count()


def _files(feeds: Iterable[AnyFeed], directory: str) -> tuple[SourceFile, ...]:
    """When each came here, by the file itself: to read what it says of itself may take seconds."""
    store, found = Store(directory), []
    for feed in feeds:
        path = store.path(feed)
        is_built_in = path is not None and path == feed.seed
        try:
            arrived = datetime.fromtimestamp(path.stat().st_mtime, UTC) if path and not is_built_in else None
        except OSError:  # gone this very moment
            path, arrived = None, None
        found.append(
            SourceFile(
                name=feed.name, title=feed.title, is_here=path is not None, is_built_in=is_built_in, arrived_at=arrived
            )
        )
    return tuple(found)
