"""Jobs over time: the lists of GET /scans and of the pages.

Pages are cut by keys, never by numbers: one ends at a job, and the next begins behind it, whatever came or went meanwhile.
Nothing is counted to its end, since there may be a million results. A filter on targets is answered from its index where few
match, and where many do by asking the newest jobs one after another: so many for a page, and the next goes on from there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import accumulate
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT

from scans.core.types import Level
from scans.models import OPEN_STATES, JobTag, ScanJob, TargetAddress, TargetResult, TermKind
from scans.selectors.access import visible_jobs
from scans.selectors.jobs import job_facts
from scans.selectors.terms import FoundHosts, begins, hosts_with, jobs_with

WORST_FIRST = (Level.CRITICAL, Level.HIGH, Level.MEDIUM, Level.LOW, Level.UNKNOWN)
# How many targets are few. With more, the newest jobs are asked one by one, and a page is soon full.
FEW_RATED = 2_000  # each costs a look at its row
FEW_NAMED = 20_000  # the index has their jobs beside them
# How many jobs a page asks one by one, each a look into an index. Where several things are to be of one target, each target
# that has the rarest of them is a look: so fewer jobs, and those that have so many targets together.
ASKED_JOBS = 10_000
TOGETHER_JOBS, TOGETHER_TARGETS = 2_000, 100_000
COUNTED_JOBS = 100  # how far a page counts: "3 jobs match", or "100 or more"
UNLISTED = ("submitted", "rejected", "warnings", "ports")  # columns of a job that may be long and that no list shows


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentJob:
    """A job in a short list: its targets by level, worst first."""

    job: ScanJob
    levels: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFilters:
    """What a list of jobs is narrowed to; None asks for no such thing. Times are half-open, so that periods tile."""

    state: str | None = None
    outcome: str | None = None
    mode: str | None = None
    risk: str | None = None  # at least one target has this level
    label: str | None = None  # how it begins
    tag: str | None = None
    owner: str | None = None  # a user's name
    address: str | None = None  # an address that a target was scanned at, or refused for
    text: str | None = None  # how the text of a target begins
    service: str | None = None  # these four are of one target; `selectors/terms.py` says how they are meant
    product: str | None = None
    cert: str | None = None
    finding: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    @property
    def wanted(self) -> dict[str, str]:
        """What a target is to have, by kind."""
        texts = {kind.value: getattr(self, kind.value) for kind in TermKind}
        return {kind: text for kind, text in texts.items() if text is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPosition:
    """Where a page of jobs ends: the next one begins behind it."""

    created_at: datetime
    id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRow:
    """A job in the history: how many of its targets are final, and how many have which level, worst first."""

    job: ScanJob
    done: int
    levels: Mapping[str, int]
    found: FoundHosts | None = None  # if something was asked for that targets have

    @property
    def day(self) -> date:
        """The day (UTC) that it stands under."""
        return self.job.created_at.date()

    @property
    def inputs(self) -> list[str]:
        """The first lines as typed; the third only says that there are more."""
        return [text for text in (self.job.first, self.job.second, self.job.third) if text]  # type: ignore[attr-defined] # annotated


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """The jobs that were asked one by one for a page, if there were more behind them."""

    jobs: int
    first: JobPosition
    last: JobPosition
    beyond: JobPosition  # the next, which was not asked


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryPage:
    """Some jobs, newest first, and where newer and older ones begin; None where there are none."""

    rows: list[HistoryRow]
    newer: JobPosition | None
    older: JobPosition | None
    asked: Stretch | None = None  # the page ends because so many were asked, and not because it is full


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCount:
    """How many jobs match, as far as was counted."""

    n: int
    may_be_more: bool


def listed_jobs(
    user: User | AnonymousUser, filters: JobFilters, *, after: JobPosition | None, limit: int
) -> tuple[list[dict[str, Any]], JobPosition | None]:
    """A page of the jobs that this user may see, newest first, and where it ends; None on the last page.

    It may end early, even empty, if so many jobs had to be asked one by one. Four queries, one for each filter on targets,
    and two or three if jobs are asked.
    """
    jobs, asked = _asked_jobs(user, filters, before=after)
    found = list(jobs.select_related("owner").prefetch_related("tags").defer(*UNLISTED)[: limit + 1])
    page = found[:limit]
    done, levels = _job_counts(page)
    listed = [job_facts(job, done=done[job.pk]) | {"levels": worst_first(levels[job.pk])} for job in page]
    end = asked.last if asked else None
    return listed, _position(page[-1]) if len(found) > limit else end


def history_page(
    user: User | AnonymousUser,
    filters: JobFilters,
    *,
    before: JobPosition | None = None,
    after: JobPosition | None = None,
    limit: int,
) -> HistoryPage:
    """The newest jobs, those older than a position, or those next newer than one. As many queries as listed_jobs(),
    and two more for the hosts that were found."""
    jobs, asked = _asked_jobs(user, filters, before=before, after=after)
    inputs = {"first": KT("submitted__0"), "second": KT("submitted__1"), "third": KT("submitted__2")}
    jobs = jobs.select_related("owner").prefetch_related("tags").defer(*UNLISTED).annotate(**inputs)
    read = list(jobs[: limit + 1])
    page, is_full = read[:limit], len(read) > limit
    begin, end = (asked.first, asked.last) if asked else (None, None)
    near = _position(page[0]) if page else begin
    far = _position(page[-1]) if is_full else end
    if after:
        page.reverse()
    done, levels = _job_counts(page)
    found_hosts = hosts_with([job.pk for job in page], filters.wanted) if filters.wanted and page else {}
    return HistoryPage(
        rows=[
            HistoryRow(job=job, done=done[job.pk], levels=worst_first(levels[job.pk]), found=found_hosts.get(job.pk))
            for job in page
        ],
        newer=far if after else near if before else None,
        older=near if after else far,
        asked=None if is_full else asked,
    )


def count_jobs(user: User | AnonymousUser, filters: JobFilters) -> JobCount:
    """How many jobs match, counted no further than COUNTED_JOBS, nor than jobs are asked for a page."""
    jobs, asked = _asked_jobs(user, filters)
    n = jobs[:COUNTED_JOBS].count()
    return JobCount(n=n, may_be_more=n == COUNTED_JOBS or asked is not None)


def without_filter(filters: JobFilters, *names: str) -> JobFilters:
    """The same filters but for these."""
    return replace(filters, **dict.fromkeys(names))


def older_jobs(jobs: QuerySet[ScanJob], *, than: JobPosition | None) -> QuerySet[ScanJob]:
    """The jobs behind a position, or all, newest first."""
    if than:
        jobs = jobs.filter(_is_older(than))
    return jobs.order_by("-created_at", "-id")


def newer_jobs(jobs: QuerySet[ScanJob], *, than: JobPosition) -> QuerySet[ScanJob]:
    """The jobs before a position, beginning with the one next to it."""
    return jobs.filter(_is_newer(than)).order_by("created_at", "id")


def _is_older(than: JobPosition) -> Q:
    return Q(Q(created_at__lt=than.created_at) | Q(id__lt=than.id), created_at__lte=than.created_at)


def _is_newer(than: JobPosition) -> Q:
    return Q(Q(created_at__gt=than.created_at) | Q(id__gt=than.id), created_at__gte=than.created_at)


def _position(job: ScanJob) -> JobPosition:
    return JobPosition(created_at=job.created_at, id=job.pk)


def _job_counts(jobs: Iterable[ScanJob]) -> tuple[Counter[int], dict[int, Counter[str]]]:
    """By job, how many targets are final and how many have which level; two queries."""
    page = [job.pk for job in jobs]
    rows = TargetResult.objects.filter(job__in=page).order_by()
    done = Counter(dict(rows.exclude(state__in=OPEN_STATES).values_list("job_id").annotate(n=Count("pk"))))
    levels: dict[int, Counter[str]] = {pk: Counter() for pk in page}
    for job_id, level, n in rows.exclude(risk_level="").values_list("job_id", "risk_level").annotate(n=Count("pk")):
        levels[job_id][level] = n
    return done, levels


def _asked_jobs(
    user: User | AnonymousUser, filters: JobFilters, *, before: JobPosition | None = None, after: JobPosition | None = None
) -> tuple[QuerySet[ScanJob], Stretch | None]:
    """The jobs that match, older than a position or newer than one; and how far they are asked, if not to the end."""
    jobs, questions = _filtered_jobs(visible_jobs(user), filters)
    jobs = newer_jobs(jobs, than=after) if after else older_jobs(jobs, than=before)
    asked = _stretch(jobs, is_together=len(filters.wanted) > 1) if questions else None
    if asked is not None:
        jobs = jobs.filter(_is_older(asked.beyond) if after else _is_newer(asked.beyond))
    return jobs.filter(*questions), asked


def _stretch(jobs: QuerySet[ScanJob], *, is_together: bool) -> Stretch | None:
    """The first of these jobs, as many as are asked for one page; None if that is all of them. Two queries or three."""
    count = ASKED_JOBS
    if is_together:
        totals = accumulate(jobs.values_list("total_targets", flat=True)[:TOGETHER_JOBS])
        count = max(1, sum(total <= TOGETHER_TARGETS for total in totals))
    places = jobs.only("created_at")
    ends = [_position(job) for job in (*places[:1], *places[count - 1 : count + 1])]
    return Stretch(jobs=count, first=ends[0], last=ends[1], beyond=ends[2]) if len(ends) == 3 else None


def _filtered_jobs(jobs: QuerySet[ScanJob], filters: JobFilters) -> tuple[QuerySet[ScanJob], list[Exists]]:
    """The jobs that match as far as an index knows, and what each of them is still to be asked."""
    columns = {
        "state": filters.state,
        "outcome": filters.outcome,
        "mode": filters.mode,
        "label__startswith": filters.label,
        "owner__username": filters.owner,
        "created_at__gte": filters.created_after,
        "created_at__lt": filters.created_before,
    }
    jobs = jobs.filter(**{name: value for name, value in columns.items() if value is not None})
    questions = list[Exists | None]()
    if filters.risk is not None:
        jobs, question = _with_targets(jobs, TargetResult.objects.filter(risk_level=filters.risk), few=FEW_RATED)
        questions.append(question)
    if filters.text is not None:
        jobs, question = _with_targets(jobs, targets_beginning(filters.text), few=FEW_NAMED)
        questions.append(question)
    if filters.wanted:
        jobs, question = jobs_with(jobs, filters.wanted)
        questions.append(question)
    if filters.tag is not None:
        jobs = jobs.filter(pk__in=JobTag.objects.filter(name=filters.tag).values("job"))
    if filters.address is not None:
        jobs = jobs.filter(pk__in=TargetAddress.objects.filter(address=filters.address).values("result__job"))
    return jobs, [question for question in questions if question is not None]


def _with_targets(
    jobs: QuerySet[ScanJob], targets: QuerySet[TargetResult], *, few: int
) -> tuple[QuerySet[ScanJob], Exists | None]:
    """The jobs that have one of these targets, and what each of them is still to be asked, if the index has too many."""
    targets = targets.order_by()
    if targets[: few + 1].count() <= few:
        return jobs.filter(pk__in=targets.values("job")), None
    return jobs, Exists(targets.filter(job=OuterRef("pk")))


def targets_beginning(text: str) -> QuerySet[TargetResult]:
    """Targets whose text begins so, found by their host, which has an index.

    A host is stored in small letters, a target as it was written: "Shop.inv" finds shop.invalid and https://shop.invalid/.
    """
    scheme, _, rest = text.rpartition("://")
    host, tail = _split_host(rest, ends=r"[/:?#]" if scheme else r"[/?#]")
    if not tail and not scheme:
        return TargetResult.objects.filter(begins("host", host))
    is_host = Q(host=host) if tail else begins("host", host)
    return TargetResult.objects.filter(is_host, target__startswith=text)


def _split_host(text: str, *, ends: str) -> tuple[str, str]:
    """A host or how one begins, and what follows it. Only a URL has a port: elsewhere a colon belongs to an IPv6 address."""
    bracketed = re.match(r"\[([^]]*)(\]?.*)", text, re.DOTALL)
    if bracketed:
        return bracketed[1].lower(), bracketed[2]
    host = re.split(ends, text, maxsplit=1)[0]
    return host.lower(), text[len(host) :]


def recent_jobs(user: User | AnonymousUser, limit: int = 10) -> QuerySet[ScanJob]:
    """The newest jobs that this user may see."""
    return visible_jobs(user).order_by("-created_at", "-id")[:limit]


def recent_jobs_with_levels(user: User | AnonymousUser, limit: int = 10) -> list[RecentJob]:
    """The newest jobs that this user may see, each with how many targets have which level, worst first; two queries."""
    jobs = list(recent_jobs(user, limit))
    counts: dict[int, Counter[str]] = {job.pk: Counter() for job in jobs}
    rated = TargetResult.objects.filter(job__in=jobs).exclude(risk_level="")
    for job_id, level, n in rated.values_list("job_id", "risk_level").annotate(n=Count("pk")).order_by():
        counts[job_id][level] = n
    return [RecentJob(job=job, levels=worst_first(counts[job.pk])) for job in jobs]


def worst_first(levels: Mapping[str, int]) -> dict[str, int]:
    """Counts by level in the order in which people read them; a level that nobody has is left out."""
    return {str(level): levels[level] for level in WORST_FIRST if levels.get(level)}
